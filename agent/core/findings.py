"""What `check` and `doctor` found: one line each, with what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Repair(StrEnum):
    """What `doctor --fix` may do by itself: nothing that could touch a job or Docker."""

    ENABLE_UNIT = "enable-unit"
    START_UNIT = "start-unit"
    SYNC_CLOCK = "sync-clock"
    WRITE_NEEDRESTART = "write-needrestart-override"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result; `fix` says what to do about it, `repair` what --fix would do."""

    about: str
    state: State
    text: str
    fix: str = ""
    repair: Repair | None = None


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed; warnings are no failure."""
    return not any(one.state is State.FAILED for one in findings)
