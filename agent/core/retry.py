"""Try again, and when: full jitter, so that a thousand agents do not come back in the same second.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import math
from dataclasses import dataclass
from enum import Enum

from agent.core.errors import HostTrouble, StorageTrouble

LONGEST_RETRY_AFTER_S = 300.0
OUTAGE_BUDGETS = 4
"""For so many budgets of time all inputs of a job may be refused before it fails."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How waits grow: drawn from 0 … `base_s` x 2^attempt, never over `cap_s`; all in seconds."""

    base_s: float = 0.5
    cap_s: float = 30.0


class Then(Enum):
    """What follows a failed attempt at an item."""

    AGAIN = "again"  # the same item, after a pause
    LATER = "later"  # the whole phase, after a longer one
    FAIL = "fail"  # it is the job's own fault


@dataclass(frozen=True, slots=True)
class Company:
    """How the items beside one fare: how many are refused now, and how many seconds ago one came last."""

    refused: int = 0
    came_s: float = math.inf


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
    """Whether this is an answer about the one file, so that it may never come.

    A 500 from the URL of one file is what a directory in place of a file answers, and a 403 what a
    forbidden object does; 502 to 504 and silence are an outage, a 401 is about our token, which is nobody's
    job's fault.
    """
    return isinstance(trouble, StorageTrouble) and trouble.status in {400, 403, 404, 410, 500}


def then_for(
    tried_s: float, refused_s: float | None, delay_s: float, budget_s: float, company: Company
) -> Then:
    """What to do about an item that failed once more, and would be tried again after `delay_s`.

    `tried_s`: since its first attempt began. `refused_s`: since when it gets nothing but answers about itself
    (`is_inputs_own_fault`), None if the last was none. A storage that lets nothing else through, because it
    refuses the others as well or because there are none, may have an outage; that is waited for, but not for
    ever.
    """
    if refused_s is None:
        return Then.LATER if is_budget_spent(tried_s, delay_s, budget_s) else Then.AGAIN
    has_come = company.came_s < math.inf
    is_alone = company.came_s < refused_s or (has_come and not company.refused)
    limit_s = budget_s if is_alone else budget_s * OUTAGE_BUDGETS
    return Then.FAIL if is_budget_spent(refused_s, delay_s, limit_s) else Then.AGAIN
