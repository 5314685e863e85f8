"""What is going to happen: jobs and blows, drawn from a seed. The same seed draws the same."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

STORMS_PER_LEG = 6
SPAN_S = 12.0
"""Jobs are submitted and blows fall within so many seconds of a storm."""


class JobKind(StrEnum):
    """What a job does; `tests.chaos.jobs` has the commands."""

    QUICK = "quick"
    FAILS = "exits with 3"
    OOM = "out of memory"
    HOSTILE = "hostile names"
    MANY = "many files"
    LARGE = "one large file"
    FORKS = "leaves processes behind"
    STUBBORN = "ignores SIGTERM"
    MADE = "makes its output itself"


class BlowKind(StrEnum):
    """What may fall on a running agent."""

    KILL_AGENT = "agent SIGKILL"
    STOP_AGENT = "agent SIGTERM"
    FREEZE_AGENT = "agent SIGSTOP"
    KILL_CONTAINER = "container SIGKILL"
    REMOVE_CONTAINER = "container removed"
    RESTART_ENGINE = "dockerd restart"
    KILL_ENGINE = "dockerd SIGKILL"
    FREEZE_ENGINE = "dockerd SIGSTOP"
    API_500 = "API answers 500"
    API_SILENT = "API says nothing"
    API_CUT = "API's answers cut off"
    API_401 = "API answers 401"
    API_PROXY = "a proxy's 404 page"
    LOST_ANSWER = "API's answers lost"
    LOGIN_AWAY = "login away"
    TOKENS_EXPIRE = "tokens expire"
    STORAGE_CUT = "storage cut off"
    STORAGE_SLOW = "storage slow"
    STORAGE_LIES = "storage lies about the length"
    STORAGE_STALLS = "storage stalls"
    STORAGE_403 = "storage answers 403"
    DELETE = "user deletes a job"
    FILL_DISK = "disk full"
    JUMP_CLOCK = "clock jumps"
    PAUSE = "owner pauses"
    RELEASE = "owner releases a job"
    AWAY = "API gives the jobs away"


KILLS = frozenset({BlowKind.KILL_AGENT, BlowKind.KILL_CONTAINER, BlowKind.KILL_ENGINE})

_API = (
    BlowKind.API_500,
    BlowKind.API_SILENT,
    BlowKind.API_CUT,
    BlowKind.API_401,
    BlowKind.API_PROXY,
    BlowKind.LOST_ANSWER,
    BlowKind.LOGIN_AWAY,
    BlowKind.TOKENS_EXPIRE,
)
_STORAGE = (
    BlowKind.STORAGE_CUT,
    BlowKind.STORAGE_SLOW,
    BlowKind.STORAGE_LIES,
    BlowKind.STORAGE_STALLS,
    BlowKind.STORAGE_403,
)
_ENGINE = (BlowKind.RESTART_ENGINE, BlowKind.FREEZE_ENGINE, BlowKind.REMOVE_CONTAINER, BlowKind.KILL_ENGINE)
_OWNER = (BlowKind.PAUSE, BlowKind.RELEASE, BlowKind.DELETE, BlowKind.STOP_AGENT, BlowKind.FREEZE_AGENT)

FLAVOURS: Mapping[str, Sequence[BlowKind]] = {
    "kills": (BlowKind.KILL_AGENT, BlowKind.KILL_CONTAINER, BlowKind.STOP_AGENT, BlowKind.FREEZE_AGENT),
    "engine": _ENGINE,
    "API": _API,
    "storage": _STORAGE,
    "owner": _OWNER,
    "disk": (BlowKind.FILL_DISK, BlowKind.KILL_AGENT, BlowKind.STORAGE_SLOW),
    "clock": (BlowKind.JUMP_CLOCK, BlowKind.JUMP_CLOCK, BlowKind.DELETE, BlowKind.API_500),
    "away": (BlowKind.AWAY, BlowKind.DELETE, BlowKind.API_401),
    "all": tuple(BlowKind),
}
_ONCE_A_STORM = frozenset({BlowKind.AWAY, BlowKind.FILL_DISK, BlowKind.KILL_ENGINE, BlowKind.API_SILENT})


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One job: it is submitted `at_s` into the storm and runs for about `runs_s`. `seed` makes its files."""

    name: str
    kind: JobKind
    seed: int
    at_s: float
    runs_s: float


