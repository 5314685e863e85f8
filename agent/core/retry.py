"""Try again, and when: full jitter, so that a thousand agents do not come back in the same second.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from dataclasses import dataclass

from agent.core.errors import HostTrouble, StorageTrouble

LONGEST_RETRY_AFTER_S = 300.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How waits grow: drawn from 0 … `base_s` x 2^attempt, never over `cap_s`; all in seconds."""

    base_s: float = 0.5
    cap_s: float = 30.0


def delay_of(attempt: int, backoff: Backoff, draw: float) -> float:
    """Seconds to wait before attempt number `attempt` + 1; `draw` is a random number in 0 … 1."""
    return draw * min(backoff.cap_s, backoff.base_s * 2.0 ** min(attempt, 30))


def delay_after(trouble: HostTrouble, attempt: int, backoff: Backoff, draw: float) -> float:
    """Seconds to wait after this trouble: the jittered delay, or longer if the other side asked for it."""
    asked_s = min(trouble.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
    return asked_s + delay_of(attempt, backoff, draw)


def is_budget_spent(elapsed_s: float, delay_s: float, budget_s: float) -> bool:
    """Whether another attempt would begin after the budget of time."""
    return elapsed_s + delay_s > budget_s


def is_inputs_own_fault(trouble: HostTrouble) -> bool:
    """Whether an input that kept failing like this for a whole budget will not come any more.

    A 500 from the URL of one file is what a directory in place of a file answers, and a 403 what a
    forbidden object does; 502 to 504 and silence are an outage, which is nobody's job's fault.
    """
    return isinstance(trouble, StorageTrouble) and trouble.status in {400, 401, 403, 410, 500}
