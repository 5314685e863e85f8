"""Whether the kernel killed a container's process for memory.

Docker's `OOMKilled` is not reliable: containerd's shim loses the event if the container's cgroup is removed
before the shim comes to read it, which is a matter of milliseconds on a busy machine (seen with containerd
1.6 on cgroup v1, where most were lost). So the cgroup is read here as well, while the container lives.
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (10. OOM Control),
https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events)
"""

import os
import re
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

_KILLS = re.compile(rb"^oom_kill ([0-9]+)$", re.MULTILINE)
_MEMORY_V1 = re.compile(r"^[0-9]+:(?:[^:]*,)?memory(?:,[^:]*)?:(/.*)$", re.MULTILINE)
_UNIFIED = re.compile(r"^0::(/.*)$", re.MULTILINE)
_REMOVAL_S = 0.2
_MAX_BYTES = 4096


class OomWatch:
    """Watches the cgroup of one running container; where that cannot be read it has seen nothing.

    `pid`: the container's first process as this machine counts. A context manager.
    """

    def __init__(
        self,
        container_id: str,
        pid: int,
        *,
        proc: Path = Path("/proc"),
        cgroups: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._has_seen = False
        self._counts: int | None = None
        self._alarm: int | None = None
        with suppress(OSError):
            groups = (proc / str(pid) / "cgroup").read_text()
            if container_id in groups:  # or it is no process of that container, perhaps not even its machine
                self._open(groups, cgroups)
        self.note()

    def _open(self, groups: str, cgroups: Path) -> None:
        if found := _MEMORY_V1.search(groups):
            folder = cgroups / "memory" / found[1].lstrip("/")
            self._counts = os.open(folder / "memory.oom_control", os.O_RDONLY)
            self._set_alarm(folder)
        elif found := _UNIFIED.search(groups):
            self._counts = os.open(cgroups / found[1].lstrip("/") / "memory.events", os.O_RDONLY)

    def _set_alarm(self, folder: Path) -> None:
        """Have the kernel count in a descriptor, which outlives the cgroup; needs root."""
        alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            (folder / "cgroup.event_control").write_text(f"{alarm} {self._counts}")
        except OSError:
            os.close(alarm)
        else:
            self._alarm = alarm

    def register(self, poll: select.poll) -> None:
        """Have the poll wake when `note` may have news."""
        if self._counts is not None and self._alarm is None:
            poll.register(self._counts, select.POLLPRI)

    def note(self, poll: "select.poll | None" = None) -> None:
        """Read how many were killed up to now; once the cgroup is gone, take it from the poll."""
        if self._counts is None:
            return
        try:
            kills = _KILLS.search(os.pread(self._counts, _MAX_BYTES, 0))
        except OSError:
            if poll is not None and self._alarm is None:
                with suppress(KeyError):
                    poll.unregister(self._counts)
        else:
            self._has_seen = self._has_seen or (kills is not None and int(kills[1]) > 0)

    def has_killed(self) -> bool:
        """Whether one was killed, asked after the container's end."""
        self.note()
        return self._has_seen or self._was_alarmed()

    def _was_alarmed(self) -> bool:
        """The alarm counts each shortage and, soon after the end, the removal of the cgroup itself."""
        if self._alarm is None:
            return False
        count, deadline = 0, time.monotonic() + _REMOVAL_S
        while count <= 1 and (left_s := deadline - time.monotonic()) > 0:
            select.select([self._alarm], [], [], left_s)
            with suppress(BlockingIOError):
                count += os.eventfd_read(self._alarm)
        return count > 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in (self._counts, self._alarm):
            if descriptor is not None:
                os.close(descriptor)
        self._counts = self._alarm = None


def sleep(stream: int, memory: OomWatch, timeout_s: float) -> bool:
    """Sleep until something comes in the stream (a descriptor) or it ends; False when the time is over."""
    poll = select.poll()  # unlike select, it takes descriptors over 1023
    poll.register(stream, select.POLLIN)
    memory.register(poll)
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        woken = {descriptor for descriptor, _ in poll.poll(left_s * 1000)}
        if stream in woken:
            return True
        memory.note(poll)
    return False
