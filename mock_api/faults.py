"""Faults on demand: which request they strike, and what they do to it."""

import itertools
import re
import threading
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class FaultKind(StrEnum):
    """What a fault does.

    * ``status``: answers with `Fault.status`, `Fault.headers` and `Fault.body`.
    * ``delay``: nothing but `Fault.delay_s`; every other kind may be delayed as well.
    * ``drop``: resets the connection without an answer, after `Fault.at_bytes` of the request's body.
    * ``truncate``: answers with the full Content-Length, but closes after `Fault.at_bytes` of the body.
    * ``slow``: passes `Fault.bytes_per_s` of the bodies, both ways.
    * ``length``: announces a Content-Length that is off by `Fault.length_off` (longer: it closes where the
      body ends; shorter: it sends no more than announced).
    * ``hang``: reads `Fault.at_bytes` of the request's body, then neither reads nor answers until the client
      gives up.
    * ``stall``: answers, but says nothing more after `Fault.at_bytes` of the body, with the connection open.
    """

    status = "status"
    delay = "delay"
    drop = "drop"
    truncate = "truncate"
    slow = "slow"
    length = "length"
    hang = "hang"
    stall = "stall"


class Fault(BaseModel):
    """One rule. The first rule that matches a request and has strikes left is applied to it.

    ``path`` and ``query`` are regular expressions searched in the raw path and query; ``worker`` is an
    account's name. The first ``skip`` matching requests pass; then it strikes ``times`` (None: for ever).
    With ``after`` the request has had its full effect before the fault strikes: a lost answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    method: str | None = None
    path: str = ""
    query: str = ""
    worker: str | None = None
    times: int | None = 1
    skip: int = 0
    after: bool = False
    delay_s: float = 0
    status: int = 500
    headers: dict[str, str] = {}
    body: str = "Internal Server Error"
    at_bytes: int = 0
    bytes_per_s: float = 1024
    length_off: int = 1

    def matches(self, method: str, path: str, query: str, account: str | None) -> bool:
        """Whether a request is one of those that the rule is about."""
        if self.method is not None and self.method != method:
            return False
        if self.worker is not None and self.worker != account:
            return False
        return bool(re.search(self.path, path) and re.search(self.query, query))


@dataclass(slots=True)
class _Rule:
    name: str
    fault: Fault
    seen: int = 0
    struck: int = 0

    def strike(self) -> bool:
        """Counts one matching request; whether it is one to strike."""
        self.seen += 1
        left = self.fault.times is None or self.struck < self.fault.times
        if self.seen <= self.fault.skip or not left:
            return False
        self.struck += 1
        return True


@dataclass(frozen=True, slots=True)
class FaultCount:
    """A rule and how often it struck."""

    name: str
    fault: Fault
    struck: int = field(default=0)


class Faults:
    """The rules, in the order in which they were added. Safe to use from several threads."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._rules: list[_Rule] = []
        self._numbers = itertools.count(1)

    def add(self, fault: Fault) -> str:
        """Adds a rule; returns its name for `struck` and `remove`."""
        with self._lock:
            name = f"fault-{next(self._numbers)}"
            self._rules.append(_Rule(name, fault))
            return name

    def remove(self, name: str) -> None:
        """Removes a rule; an unknown name is no error."""
        with self._lock:
            self._rules = [rule for rule in self._rules if rule.name != name]

    def clear(self) -> None:
        """Removes all rules."""
        with self._lock:
            self._rules.clear()

    def struck(self, name: str) -> int:
        """How often a rule struck so far."""
        with self._lock:
            return sum(rule.struck for rule in self._rules if rule.name == name)

    def counts(self) -> list[FaultCount]:
        """The rules and how often each struck."""
        with self._lock:
            return [FaultCount(rule.name, rule.fault, rule.struck) for rule in self._rules]

    def strike(self, method: str, path: str, query: str, account: str | None) -> FaultCount | None:
        """The rule that strikes this request, if one does; counts it."""
        with self._lock:
            for rule in self._rules:
                if rule.fault.matches(method, path, query, account) and rule.strike():
                    return FaultCount(rule.name, rule.fault, rule.struck)
            return None
