"""GPUs by a stand-in of NVIDIA's library, in a process of its own as the real one."""

import shutil
import subprocess
import time
from pathlib import Path

import pynvml
import pytest

from agent.adapters import nvidia
from agent.adapters.nvidia import GpuUse, find_gpus, list_gpus
from agent.core.errors import HostTrouble
from agent.core.models import Gpu
from tests.fakes.waiting import LONG_S, SOON_S

SOURCE = Path(__file__).parents[2] / "fakes/nvml/nvml.c"
ADA = f"gpu 0 {pynvml.NVML_DEVICE_ARCH_ADA} {24564 * 1024 * 1024} GPU-aaaa NVIDIA GeForce RTX 4090"
OLD = f"gpu 0 0 {8000 * 1024 * 1024 + 5} GPU-bbbb Quadro"
NEW = f"gpu 0 99 {1024 * 1024} GPU-cccc From the future"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("not installed: gcc")
    folder = tmp_path_factory.mktemp("nvml")
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-o",
        str(folder / "libnvidia-ml.so.1"),
        str(SOURCE),
    ]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def driver(library, monkeypatch, tmp_path):
    """Tells the stand-in what to say, a line each."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))

    def say(*lines):
        (tmp_path / "gpus").write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setenv("NVML_FAKE_FILE", str(tmp_path / "gpus"))

    return say


def test_gpus_come_with_all_that_the_api_is_told(driver):
    driver(ADA, OLD, NEW)
    assert list_gpus() == (
        Gpu("GPU-aaaa", "NVIDIA GeForce RTX 4090", "ada", 24564),
        Gpu("GPU-bbbb", "Quadro", "", 8000),
        Gpu("GPU-cccc", "From the future", "", 1),
    )


def test_a_driver_without_gpus_has_none(driver):
    driver()
    assert list_gpus() == ()


def test_a_driver_that_is_not_loaded_is_no_trouble(driver):
    del driver
    assert list_gpus() == ()


def test_a_machine_without_the_library_has_no_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        assert list_gpus() == ()
    else:
        pytest.skip("this machine has NVIDIA's library")


def test_a_gpu_that_is_lost_does_not_hide_the_others(driver, caplog):
    driver(f"gpu {pynvml.NVML_ERROR_GPU_IS_LOST} 8 1 GPU-dead Dead", ADA)
    assert [gpu.uuid for gpu in list_gpus()] == ["GPU-aaaa"]
    assert "GPU 0 is left out: GPU is lost." in caplog.text


def test_a_driver_that_disagrees_with_its_library_is_trouble_that_says_so(driver):
    driver(f"init {pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}")
    with pytest.raises(HostTrouble, match="version mismatch"):
        list_gpus()


def test_a_hang_is_trouble_in_time(driver):
    driver("hang")
    began = time.monotonic()
    with pytest.raises(HostTrouble, match="does not answer within 1 s"):
        list_gpus(timeout_s=1)
    assert time.monotonic() - began < SOON_S  # the stand-in never answers


def test_a_crash_is_trouble_not_the_agents_end(driver):
    driver("crash")
    with pytest.raises(HostTrouble, match="code -6"):
        list_gpus()


@pytest.mark.parametrize("error", pynvml.NVMLError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_error_of_nvml_is_handled(error, monkeypatch):
    """Those that mean that there is nothing are no trouble, all others are."""

    def fail():
        raise error

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    absent = error in {pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded}
    assert ("trouble" in find_gpus()) == (not absent)


def test_the_process_is_the_module_itself():
    assert nvidia.__name__ == "agent.adapters.nvidia"


def test_the_busiest_gpu_counts(driver):
    driver(ADA, "use 7", OLD, "use 93", NEW, "use 99")
    assert GpuUse()(("GPU-aaaa", "GPU-bbbb")) == 93.0
    assert GpuUse()(("GPU-aaaa",)) == 7.0


@pytest.mark.parametrize("lines", [[], [OLD], [ADA], ["init 9"], ["crash"]])
def test_where_nobody_knows_how_busy_a_gpu_is_there_is_no_number(driver, lines):
    """No such GPU, one that cannot tell, no driver, a driver that crashes."""
    driver(*lines)
    assert GpuUse()(("GPU-aaaa",)) is None


def test_one_that_hangs_is_not_joined_by_another(driver, monkeypatch):
    """A process that sleeps in the driver cannot be killed: asking again would only add to them."""
    driver("hang")
    started = []
    start, really_kill = nvidia._start, subprocess.Popen.kill
    monkeypatch.setattr(nvidia, "_start", lambda *uuids: started.append(start(*uuids)) or started[-1])
    monkeypatch.setattr(subprocess.Popen, "kill", lambda _: None)
    use = GpuUse(timeout_s=0.1)
    assert [use(("GPU-aaaa",)) for _ in range(3)] == [None] * 3
    assert len(started) == 1
    driver(ADA, "use 5")
    really_kill(started[0])
    started[0].communicate()
    assert GpuUse(timeout_s=LONG_S)(("GPU-aaaa",)) == 5.0
    use._timeout_s = LONG_S
    assert use(("GPU-aaaa",)) == 5.0
