"""What can be seen of the GPUs, on the machine and in a container, and what a doctor makes of that."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.findings import Finding, State
from agent.core.models import Gpu
from agent.core.wire import one_line

_ABOUT = "gpu"
_INSIDE = "gpu-job"
_REBOOT = "restart the machine, do not reinstall anything: sudo systemctl reboot"
_TOOLKIT = (
    "sudo apt install nvidia-container-toolkit (from NVIDIA's repository), then: sudo nvidia-ctk runtime"
    " configure --runtime=docker, and restart Docker when no job runs"
)


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What the machine shows.

    `on_bus`: the kernel driver of each NVIDIA GPU on the PCI bus, empty where it has none.
    `module_version`: of the loaded kernel module, empty if none is. `gpus`: those that NVML lists;
    `trouble`: why it does not; `left_out`: a sentence for each that it could not describe.
    """

    on_bus: tuple[str, ...] = ()
    module_version: str = ""
    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""
    left_out: tuple[str, ...] = ()


def gpu_findings(facts: GpuFacts) -> Iterator[Finding]:
    """Whether the GPUs work on this machine."""
    if facts.trouble:
        yield _trouble(facts)
        return
    for gpu in facts.gpus:
        memory = f"{gpu.memory_mib / 1024:.0f} GiB"
        yield Finding(_ABOUT, State.OK, f"{gpu.model}, {memory}, {gpu.uuid}")
    for sentence in facts.left_out:
        fix = "restart the machine; if it happens again, look at the card itself: sudo dmesg | grep -i xid"
        yield Finding(_ABOUT, State.FAILED, one_line(sentence), fix)
    missing = len(facts.on_bus) - len(facts.gpus) - len(facts.left_out)
    if missing > 0:
        yield _undriven(facts, missing)
    elif not facts.gpus and not facts.left_out:
        yield Finding(_ABOUT, State.OK, "no GPU: works as a CPU worker")


def _trouble(facts: GpuFacts) -> Finding:
    if "version mismatch" in facts.trouble.lower():
        loaded = f" (loaded: {facts.module_version})" if facts.module_version else ""
        text = f"the driver was updated, the old one still runs: driver and library disagree{loaded}"
        return Finding(_ABOUT, State.FAILED, text, _REBOOT)
    if "does not answer" in facts.trouble:
        fix = "restart the machine; the reason is in: sudo dmesg | grep -iE 'xid|nvrm'"
        return Finding(_ABOUT, State.FAILED, facts.trouble, fix)
    fix = "see whether nvidia-smi works; if not, restart the machine: sudo systemctl reboot"
    return Finding(_ABOUT, State.FAILED, facts.trouble, fix)


def _undriven(facts: GpuFacts, missing: int) -> Finding:
    which = f"{missing} of {len(facts.on_bus)} NVIDIA GPUs" if facts.gpus else "the NVIDIA GPU"
    drivers = set(facts.on_bus)
    if "nouveau" in drivers:
        text = f"{which} is driven by nouveau, with which no job can use it"
    elif "vfio-pci" in drivers:
        text = f"{which} is handed to a virtual machine (vfio-pci)"
        return Finding(_ABOUT, State.WARNING, text, "none, if that is meant; GPUS=none says that it is")
    elif facts.module_version:
        text = f"{which} does not work with the driver {facts.module_version}"
        return Finding(_ABOUT, State.FAILED, text, "the reason is in: sudo dmesg | grep -i nvrm")
    else:
        text = f"{which} has no driver"
    fix = (
        "install NVIDIA's driver (Debian: nvidia-driver, Ubuntu: sudo ubuntu-drivers install) and restart"
        " the machine; or set GPUS=none"
    )
    return Finding(_ABOUT, State.FAILED, text, fix)


@dataclass(frozen=True, slots=True)
class InsideFacts:
    """What a container was given that asked for GPUs by `asked` (their UUIDs).

    `visible`: its NVIDIA_VISIBLE_DEVICES. `devices`: its /dev/nvidia0 and so on. `listed`: the UUIDs that
    nvidia-smi listed in it, None where there was no nvidia-smi. `refusal`: why it did not run.
    """

    asked: tuple[str, ...]
    visible: str = ""
    devices: tuple[str, ...] = ()
    listed: tuple[str, ...] | None = None
    refusal: str = ""

    @property
    def is_by_cdi(self) -> bool:
        """Whether CDI gave the GPUs: its specs take the older way out of the game by this word."""
        return self.visible == "void" and bool(self.devices)


def inside_finding(facts: InsideFacts) -> Finding:
    """Whether a job would get the GPUs."""
    if facts.refusal:
        return _refused(facts.refusal)
    if facts.listed is not None and set(facts.listed) != set(facts.asked):
        text = f"nvidia-smi in a container lists {', '.join(facts.listed) or 'no GPU'}, not {_words(facts)}"
        return Finding(_INSIDE, State.FAILED, text, _TOOLKIT)
    if len(facts.devices) < len(facts.asked):
        given = f"{facts.visible or 'nothing'} and {', '.join(facts.devices) or 'no /dev/nvidia0'}"
        text = f"a container that asked for {_words(facts)} was given {given}"
        return Finding(_INSIDE, State.FAILED, text, _TOOLKIT)
    if not facts.is_by_cdi and set(facts.visible.split(",")) != set(facts.asked):
        text = f"a container that asked for {_words(facts)} was given {facts.visible or 'no GPU'}"
        return Finding(_INSIDE, State.FAILED, text, _TOOLKIT)
    how = "by CDI" if facts.is_by_cdi else "by NVIDIA's hook"
    proof = "nvidia-smi lists them" if facts.listed else f"it has {', '.join(facts.devices)}"
    return Finding(_INSIDE, State.OK, f"a container gets its GPUs {how}: {proof}")


def _words(facts: InsideFacts) -> str:
    return ", ".join(facts.asked)


def _refused(refusal: str) -> Finding:
    if "could not select device driver" in refusal or "unresolvable CDI devices" in refusal:
        text = "Docker cannot give a GPU to a container: NVIDIA's container toolkit is missing"
        return Finding(_INSIDE, State.FAILED, text, _TOOLKIT)
    if "version mismatch" in refusal.lower():
        text = "no container gets a GPU: driver and library disagree"
        return Finding(_INSIDE, State.FAILED, text, _REBOOT)
    text = f"a container that asks for a GPU cannot be run: {one_line(refusal)}"
    return Finding(_INSIDE, State.FAILED, text, "see whether nvidia-smi works on the machine itself")
