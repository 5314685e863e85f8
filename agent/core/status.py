"""What the agent knows of itself: for `systemctl status`, the control socket and `decode-agent status`.

All times are unix seconds; who shows them says how long ago they were.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.core.models import Phase


class Mode(StrEnum):
    """What the machine's owner asked for; it outlives restarts.

    PAUSED and DRAINING both take no further job and let running ones end. PAUSED waits for `resume`; DRAINING
    is on its way to an idle machine, and LEAVING ends the agent there (the next start takes jobs again).
    """

    TAKING = "taking"
    PAUSED = "paused"
    DRAINING = "draining"
    LEAVING = "leaving"


class Health(StrEnum):
    """RUNNING: all is well, also when there is nothing to do. DEGRADED: something outside is in the way."""

    RUNNING = "running"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is in the way, as a sentence without full stop, and since when."""

    text: str
    since: float


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job under way. `gpus`: their models; `doing`: the file or image that moves, empty if none.

    `total_bytes`: None where nobody knows. `trouble`: why the phase does not get on, if it does not.
    """

    job_id: int
    phase: Phase
    slot: int
    gpus: tuple[str, ...]
    image: str
    claimed_at: float
    phase_since: float
    doing: str = ""
    done_bytes: int = 0
    total_bytes: int | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class PastJob:
    """One job of the history; `verdict` is a `models.Verdict`, `reason` what its user was told."""

    job_id: int
    verdict: str
    reason: str
    exit_code: int | None
    image: str
    claimed_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The whole. `gates`: why no job is taken now, empty if one would be.

    `next_look_at`: None while every slot is busy. `free_bytes`: of the disk with the jobs' files.
    """

    version: str
    pid: int
    started_at: float
    api_url: str
    account: str
    mode: Mode
    slots: int
    jobs: tuple[JobStatus, ...]
    gates: tuple[Trouble, ...]
    troubles: tuple[Trouble, ...]
    api_heard_at: float | None
    next_look_at: float | None
    free_bytes: int | None
    recent: tuple[PastJob, ...] = ()
