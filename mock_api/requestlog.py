"""Every request that arrived, as the tests want to count them."""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request. ``target`` is path and query as they came over the wire, nothing decoded.

    ``status`` None: not answered (yet), or the connection was dropped. ``account`` is whom the bearer token
    names. ``fault`` is the name of the fault rule that struck. ``at`` is the time of day when it arrived.
    """

    at: float
    method: str
    target: str
    account: str | None
    has_authorization: bool
    is_storage: bool
    status: int | None = None
    fault: str | None = None

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query, undecoded."""
        return self.target.partition("?")[2]


class RequestLog:
    """The last 200,000 requests. Safe to use from several threads."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._entries: deque[list[LoggedRequest]] = deque(maxlen=_KEPT)

    def begin(
        self, method: str, target: str, account: str | None, *, has_authorization: bool, is_storage: bool
    ) -> list[LoggedRequest]:
        """Notes the arrival; hand what it returns to `note`."""
        entry = [LoggedRequest(time.time(), method, target, account, has_authorization, is_storage)]
        with self._lock:
            self._entries.append(entry)
        return entry

    def note(
        self, entry: list[LoggedRequest], *, status: int | None = None, fault: str | None = None
    ) -> None:
        """Adds what became of it."""
        with self._lock:
            before = entry[0]
            entry[0] = replace(before, status=status or before.status, fault=fault or before.fault)

    def entries(self) -> list[LoggedRequest]:
        """A copy of the log, oldest first."""
        with self._lock:
            return [entry[0] for entry in self._entries]

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
