"""Whose fault the end of a container is, as a table."""

from dataclasses import replace

import pytest

from agent.core.blame import FULL_FLOOR_BYTES, NOTHING_LEFT_BYTES, Scene, blame_of
from agent.core.engine_models import ContainerExit, EngineInfo, EngineLife

GIB = 1024**3
A, B = EngineLife("boot-1", "start-1"), EngineLife("boot-1", "start-2")
REBOOTED = EngineLife("boot-2", "start-2")
LOST = "the container engine lost its container"
ENGINE = "the container engine was started anew while its container ran"
MACHINE = "the machine was started anew while its container ran"


def ended(code, *, oom=False, error=""):
    return ContainerExit(code, oom, error, 1000.0, 1060.0)


def scene(code, before=A, now=A, *, keeps=False, **more):
    return Scene(ended(code), EngineInfo("1", now, keeps_containers=keeps), before, **more)


@pytest.mark.parametrize("code", [0, 1, 137, 143, 255])
def test_an_end_under_one_life_is_the_jobs_own(code):
    """SIGKILL by somebody, too: nothing of the machine was started anew."""
    assert blame_of(scene(code, saw_running=True)) == ""


@pytest.mark.parametrize("code", [0, 1, 137, 143, 255])
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("saw_running", [True, False])
def test_a_reboot_ends_every_container(code, keeps, saw_running):
    """Whatever the code: at a shutdown it may have had SIGTERM and said 0 with half of its outputs."""
    assert blame_of(scene(code, A, REBOOTED, keeps=keeps, saw_running=saw_running)) == MACHINE


@pytest.mark.parametrize(
    ("code", "keeps", "saw_running", "blame"),
    [
        (137, False, False, ENGINE),
        (143, False, False, ENGINE),
        (255, False, False, ENGINE),
        (0, False, False, ""),
        (1, False, False, ""),
        (139, False, False, ""),
        (0, False, True, ENGINE),
        (1, False, True, ENGINE),
        (143, True, False, ENGINE),  # started while the engine went down
        (255, True, False, LOST),
        (0, True, True, ""),
        (1, True, True, ""),
    ],
)
def test_a_restart_of_the_engine(code, keeps, saw_running, blame):
    """It kills what it does not keep; a code of its own may come from before, if nobody watched."""
    assert blame_of(scene(code, A, B, keeps=keeps, saw_running=saw_running)) == blame


@pytest.mark.parametrize(
    ("code", "keeps", "saw_running", "lost_sight", "blame"),
    [
        (255, True, False, False, LOST),  # nobody watched
        (255, True, True, True, LOST),
        (255, True, True, False, ""),  # a program may say that itself
        (255, False, False, True, ""),  # its start would have another name
        (137, True, False, True, ""),
        (1, True, False, True, ""),
    ],
)
def test_an_engine_that_lost_one_of_those_it_keeps(code, keeps, saw_running, lost_sight, blame):
    """Killed and started again it may find some and not others, and has no new name then."""
    one = scene(code, A, A, keeps=keeps, saw_running=saw_running, lost_sight=lost_sight)
    assert blame_of(one) == blame


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, B),
        (EngineLife(), B),
        (A, EngineLife()),
        (EngineLife("", "start-1"), EngineLife("boot-2", "")),
        (EngineLife("boot-1", ""), EngineLife("boot-1", "start-2")),
    ],
)
def test_nothing_is_concluded_from_a_life_that_nobody_knows(before, now):
    """An engine on another machine, an old one, a container adopted without a record."""
    assert blame_of(scene(137, before, now, saw_running=True)) == ""


def test_a_part_of_a_life_is_enough():
    """Without a name for the engine's start a reboot still shows, and the other way round."""
    assert blame_of(scene(0, EngineLife("boot-1", ""), EngineLife("boot-2", ""))) == MACHINE
    assert blame_of(scene(137, EngineLife("", "start-1"), EngineLife("", "start-2"))) == ENGINE


