"""The trial containers: what they are made of, what they are told to do, what they said."""

import re
from pathlib import PurePosixPath

from agent.core.container import CAPABILITIES
from agent.core.doctor_gpu import InsideFacts
from agent.core.engine_models import ContainerPlan

LABEL = "decode-agent.selftest"
EXIT_CODE = 7  # no shell ends with it by itself
_NO_PROGRAM = 127

# Written with the shell alone: there is nothing else in the image.
_FILES_SCRIPT = """
read word < /files/in || exit 3
echo "$word" > /files/out || exit 4
echo "$word"
exit 7
"""
_GPU_SCRIPT = """
echo "visible=$NVIDIA_VISIBLE_DEVICES"
for device in /dev/nvidia[0-9]*; do [ ! -e "$device" ] || echo "device=$device"; done
for smi in /usr/bin/nvidia-smi /bin/nvidia-smi; do
    if [ -x "$smi" ]; then "$smi" -L; echo "smi=$?"; break; fi
done
exit 7
"""

# What nvidia-smi needs of the C library beside the shell's share.
_MORE_LIBRARIES = ("libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1")


def libraries_in(trace: str) -> tuple[str, ...]:
    """Absolute paths of what a program is linked with, by what ldd(1) says of it."""
    return tuple(dict.fromkeys(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", trace, re.MULTILINE)))


def more_libraries(libraries: tuple[str, ...]) -> tuple[str, ...]:
    """What may lie beside the C library."""
    folders = [PurePosixPath(path).parent for path in libraries if PurePosixPath(path).name == "libc.so.6"]
    return tuple(str(folder / name) for folder in folders for name in _MORE_LIBRARIES)


def plan_trial(
    name: str, image: str, folder: str, libraries: tuple[str, ...], gpu_uuids: tuple[str, ...] = ()
) -> ContainerPlan:
    """A container like a job's. `folder`: what it sees as /files; with GPUs it looks for these instead."""
    folders = dict.fromkeys(str(PurePosixPath(path).parent) for path in libraries)
    return ContainerPlan(
        name=name,
        image=image,
        entrypoint=("/bin/sh", "-c"),
        command=(_GPU_SCRIPT if gpu_uuids else _FILES_SCRIPT,),
        env=(("LD_LIBRARY_PATH", ":".join(folders)),),
        labels=((LABEL, "1"),),
        folder=folder,
        memory_mib=256,
        cpus=1.0,
        shm_mib=64,
        pids=64,
        network="none",
        capabilities=CAPABILITIES,
        log_max_mib=1,
        gpu_uuids=gpu_uuids,
    )


def inside_facts_of(asked: tuple[str, ...], log: str) -> InsideFacts:
    """What the container that asked for these GPUs said."""
    visible = re.search(r"^visible=(.*)$", log, re.MULTILINE)
    ended = re.search(r"^smi=(\d+)$", log, re.MULTILINE)
    has_smi = ended is not None and int(ended[1]) != _NO_PROGRAM
    return InsideFacts(
        asked,
        visible[1].strip() if visible else "",
        tuple(re.findall(r"^device=(\S+)$", log, re.MULTILINE)),
        tuple(re.findall(r"UUID: (GPU-[\w-]+)", log)) if has_smi else None,
    )