@dataclass(frozen=True, slots=True)
class Blow:
    """One blow, `at_s` into the storm, over after `for_s`. `draw` (0 … 1) chooses what it hits."""

    kind: BlowKind
    at_s: float
    for_s: float
    draw: float


@dataclass(frozen=True, slots=True)
class Storm:
    """Some jobs, and what falls on them."""

    number: int
    flavour: str
    jobs: tuple[JobPlan, ...]
    blows: tuple[Blow, ...]


@dataclass(frozen=True, slots=True)
class LegPlan:
    """What stays the same for some storms: one stand-in of the API, one state folder, one dockerd."""

    storage: str
    keeps_containers: bool


def plan_leg(seed: int, number: int) -> LegPlan:
    """Every second leg has S3-like storage, every third a dockerd with `live-restore`."""
    draw = random.Random(f"{seed}/leg/{number}")
    if number < 3:
        return LegPlan(("local", "s3", "local")[number], keeps_containers=number == 2)
    return LegPlan(draw.choice(("local", "local", "s3")), draw.random() < 1 / 3)


def plan_storm(seed: int, number: int) -> Storm:
    """Storm number 0, 1, … of this seed; the flavours take turns."""
    draw = random.Random(f"{seed}/storm/{number}")
    names = list(FLAVOURS)
    flavour = names[(number + random.Random(seed).randrange(len(names))) % len(names)]
    jobs = tuple(_plan_job(draw, number, at) for at in range(draw.randint(10, 14)))
    kinds = [BlowKind.KILL_AGENT] * draw.randint(3, 4) + [BlowKind.KILL_CONTAINER] * draw.randint(3, 4)
    kinds += [FLAVOURS[flavour][0]]
    kinds += [draw.choice(FLAVOURS[flavour]) for _ in range(draw.randint(2, 4))]
    if flavour in {"engine", "all"}:
        kinds.append(BlowKind.KILL_ENGINE)
    once = [kind for kind in dict.fromkeys(kinds) if kind in _ONCE_A_STORM]
    kinds = [kind for kind in kinds if kind not in _ONCE_A_STORM] + once
    blows = sorted((_plan_blow(draw, kind) for kind in kinds), key=lambda blow: blow.at_s)
    return Storm(number, flavour, jobs, tuple(blows))


def _plan_job(draw: random.Random, storm: int, at: int) -> JobPlan:
    kind = draw.choice(tuple(JobKind))
    runs_s = draw.uniform(2.0, 4.0) if kind is JobKind.STUBBORN else draw.uniform(0.2, 3.0)
    return JobPlan(
        name=f"storm{storm}-job{at}",
        kind=kind,
        seed=draw.randrange(1 << 32),
        at_s=0.0 if at < 6 else draw.uniform(0.0, SPAN_S),
        runs_s=runs_s,
    )


_LONGEST_S: Mapping[BlowKind, float] = {
    BlowKind.API_SILENT: 2.0,
    BlowKind.PAUSE: 5.0,
    BlowKind.FREEZE_AGENT: 4.0,
    BlowKind.FREEZE_ENGINE: 6.0,
    BlowKind.KILL_AGENT: 1.5,
    BlowKind.STOP_AGENT: 2.0,
    BlowKind.KILL_ENGINE: 3.0,
    BlowKind.RESTART_ENGINE: 1.0,
}


def _plan_blow(draw: random.Random, kind: BlowKind) -> Blow:
    at_s = draw.uniform(0.5, SPAN_S)
    return Blow(kind, at_s, draw.uniform(0.0, _LONGEST_S.get(kind, 4.0)), draw.random())
