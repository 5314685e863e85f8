"""When a slot stops taking jobs because this machine keeps failing them, and when it is tried again.

`now` is monotonic seconds, `clock` unix seconds, `draw` a random number in 0 … 1.
"""

from dataclasses import dataclass, replace

from agent.core.amounts import clock_text
from agent.core.retry import Backoff
from agent.core.wire import one_line

TEST_PACE = Backoff(base_s=300.0, cap_s=3600.0)
_REASON_MAX_CHARS = 200
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Rest:
    """How a slot stands with its machine; as it is made here: all is well.

    `failures`: attempts in a row that the machine failed, `reason`: why it failed the last one. `since`: when
    it began to rest (unix seconds), 0.0: it takes jobs. `test_at`: when the next self-test is due (monotonic
    seconds, infinite while one runs), `test_clock`: the same in unix seconds. `tests`: how many failed,
    `test_reason`: why the last one did.
    """

    failures: int = 0
    reason: str = ""
    since: float = 0.0
    tests: int = 0
    test_reason: str = ""
    test_at: float = 0.0
    test_clock: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the slot takes no job."""
        return self.since > 0

    @property
    def is_tested(self) -> bool:
        """Whether a self-test runs."""
        return self.is_on and self.test_at == float("inf")


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by both clocks, and what chance says."""

    now: float
    clock: float
    draw: float


def after_attempt(rest: Rest, reason: str, limit: int, moment: Moment, pace: Backoff = TEST_PACE) -> Rest:
    """A job's attempt ended. `reason`: why the machine failed it; empty: it did not, the slate is clean."""
    if not reason:
        return Rest()
    failed = replace(rest, failures=rest.failures + 1, reason=one_line(reason, _REASON_MAX_CHARS))
    if rest.is_on or failed.failures < limit:
        return failed
    return _waiting(replace(failed, since=moment.clock), moment, pace)


def when_tested(rest: Rest) -> Rest:
    """A self-test begins."""
    return replace(rest, test_at=float("inf"))


def after_test(rest: Rest, reason: str, moment: Moment, pace: Backoff = TEST_PACE) -> Rest:
    """A self-test ended. `reason`: why it failed; empty: it passed, the slate is clean."""
    if not reason:
        return Rest()
    if not rest.is_on:  # a job came through meanwhile
        return rest
    text = one_line(reason, _REASON_MAX_CHARS)
    return _waiting(replace(rest, tests=rest.tests + 1, test_reason=text), moment, pace)


def hurried(rest: Rest, moment: Moment) -> Rest:
    """The owner wants it tried now."""
    if not rest.is_on or rest.is_tested:
        return rest
    return replace(rest, test_at=moment.now, test_clock=moment.clock)


def is_due(rest: Rest, now: float) -> bool:
    """Whether a self-test shall begin."""
    return rest.is_on and rest.test_at <= now


def sentence_of(slot_id: int, rest: Rest, clock: float) -> str:
    """Why the slot takes no job, and when it is tried again; empty if it takes jobs."""
    if not rest.is_on:
        return ""
    times = "1 attempt" if rest.failures == 1 else f"{rest.failures} attempts in a row"
    said = [f"{times} failed by this machine's fault, the last: {rest.reason}"]
    if rest.tests:
        said.append(f"the last self-test failed: {rest.test_reason}")
    at = clock_text(rest.test_clock, clock)
    said.append("a self-test runs" if rest.is_tested else f"next self-test at {at}")
    return f"slot {slot_id} rests: {'; '.join(said)}"


def _waiting(rest: Rest, moment: Moment, pace: Backoff) -> Rest:
    """Until the next self-test: twice as long after each that failed, never over the cap."""
    delay_s = min(pace.cap_s, pace.base_s * 2.0 ** min(rest.tests, 30))
    delay_s *= 1 - _JITTER + 2 * _JITTER * moment.draw
    return replace(rest, test_at=moment.now + delay_s, test_clock=moment.clock + delay_s)
