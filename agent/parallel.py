"""Several files at once, each tried again while the host is in trouble: the agent's own `Each`."""

import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock, Thread, current_thread
from time import monotonic
from typing import TypeVar

from agent.core.errors import ApiTrouble, HostTrouble, JobFailed
from agent.core.retry import Backoff, delay_after, is_budget_spent
from agent.core.stopping import Stop

log = logging.getLogger(__name__)

T = TypeVar("T")

_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Parallel:
    """Acts on up to `width` items at once; fulfils `ports.Each`.

    An item is tried again within `budget_s` seconds. Then its trouble is raised, as `JobFailed` if
    `is_final` calls it the job's own fault. The first exception sets `stop`, which ends the other
    transfers, so `stop` must be this call's own. `on_server_error` hears of each 5xx of the API,
    `on_trouble` of whatever an item is tried again for.
    """

    width: int
    budget_s: float
    backoff: Backoff
    stop: Stop
    is_final: Callable[[HostTrouble], bool]
    on_server_error: Callable[[], None]
    on_trouble: Callable[[HostTrouble], None] = lambda _: None

    def __call__(self, act: Callable[[T], None], items: Iterable[T], /) -> None:
        """Return when all are done; raises what came first."""
        queue = iter(items)
        lock = Lock()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    self.stop.check()
                    with lock:
                        item = next(queue)
                    self._persist(act, item)
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

    def _persist(self, act: Callable[[T], None], item: T) -> None:
        began = monotonic()
        attempt = 0
        while True:
            try:
                return act(item)
            except HostTrouble as trouble:
                delay_s = delay_after(trouble, attempt, self.backoff, random.random())
                attempt += 1
                if is_budget_spent(monotonic() - began, delay_s, self.budget_s):
                    if self.is_final(trouble):
                        raise JobFailed(str(trouble)) from trouble
                    raise
                self.on_trouble(trouble)
                log.warning("%s; trying again in %.0f s.", trouble, delay_s)
                if isinstance(trouble, ApiTrouble) and (trouble.status or 0) >= _SERVER_ERROR:
                    self.on_server_error()
            if self.stop.wait(delay_s):
                self.stop.check()
