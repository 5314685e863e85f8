"""What this machine itself knows of the engine's doings: where no clock jumps and no daemon hangs.

Only an engine behind a unix socket is on this machine; and even its socket may have been carried here.
"""

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# Of the fields behind the process's name, https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
_START_FIELD = 22 - 3

_CPU_V1 = re.compile(r"^[0-9]+:(?:[^:]*,)?cpuacct(?:,[^:]*)?:(/.*)$", re.MULTILINE)
_UNIFIED = re.compile(r"^0::(/.*)$", re.MULTILINE)
_USAGE_V2 = re.compile(r"^usage_usec ([0-9]+)$", re.MULTILINE)


def is_local(base_url: str) -> bool:
    """Whether the engine may be on this machine."""
    return base_url.startswith("unix:")


def boot_id(proc: Path = Path("/proc")) -> str:
    """Which run of this machine it is; empty where that is not told."""
    with suppress(OSError):
        return (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def age_of(details: Mapping[str, Any], *, proc: Path = Path("/proc")) -> float | None:
    """For how many seconds at least a container has been running; None if its process is not to be seen.

    `details`: the engine's answer about it. The time that the machine was suspended does not count, not even
    what lay before the container's start: rather too young than too old.
    """
    with suppress(OSError, ValueError, IndexError):
        pid = _pid_of(details, proc)
        fields = (proc / pid / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        started_s = int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.monotonic() - started_s)
    return None


def cpu_s_of(
    details: Mapping[str, Any], *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """The seconds of CPU that a running container has used; None if its cgroup is not to be seen.

    https://docs.kernel.org/admin-guide/cgroup-v1/cpuacct.html, https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    with suppress(OSError, ValueError):
        groups = (proc / _pid_of(details, proc) / "cgroup").read_text()
        if found := _CPU_V1.search(groups):
            usage_ns = (cgroups / "cpuacct" / found[1].lstrip("/") / "cpuacct.usage").read_text()
            return int(usage_ns) / 1e9
        if found := _UNIFIED.search(groups):
            usage = _USAGE_V2.search((cgroups / found[1].lstrip("/") / "cpu.stat").read_text())
            return int(usage[1]) / 1e6 if usage else None
    return None


def _pid_of(details: Mapping[str, Any], proc: Path) -> str:
    """The container's first process. `ValueError` if there is none of it on this machine."""
    pid = int((details.get("State") or {}).get("Pid") or 0)
    container_id = str(details.get("Id") or "")
    if pid <= 0 or not container_id or container_id not in (proc / str(pid) / "cgroup").read_text():
        raise ValueError("no process of that container")
    return str(pid)
