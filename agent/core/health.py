"""May I tell the service manager that I am well: only if every thread of the agent gets on.

The API or Docker being away is no reason against it: that is degraded, and a restart would not help. The
limits are generous: no service that is slow may ever make the agent exceed them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.lifecycle import duration_text

BEAT_LIMIT_S = 900.0
"""A beat sends up to four requests and may wait for a login by another thread, each bounded by some 40 s."""

JOB_LIMIT_S = 1800.0
"""A job's thread shows up with every phase, attempt, piece of a file and look at its container."""


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """When a thread showed up last (monotonic seconds), how long it may be silent, and what it does."""

    thread: str
    seen_at: float
    limit_s: float
    doing: str


def late_of(signs: Iterable[SignOfLife], now: float) -> dict[str, str]:
    """A sentence for each thread that has been silent for too long, by the thread's name."""
    return {
        sign.thread: f"The thread {sign.thread} has not moved for {duration_text(now - sign.seen_at)}"
        f" (allowed: {duration_text(sign.limit_s)}) while {sign.doing}"
        for sign in signs
        if now - sign.seen_at > sign.limit_s
    }


def silence_allowed_s(*longest_s: float) -> float:
    """How long a job's thread may be silent where the settings let single operations take so long."""
    return max(JOB_LIMIT_S, 600.0 + max(longest_s, default=0.0))
