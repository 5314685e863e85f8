"""Whose fault the end of a container is: its own, or that of the machine it ran on."""

import re
from dataclasses import dataclass

from agent.core.engine_models import ContainerExit, EngineInfo, EngineLife

DISK_FULL = "no space left on device"

FULL_FLOOR_BYTES = 64 * 1024 * 1024
"""With less the disk counts as full even where the settings ask for no free space."""

NOTHING_LEFT_BYTES = 16 * 1024 * 1024
"""With less whatever a program writes may fail, and not every program says why it ended."""

_TAIL_MAX_CHARS = 16 * 1024
_NEVER_LEARNT = 255
"""What the engine writes down when it never learnt the code."""

_ENDED_BY_ENGINE = {137, 143, _NEVER_LEARNT}
"""The others: SIGKILL and SIGTERM."""

# What the driver's libraries say of a GPU that went away under a running container: NVIDIA's
# nvidia-container-toolkit#48 (a reload of systemd takes the GPU from it), #1227, nvidia-docker#1553 and the
# strings of nvmlErrorString and cudaGetErrorString. Out of memory, a library that the image lacks, a launch
# that failed or no device at all may be the job's own doing, so they are not here.
_GPU_LOST = re.compile(
    r"failed to initialize nvml(?![^\n]{0,80}not found)|unable to determine the device handle|gpu is lost"
    r"|error_gpu_is_lost|has fallen off the bus|uncorrectable ecc error encountered"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What surrounded the end of a container.

    `life`: that of the engine when the container was seen running last, None if nobody knows; `engine`: what
    it says of itself now. `saw_running`: this process saw the container run under `life`, and has waited for
    its end since. `lost_sight`: the engine did not answer for a while of that. `was_there`: this process
    began the attempt or saw it run, so that it knows how full the disk was. `ending`: why the agent itself
    ended it. `free_bytes`: None where it cannot be known; `min_free_bytes`: with less the disk counts as
    full.
    """

    ended: ContainerExit
    engine: EngineInfo
    life: EngineLife | None = None
    saw_running: bool = False
    lost_sight: bool = False
    was_there: bool = True
    ending: str = ""
    has_gpu: bool = False
    log_tail: str = ""
    free_bytes: int | None = None
    min_free_bytes: int = 0


def blame_of(scene: Scene) -> str:
    """Why the machine is to blame, in a sentence without its full stop; empty: the end is the job's own."""
    if scene.ending or scene.ended.oom_killed:
        return ""
    said = f"{scene.ended.error[:_TAIL_MAX_CHARS]}\n{scene.log_tail[-_TAIL_MAX_CHARS:]}".lower()
    return _restart(scene) or _lost_gpu(scene, said) or _full_disk(scene, said)


def _restart(scene: Scene) -> str:
    """Lives are compared, never times: clocks jump, most of all at a start of the machine."""
    before, now = scene.life or EngineLife(), scene.engine.life
    if before.boot and now.boot and before.boot != now.boot:
        return "the machine was started anew while its container ran"
    if not before.start or not now.start:
        return ""
    is_known = scene.saw_running and not scene.lost_sight
    if scene.engine.keeps_containers and scene.ended.code == _NEVER_LEARNT and not is_known:
        return "the container engine lost its container"  # its start has no new name where others lived on
    if before.start == now.start:
        return ""
    # One that keeps containers ends those all the same that are started while it goes down.
    is_engines = scene.ended.code in _ENDED_BY_ENGINE
    if is_engines or (scene.saw_running and not scene.engine.keeps_containers):
        return "the container engine was started anew while its container ran"
    return ""


def _lost_gpu(scene: Scene, said: str) -> str:
    if scene.has_gpu and scene.ended.code and (found := _GPU_LOST.search(said)):
        return f"the machine's GPU was lost ({found[0]})"
    return ""


def _full_disk(scene: Scene, said: str) -> str:
    """A job may also fill its own /dev/shm or quota, so the machine's disk must really be full."""
    has_said_so = DISK_FULL in said
    limit = max(scene.min_free_bytes, FULL_FLOOR_BYTES) if has_said_so else NOTHING_LEFT_BYTES
    if not scene.ended.code:
        return ""
    if scene.free_bytes is not None and scene.free_bytes < limit:
        return "the machine's disk was full"
    may_have_been = has_said_so and not scene.was_there
    return "the machine's disk may have been full while the agent was away" if may_have_been else ""
