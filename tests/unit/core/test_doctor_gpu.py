"""What is made of what can be seen of the GPUs."""

import pytest

from agent.core.doctor_gpu import GpuFacts, InsideFacts, gpu_findings, inside_finding
from agent.core.findings import State
from agent.core.models import Gpu

ONE = Gpu("GPU-aaaa", "NVIDIA RTX 4090", "ada", 24564)
TWO = Gpu("GPU-bbbb", "NVIDIA RTX 4090", "ada", 24564)
MISMATCH = "the GPUs cannot be listed: Driver/library version mismatch"
HANG = "the GPUs cannot be listed: NVML does not answer within 20 s; a restart of the machine may help"


@pytest.mark.parametrize(
    ("facts", "states", "text", "fix"),
    [
        (GpuFacts(), [State.OK], "no GPU: works as a CPU worker", ""),
        (GpuFacts(("nvidia",), "535.1", (ONE,)), [State.OK], "NVIDIA RTX 4090, 24 GiB, GPU-aaaa", ""),
        (GpuFacts((), "535.1", (ONE, TWO)), [State.OK, State.OK], "GPU-bbbb", ""),
        (GpuFacts(("nvidia",), "535.1", trouble=MISMATCH), [State.FAILED], "535.1", "do not reinstall"),
        (GpuFacts(("nvidia",), "535.1", trouble=HANG), [State.FAILED], "does not answer", "dmesg"),
        (GpuFacts(("nvidia",), "535.1", trouble="NVML: Unknown"), [State.FAILED], "Unknown", "nvidia-smi"),
        (GpuFacts(("",)), [State.FAILED], "has no driver", "ubuntu-drivers"),
        (GpuFacts(("nouveau",)), [State.FAILED], "driven by nouveau", "GPUS=none"),
        (GpuFacts(("vfio-pci",)), [State.WARNING], "virtual machine", "GPUS=none"),
        (GpuFacts(("nvidia",), "535.1"), [State.FAILED], "does not work with the driver 535.1", "nvrm"),
        (
            GpuFacts(("nvidia", ""), "535.1", (ONE,)),
            [State.OK, State.FAILED],
            "1 of 2 NVIDIA GPUs does not work with the driver 535.1",
            "nvrm",
        ),
        (
            GpuFacts(("nvidia", "nvidia"), "535.1", (ONE,), left_out=("GPU 1 is left out: GPU is lost.",)),
            [State.OK, State.FAILED],
            "GPU 1 is left out: GPU is lost.",
            "restart the machine",
        ),
    ],
)
def test_gpus_of_the_machine(facts, states, text, fix):
    """A driver that changed under a running system is mended by a reboot, not by installing."""
    found = list(gpu_findings(facts))
    assert [one.state for one in found] == states
    assert text in found[-1].text
    assert fix in found[-1].fix


NO_TOOLKIT = 'could not select device driver "" with capabilities: [[gpu]]'


@pytest.mark.parametrize(
    ("facts", "state", "text"),
    [
        (InsideFacts(("GPU-a",), "GPU-a", ("/dev/nvidia0",)), State.OK, "NVIDIA's hook: it has /dev/nvidia0"),
        (
            InsideFacts(
                ("GPU-a", "GPU-b"), "GPU-b,GPU-a", ("/dev/nvidia0", "/dev/nvidia1"), ("GPU-a", "GPU-b")
            ),
            State.OK,
            "nvidia-smi lists them",
        ),
        (InsideFacts(("GPU-a",), "void", ("/dev/nvidia0",)), State.OK, "by CDI"),
        (InsideFacts(("GPU-a",), "GPU-a", ()), State.FAILED, "was given GPU-a and no /dev/nvidia0"),
        (InsideFacts(("GPU-a",), "void", ()), State.FAILED, "was given void"),
        (
            InsideFacts(("GPU-a", "GPU-b"), "GPU-a,GPU-b", ("/dev/nvidia0",)),
            State.FAILED,
            "GPU-b and /dev/nvidia0",
        ),
        (InsideFacts(("GPU-a",), "GPU-b", ("/dev/nvidia0",)), State.FAILED, "was given GPU-b"),
        (InsideFacts(("GPU-a",), "GPU-a", ("/dev/nvidia0",), ()), State.FAILED, "lists no GPU"),
        (InsideFacts(("GPU-a",), "GPU-a", ("/dev/nvidia0",), ("GPU-b",)), State.FAILED, "lists GPU-b"),
        (InsideFacts(("GPU-a",), refusal=NO_TOOLKIT), State.FAILED, "container toolkit is missing"),
        (
            InsideFacts(("GPU-a",), refusal="nvml error: driver/library version mismatch: unknown"),
            State.FAILED,
            "driver and library disagree",
        ),
        (InsideFacts(("GPU-a",), refusal="boom"), State.FAILED, "cannot be run: boom"),
    ],
)
def test_gpus_in_a_container(facts, state, text):
    """What it was given has to be what it asked for, by name and by device."""
    found = inside_finding(facts)
    assert (found.state, text in found.text) == (state, True)
    assert bool(found.fix) == (state is not State.OK)