@pytest.mark.parametrize("now", [A, B, REBOOTED])
def test_what_the_agent_ended_or_memory_did_is_never_the_machines_fault(now):
    """The time limit is the job's, and so is its memory."""
    log = "Failed to initialize NVML: Unknown Error"
    one = scene(137, A, now, saw_running=True, has_gpu=True, log_tail=log)
    assert blame_of(replace(one, ending="timed out after 12 h")) == ""
    assert blame_of(replace(one, ended=ended(137, oom=True))) == ""


@pytest.mark.parametrize(
    "line",
    [
        "Failed to initialize NVML: Unknown Error",
        "Failed to initialize NVML: Driver/library version mismatch",
        "pynvml.NVMLError_GpuIsLost: GPU is lost",
        "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system",
        "Unable to determine the device handle for GPU 0000:09:00.0: Unknown Error",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "NVRM: Xid (PCI:0000:44:00): 79, GPU has fallen off the bus.",
    ],
)
def test_a_lost_gpu_is_the_machines_fault(line):
    """As it reads in a job's log; not on a slot without GPU, not after a success."""
    log = f"epoch 3\n{line}\nbye"
    assert blame_of(scene(1, has_gpu=True, log_tail=log)).startswith("the machine's GPU was lost (")
    assert blame_of(scene(1, has_gpu=False, log_tail=log)) == ""
    assert blame_of(scene(0, has_gpu=True, log_tail=log)) == ""


@pytest.mark.parametrize(
    "line",
    [
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "RuntimeError: CUDA error: unspecified launch failure",
        "RuntimeError: No CUDA GPUs are available",
        "CUDA driver version is insufficient for CUDA runtime version",
        "could not load library libcuda.so: not found",
        "Failed to initialize NVML: NVML Shared Library Not Found",
        "UserWarning: Can't initialize NVML",
        "ImportError: libnvidia-ml.so.1: cannot open shared object file",
    ],
)
def test_what_a_job_may_have_done_to_itself_is_its_own(line):
    """Memory, a wrong image, a kernel that crashed."""
    assert blame_of(scene(1, has_gpu=True, log_tail=line)) == ""


FULL_LOG = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("code", "log", "free", "limit", "is_machines"),
    [
        (1, FULL_LOG, GIB, 10 * GIB, True),
        (1, FULL_LOG, 20 * GIB, 10 * GIB, False),
        (1, FULL_LOG, 0, 0, True),
        (1, FULL_LOG, FULL_FLOOR_BYTES, 0, False),
        (1, FULL_LOG, None, 10 * GIB, False),
        (1, "segmentation fault", NOTHING_LEFT_BYTES, 10 * GIB, False),
        (1, "", NOTHING_LEFT_BYTES - 1, 0, True),  # not every program says why
        (0, "", 0, 10 * GIB, False),
        (0, FULL_LOG, 0, 10 * GIB, False),
    ],
)
def test_a_full_disk(code, log, free, limit, is_machines):
    """The machine's only if that really is full: a job may also fill its /dev/shm."""
    blame = blame_of(scene(code, log_tail=log, free_bytes=free, min_free_bytes=limit))
    assert blame == ("the machine's disk was full" if is_machines else "")


@pytest.mark.parametrize(
    ("code", "log", "is_machines"), [(1, FULL_LOG, True), (1, "", False), (0, FULL_LOG, False)]
)
def test_a_disk_that_may_have_been_full(code, log, is_machines):
    """Nobody was there to see, and it has room again: once more, and this time somebody looks."""
    blame = blame_of(scene(code, log_tail=log, free_bytes=20 * GIB, was_there=False))
    assert bool(blame) == is_machines


def test_the_engine_may_say_it_too():
    """No log was written, for there was no room for it."""
    one = replace(scene(128, free_bytes=0), ended=ended(128, error="write /x: no space left on device"))
    assert blame_of(one) == "the machine's disk was full"


def test_a_log_is_read_in_bounds():
    """Hostile text costs no time, and the sentence stays short."""
    log = "failed to initialize nvml" + "a" * 50_000_000 + "failed to initialize nvm" * 3
    assert blame_of(scene(1, has_gpu=True, log_tail=log)) == ""
    blame = blame_of(scene(1, has_gpu=True, log_tail=log + "GPU is lost" + "b" * 1000))
    assert blame == "the machine's GPU was lost (gpu is lost)"
