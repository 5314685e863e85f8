"""The slots that take no job for now because this machine failed several in a row, and their self-tests."""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, time

from agent.core.errors import AgentError
from agent.core.models import Slot
from agent.core.resting import (
    TEST_PACE,
    Moment,
    Rest,
    after_attempt,
    after_test,
    hurried,
    is_due,
    sentence_of,
    when_tested,
)
from agent.core.retry import Backoff
from agent.core.status import Trouble
from agent.ports_host import SelfTest

log = logging.getLogger(__name__)


class Rests:
    """How each slot stands; any thread may ask and tell. `ring` wakes the main thread, which tends them.

    `limit`: so many failures of the machine in a row, and the slot rests.
    """

    def __init__(self, self_test: SelfTest, limit: int, pace: Backoff = TEST_PACE) -> None:
        self.limit = limit
        self.ring: Callable[[], None] = lambda: None
        self._self_test = self_test
        self._pace = pace
        self._lock = threading.Lock()
        self._rests: dict[int, Rest] = {}  # never changed in place: others read it
        self._testing: list[threading.Thread] = []
        self._has_woken = False

    def attempted(self, slot: Slot, reason: str) -> None:
        """A job's attempt on the slot ended; why the machine failed it, empty where it did not."""
        with self._lock:
            before = self._of(slot.id)
            after = after_attempt(before, reason, self.limit, _moment(), self._pace)
            self._put(slot.id, after)
        if after.is_on and not before.is_on:
            log.warning("Taking no job on it for now: %s.", sentence_of(slot.id, after, time()))
        elif before.is_on and not after.is_on:
            log.info("Slot %d takes jobs again: one came through.", slot.id)
            self._wake()

    def awake_of(self, slots: Iterable[Slot]) -> list[Slot]:
        """Those that take jobs."""
        return [slot for slot in slots if not self._of(slot.id).is_on]

    def why_none(self, slots: Sequence[Slot]) -> str:
        """Why none of these takes a job; empty if one does."""
        if self.awake_of(slots):
            return ""
        return "; ".join(sentence_of(slot.id, self._of(slot.id), time()) for slot in slots)

    def troubles(self) -> tuple[Trouble, ...]:
        """A sentence for each slot that rests."""
        return tuple(
            Trouble(sentence_of(slot_id, rest, time()), rest.since)
            for slot_id, rest in sorted(self._rests.items())
            if rest.is_on
        )

    def hurry(self) -> None:
        """Try every slot that rests now."""
        with self._lock:
            self._rests = {slot_id: hurried(rest, _moment()) for slot_id, rest in self._rests.items()}
        self.ring()

    def has_woken(self) -> bool:
        """Whether a slot takes jobs again since this was asked last."""
        with self._lock:
            has_woken, self._has_woken = self._has_woken, False
        return has_woken

    def tend(self, free: Iterable[Slot], now: float) -> float:
        """Begin the self-tests that are due on free slots; when the next one is (monotonic seconds)."""
        self._testing = [thread for thread in self._testing if thread.is_alive()]
        free = list(free)
        for slot in free:
            if is_due(self._of(slot.id), now):
                self._begin(slot)
        due = [rest.test_at for rest in map(self._of, [slot.id for slot in free]) if rest.is_on]
        return min(due, default=float("inf"))

    def detach(self, deadline: float) -> None:
        """Wait for self-tests under way until then (monotonic seconds)."""
        for thread in self._testing:
            thread.join(max(0.0, deadline - monotonic()))

    def _begin(self, slot: Slot) -> None:
        with self._lock:
            self._put(slot.id, when_tested(self._of(slot.id)))
        thread = threading.Thread(target=self._test, args=(slot,), name=f"self-test-{slot.id}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be started
            self._note(slot, str(error))
            return
        self._testing.append(thread)

    def _test(self, slot: Slot) -> None:
        log.info("Testing slot %d with a container of its own.", slot.id)
        try:
            self._self_test(slot)
        except AgentError as error:
            self._note(slot, str(error))
        except Exception as error:
            log.exception("The self-test of slot %d failed in a way nobody thought of.", slot.id)
            self._note(slot, f"the agent failed: {type(error).__name__}")
        else:
            self._note(slot, "")

    def _note(self, slot: Slot, reason: str) -> None:
        with self._lock:
            before = self._of(slot.id)
            after = after_test(before, reason, _moment(), self._pace)
            self._put(slot.id, after)
        if after.is_on:
            log.warning("The self-test failed: %s.", sentence_of(slot.id, after, time()))
        elif before.is_on:
            log.info("Slot %d takes jobs again: its self-test passed.", slot.id)
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            self._has_woken = True
        self.ring()

    def _of(self, slot_id: int) -> Rest:
        return self._rests.get(slot_id, Rest())

    def _put(self, slot_id: int, rest: Rest) -> None:
        self._rests = {**self._rests, slot_id: rest}


def _moment() -> Moment:
    return Moment(monotonic(), time(), random.random())
