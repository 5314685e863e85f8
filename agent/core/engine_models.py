"""The values that travel between the agent and the container engine."""

from dataclasses import dataclass, field
from enum import StrEnum


class ImagePull(StrEnum):
    """When to ask the registry for an image that is here already."""

    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """Everything the engine is told about one job's container; sizes in MiB.

    `entrypoint` and `command` are None where the image's own counts. `folder` is the absolute path on
    the host that the container sees as `/files`. `cpus` is a number of cores, 0 for no limit.
    """

    name: str
    image: str
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...] | None
    env: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    folder: str
    memory_mib: int
    cpus: float
    shm_mib: int
    pids: int
    network: str
    capabilities: tuple[str, ...]
    log_max_mib: int
    gpu_uuids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerExit:
    """How a container ended; times are unix seconds, 0.0 where the engine knows none."""

    code: int
    oom_killed: bool
    error: str
    started_at: float
    finished_at: float


class ContainerStatus(StrEnum):
    """What the engine says of a container; `restarting` cannot be, `dead` counts as exited."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ContainerFact:
    """One container of ours as the engine knows it. `exit` is set where `status` is EXITED.

    `age_s`: for how long it has been running by no clock that jumps, the time left out that the machine was
    suspended; None if that is not known. It makes no fact another one. `job_note`: what its label says of
    the job, for an agent that lost its journal (`core.adoption`).
    """

    name: str
    status: ContainerStatus
    job_id: int | None
    agent_id: str
    started_at: float
    exit: ContainerExit | None = None
    age_s: float | None = field(default=None, compare=False)
    job_note: str = ""


@dataclass(frozen=True, slots=True)
class EngineLife:
    """Which run of the machine and of the container engine it is; empty where that cannot be known.

    Both are names to be compared, not times: no clock that jumps can confuse them.
    """

    boot: str = ""
    start: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself.

    `keeps_containers`: they live on when it restarts (`live-restore`). `data_root`: its folder for images
    and containers on this machine, empty where that is another one.
    """

    version: str
    life: EngineLife = EngineLife()
    keeps_containers: bool = False
    data_root: str = ""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a container has done so far: seconds of CPU, and a mark that changes with each line it writes."""

    cpu_s: float
    output_mark: str
