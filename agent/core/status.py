"""What the agent knows of itself: for `systemctl status`, the control socket and `decode-agent status`.

All times are unix seconds; who shows them says how long ago they were.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from agent.core.amounts import clock_text, free_text, share_text
from agent.core.lifecycle import duration_text
from agent.core.models import Phase
from agent.core.wire import one_line

K = TypeVar("K")

LINE_MAX_CHARS = 300
_CAUSE_MAX_CHARS = 80


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
    `is_freed`: its container is gone, the slot's GPU is free, though the job is not over here.
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
    is_freed: bool = False


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
class Released:
    """What became of the jobs that were to be given back: those that are, and those whose end came first."""

    given_back: tuple[int, ...]
    left: tuple[int, ...]


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


def health_of(status: AgentStatus) -> Health:
    """DEGRADED while something outside is in the way of the agent or of one of its jobs."""
    is_hindered = bool(status.troubles) or any(job.trouble for job in status.jobs)
    return Health.DEGRADED if is_hindered else Health.RUNNING


def is_delivering(job: JobStatus) -> bool:
    """Whether the job's outputs and verdict are on their way out, and nothing is in the way of that."""
    return job.phase in {Phase.STAGING_OUT, Phase.REPORTING} and job.trouble is None


def troubles_of(before: Mapping[K, Trouble], found: Mapping[K, str], now: float) -> dict[K, Trouble]:
    """What is in the way now, by its kind: what goes on has the `since` it had, whatever its text."""
    return {
        kind: Trouble(text, before[kind].since if kind in before else now) for kind, text in found.items()
    }


def line_of(status: AgentStatus, now: float) -> str:
    """The whole on one line, for `systemctl status`."""
    parts = [_doing_line(status, now)]
    if status.jobs or status.mode is not Mode.TAKING:
        parts += [_trouble_line(trouble, now) for trouble in status.troubles[:1]]
    if status.api_heard_at is not None:
        parts.append(f"API {duration_text(max(0.0, now - status.api_heard_at))} ago")
    if status.free_bytes is not None:
        parts.append(f"{free_text(status.free_bytes)} free")
    return one_line(" · ".join(parts), LINE_MAX_CHARS)


def _doing_line(status: AgentStatus, now: float) -> str:
    jobs = status.jobs
    match status.mode:
        case Mode.TAKING:
            return _jobs_line(jobs, now) if jobs else _idle_line(status, now)
        case Mode.PAUSED:
            head, wish = "Paused", " (resume with: decode-agent resume)"
        case Mode.DRAINING:
            head, wish = "Drained", " (resume with: decode-agent resume)"
        case Mode.LEAVING:
            head, wish = "Leaving", ""
    if not jobs:
        return f"{head}{wish}"
    verb = "still runs" if len(jobs) == 1 else "still run"
    return f"{head.replace('Drained', 'Draining')}: {_names_of(jobs)} {verb}"


def _idle_line(status: AgentStatus, now: float) -> str:
    if hindered := (*status.troubles, *status.gates)[:1]:
        return f"Waiting: {_trouble_line(hindered[0], now)}"
    if status.next_look_at is None or status.next_look_at <= now:
        return "Idle"
    return f"Idle · next look in {duration_text(status.next_look_at - now)}"


def _trouble_line(trouble: Trouble, now: float) -> str:
    """In short: the details, behind the first colon, are for the log and `decode-agent status`."""
    return f"{trouble.text.partition(': ')[0]} (since {clock_text(trouble.since, now)})"


def _jobs_line(jobs: Iterable[JobStatus], now: float) -> str:
    by_phase: dict[Phase, list[JobStatus]] = {}
    for job in jobs:
        by_phase.setdefault(job.phase, []).append(job)
    first, *others = [_phase_line(phase, some, now) for phase, some in by_phase.items()]
    return "; ".join([first, *(line[0].lower() + line[1:] for line in others)])


def _phase_line(phase: Phase, jobs: list[JobStatus], now: float) -> str:
    names, first = _names_of(jobs), jobs[0]
    doing = {
        Phase.STAGING_IN: f"Downloading inputs of {names}" if first.doing else f"Preparing {names}",
        Phase.RUNNING: f"Running {names}",
        Phase.STAGING_OUT: f"Uploading outputs of {names}",
        Phase.REPORTING: f"Reporting {names}",
        Phase.DONE: f"Cleaning up after {names}",
    }[phase]
    if first.doing.startswith("image "):
        doing = f"Pulling the image of {names}"
    if len(jobs) > 1:
        return doing
    if first.trouble is not None:
        cause = one_line(first.trouble.text, _CAUSE_MAX_CHARS)
        return f"{doing}: {cause} (since {clock_text(first.trouble.since, now)})"
    if phase is Phase.RUNNING:
        gpu = f" on GPU {first.slot}" if first.gpus else ""
        return f"{doing}{gpu}, {duration_text(max(0.0, now - first.phase_since))}"
    return f"{doing} ({share_text(first.done_bytes, first.total_bytes)})" if first.doing else doing


def _names_of(jobs: Iterable[JobStatus]) -> str:
    ids = sorted(job.job_id for job in jobs)
    return f"job{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
