"""What a job's thread works with: the outside world, and what the settings say about jobs."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from agent.core.container import Limits
from agent.core.engine_models import ImagePull
from agent.core.health import JOB_LIMIT_S
from agent.core.models import Slot
from agent.core.retry import Backoff
from agent.core.room import Room
from agent.ports import Engine, JobApi, JobFolder, Journal, Progress, Transfer
from agent.ports_host import Inhibitor

PHASE_BACKOFF = Backoff(base_s=1.0, cap_s=60.0)
TRANSFER_BACKOFF = Backoff(base_s=0.5, cap_s=30.0)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about jobs; seconds. `max_runtime_s`: None for no limit.

    `backoff` paces a phase that the host's trouble keeps from its end, `transfer_backoff` a single file.
    `allowed_silence_s`: how long a job's thread may show no sign of life (`core.health`). `host_patience_s`:
    how long this machine's trouble may keep a job from its start. `stall_warn_s`: 0 for never.
    `min_free_bytes`: with less the disk counts as full. `host_failures`: after so many of this machine's
    in a row the slot rests.
    """

    limits: Limits
    version: str
    pull: ImagePull = ImagePull.ALWAYS
    allowed_images: tuple[str, ...] = ()
    max_runtime_s: float | None = None
    stop_grace_s: float = 10.0
    backoff: Backoff = PHASE_BACKOFF
    transfers: int = 4
    transfer_budget_s: float = 900.0
    transfer_backoff: Backoff = TRANSFER_BACKOFF
    allowed_silence_s: float = JOB_LIMIT_S
    host_patience_s: float = 1800.0
    stall_warn_s: float = 3600.0
    min_free_bytes: int = 0
    host_failures: int = 3


@dataclass(frozen=True, slots=True)
class Tools:
    """The outside world as a job sees it, and what the settings say about jobs.

    `attempted` hears after each attempt why the machine failed it, empty where it did not. `gpu_use`: the
    highest utilisation of these GPUs in percent, None where nobody knows. `free_bytes`: the least that a disk
    with files of jobs, containers or the journal has left. `rooms`: what each of them has left; hears whether
    the engine answers. `folders`: the ids of the jobs that have a folder here.
    """

    api: JobApi
    transfer: Transfer
    engine: Engine
    journal: Journal
    folder_of: Callable[[int], JobFolder]
    progress: Progress
    policy: Policy
    attempted: Callable[[Slot, str], None] = lambda _slot, _reason: None
    inhibit: Inhibitor = lambda _why: nullcontext()
    gpu_use: Callable[[tuple[str, ...]], float | None] = lambda _uuids: None
    free_bytes: Callable[[], int | None] = lambda: None
    rooms: Callable[[bool], tuple[Room, ...]] = lambda _is_engine_there: ()
    folders: Callable[[], frozenset[int]] = frozenset
