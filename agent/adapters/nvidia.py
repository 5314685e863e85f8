"""The NVIDIA GPUs of this machine, by NVML in a process of its own: NVML can hang (a GPU off the bus).

`python -m agent.adapters.nvidia` is that process; it prints what it found as JSON: all GPUs, or how much
those are used whose UUIDs are its arguments.
"""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pynvml  # type: ignore[import-untyped]  # it brings no annotations

from agent.core.errors import HostTrouble
from agent.core.models import Gpu

log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_KILL_S = 1.0
_NOT_INSTALLED = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
_ARCHITECTURES: dict[int, str] = {
    value: name.removeprefix("NVML_DEVICE_ARCH_").lower()
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_DEVICE_ARCH_") and name != "NVML_DEVICE_ARCH_UNKNOWN"
}


def list_gpus(timeout_s: float = 20.0) -> tuple[Gpu, ...]:
    """All GPUs that work, in NVML's order; none where there is no driver.

    Raises `HostTrouble` if NVML hangs or fails, as it does when driver and library disagree.
    """
    found = _ask(_start(), timeout_s)
    if "trouble" in found:
        raise HostTrouble(f"the GPUs cannot be listed: {found['trouble']}")
    for sentence in found["skipped"]:
        log.warning("%s", sentence)
    return tuple(Gpu(**each) for each in found["gpus"])


class GpuUse:
    """How much GPUs are used; a process that hangs is waited for, not joined by another one."""

    def __init__(self, timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._hanging: subprocess.Popen[bytes] | None = None

    def __call__(self, uuids: Iterable[str], /) -> float | None:
        """The highest utilisation of these in percent; None where nobody knows. Raises nothing."""
        with self._lock:
            if self._hanging is not None and self._hanging.poll() is None:
                return None
            try:
                process = _start(*uuids)
            except OSError:
                return None
            found = _ask(process, self._timeout_s)
            self._hanging = process if process.poll() is None else None
        return float(found["percent"]) if found.get("percent") is not None else None


def _start(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603  our own interpreter and module
        [sys.executable, "-m", __name__, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _ask(process: "subprocess.Popen[bytes]", timeout_s: float) -> dict[str, Any]:
    with suppress(subprocess.TimeoutExpired):
        answer, _ = process.communicate(timeout=timeout_s)
        try:
            return dict(json.loads(answer))
        except ValueError:
            return {"trouble": f"NVML ended its process with code {process.returncode}"}
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # one that sleeps in the driver cannot even be killed
        process.communicate(timeout=_KILL_S)
    return {"trouble": f"NVML does not answer within {timeout_s:.0f} s; a restart of the machine may help"}


def find_gpus() -> dict[str, Any]:
    """What `list_gpus` reads: `gpus` and `skipped`, or `trouble`. May hang; raises nothing of NVML's."""
    gpus, skipped = [], []
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                gpus.append(_describe(index))
            except pynvml.NVMLError as error:
                skipped.append(f"GPU {index} is left out: {error}.")
    except pynvml.NVMLError as error:
        if error.value not in _NOT_INSTALLED:
            return {"trouble": str(error)}
    return {"gpus": gpus, "skipped": skipped}


def find_use(uuids: Iterable[str]) -> dict[str, Any]:
    """What `GpuUse` reads: `percent`, None where a GPU does not tell. May hang; raises nothing of NVML's."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
        used = [int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) for handle in handles]
        return {"percent": max(used, default=None)}
    except pynvml.NVMLError:
        return {"percent": None}


def _describe(index: int) -> dict[str, Any]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    return {
        "uuid": str(pynvml.nvmlDeviceGetUUID(handle)),
        "model": str(pynvml.nvmlDeviceGetName(handle)),
        "architecture": _architecture(handle),
        "memory_mib": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) // _MIB,
    }


def _architecture(handle: Any) -> str:
    """`ampere`, `ada`, …; empty where the driver is too old to tell, or too new for us."""
    with suppress(pynvml.NVMLError):
        return _ARCHITECTURES.get(pynvml.nvmlDeviceGetArchitecture(handle), "")
    return ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(find_use(sys.argv[1:]) if sys.argv[1:] else find_gpus()))
