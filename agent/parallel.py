"""Several files at once, each tried again while the host is in trouble: the agent's own `Each`."""

import logging
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Lock, Thread, current_thread
from time import monotonic
from typing import TypeVar

from agent.core.errors import ApiTrouble, HostTrouble, JobFailed
from agent.core.retry import Backoff, Company, Then, delay_after, then_for
from agent.core.stopping import Stop

log = logging.getLogger(__name__)

T = TypeVar("T")

_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Parallel:
    """Acts on up to `width` items at once; fulfils `ports.Each`.

    An item is tried again within `budget_s` seconds; then its trouble is raised. One that gets nothing but
    answers that `may_be_final` for that long, while the others fare better, is the job's own fault:
    `JobFailed`. The first exception sets `stop`, which ends the other transfers, so `stop` must be this
    call's own. `on_server_error` hears of each 5xx of the API, `on_trouble` of whatever an item is tried
    again for.
    """

    width: int
    budget_s: float
    backoff: Backoff
    stop: Stop
    may_be_final: Callable[[HostTrouble], bool]
    on_server_error: Callable[[], None]
    on_trouble: Callable[[HostTrouble], None] = lambda _: None

    def __call__(self, act: Callable[[T], None], items: Iterable[T], /) -> None:
        """Return when all are done; raises what came first."""
        queue = iter(items)
        lock = Lock()
        failures: list[BaseException] = []
        refusals = _Refusals()

        def work() -> None:
            try:
                while True:
                    self.stop.check()
                    with lock:
                        item = next(queue)
                    self._persist(act, item, refusals)
            except StopIteration:
                return
            except BaseException as error:  # noqa: BLE001  raised again below, in the caller's thread
                failures.append(error)
                self.stop.set()

        head = current_thread().name  # log lines tell the job by it
        threads = [Thread(target=work, name=f"{head}-transfer-{n}", daemon=True) for n in range(self.width)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _persist(self, act: Callable[[T], None], item: T, refusals: "_Refusals") -> None:
        began, me = monotonic(), object()
        attempt = 0
        while True:
            try:
                act(item)
                return refusals.note_arrival(me)
            except HostTrouble as trouble:
                delay_s = delay_after(trouble, attempt, self.backoff, random.random())
                attempt += 1
                refused_s = refusals.note(me, is_refused=self.may_be_final(trouble))
                company = refusals.company_of(me)
                match then_for(monotonic() - began, refused_s, delay_s, self.budget_s, company):
                    case Then.FAIL:
                        raise JobFailed(str(trouble)) from trouble
                    case Then.LATER:
                        raise
                    case Then.AGAIN:
                        pass
                self.on_trouble(trouble)
                log.warning("%s; trying again in %.0f s.", trouble, delay_s)
                if isinstance(trouble, ApiTrouble) and (trouble.status or 0) >= _SERVER_ERROR:
                    self.on_server_error()
            if self.stop.wait(delay_s):
                self.stop.check()


@dataclass(slots=True)
class _Refusals:
    """Which items are refused at a stretch, since when; and when one came last. Monotonic seconds."""

    _since: dict[object, float] = field(default_factory=dict)
    _came_at: float = -math.inf
    _lock: Lock = field(default_factory=Lock)

    def note(self, item: object, *, is_refused: bool) -> float | None:
        """For how long this item has been refused at a stretch; None if it was not, this time."""
        with self._lock:
            if is_refused:
                return monotonic() - self._since.setdefault(item, monotonic())
            self._since.pop(item, None)
            return None

    def note_arrival(self, item: object) -> None:
        """This item is here."""
        with self._lock:
            self._since.pop(item, None)
            self._came_at = monotonic()

    def company_of(self, item: object) -> Company:
        """How the others fare."""
        with self._lock:
            return Company(len(self._since.keys() - {item}), monotonic() - self._came_at)
