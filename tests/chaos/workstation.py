"""The machine that is beaten: a real dockerd, a real agent process with four GPUs, a disk of its own."""

import contextlib
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from agent.adapters.control_client import ControlClient
from agent.core.errors import AgentError
from agent.core.status import AgentStatus, Mode
from mock_api.server import RunningMock
from tests.chaos.facts import Life
from tests.chaos.jobs import MEMORY_MIB
from tests.chaos.ledger import Ledger
from tests.e2e.agent_process import AgentProcess
from tests.engine_host import Dockerd
from tests.gpus import GpuStandIns

SLOTS = 4
_DISK_MIB = 256
_PATIENCE_S = 60.0

SETTINGS = {
    "DECODE_JOB_MEMORY_MIB": str(MEMORY_MIB),
    "DECODE_JOB_STOP_GRACE": "1",
    "DECODE_JOB_MAX_RUNTIME": "1h",  # a clock that jumps by hours must not end a job
    "DECODE_TRANSFER_TIMEOUT": "2",
    "DECODE_MIN_FREE_DISK_GIB": "0.01",
    "DECODE_LEFTOVER_GRACE": "1",
    "DECODE_HOST_PATIENCE": "60",
    "DECODE_HOST_FAILURES": "100",  # slots that rest would make a storm long
}


@dataclass(frozen=True, slots=True)
class Holdings:
    """What an agent that has nothing to do still holds."""

    threads: int
    descriptors: int


class Lab:
    """What is made once: dockerd, the libraries in C, the ledger. `start` before use, `stop` at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder)
        self.clock = folder / "clock"
        self.clock.write_bytes(struct.pack("d", 0.0))
        hooks = folder / "hooks"
        hooks.mkdir()
        GpuStandIns.add_hook(hooks)
        self.dockerd = Dockerd(hooks, self.ledger.engine_config)

    def start(self) -> None:
        """Compile, and start the engine with its images."""
        self._gpus = GpuStandIns(self.folder / "gpus", SLOTS)
        source, library = Path(__file__).with_name("clock.c"), self.folder / "clock.so"
        options = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library))
        subprocess.run(["gcc", *options, str(source), "-ldl"], check=True, timeout=60)
        self.dockerd.start()
        self.dockerd.import_images()

    def stop(self) -> None:
        """End the engine and remove what it held."""
        self.dockerd.stop()

    def configure_engine(self, *, keeps_containers: bool) -> None:
        """Restart dockerd with `live-restore` or without."""
        self.dockerd.configure(self.ledger.engine_config | {"live-restore": keeps_containers})
        self.dockerd.restart()

    def jump(self, offset_s: float) -> None:
        """Set the agent's time of day off by so much."""
        with self.clock.open("r+b") as file:
            file.write(struct.pack("d", offset_s))

    @property
    def environment(self) -> dict[str, str]:
        """What the agent is started with."""
        shim = {"LD_PRELOAD": str(self.folder / "clock.so"), "CHAOS_CLOCK": str(self.clock)}
        return self._gpus.environment | shim


class Workstation:
    """One agent on the lab's engine: its state lies on a small disk of its own. A context manager."""

    def __init__(self, lab: Lab, mock: RunningMock, name: str) -> None:
        self.lab = lab
        self.mock = mock
        self.disk = lab.folder / name
        settings = {**SETTINGS, **lab.environment}
        self.agent = AgentProcess(mock, lab.dockerd.url, self.disk / "state", settings)
        self.control = ControlClient(self.disk / "state" / "control.sock", timeout_s=20.0)
        self.lives: list[Life] = []

    def __enter__(self) -> Self:
        self.disk.mkdir()
        size = f"size={_DISK_MIB}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.disk)], check=True, timeout=20)
        (self.disk / "state").mkdir(mode=0o700)
        self.agent.log_path = self.lab.folder / f"{self.disk.name}.log"
        return self

    def __exit__(self, *exc: object) -> None:
        self.empty_disk()
        self.kill("the end")
        self.lab.dockerd.remove_containers()
        subprocess.run(["umount", "--lazy", str(self.disk)], check=False, timeout=20)

    # The agent's process

    @property
    def pid(self) -> int | None:
        """Of the agent; None: it does not run."""
        process = self.agent.process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the agent, if it does not run."""
        self.note_end()
        if self.pid is None:
            self.agent.start()
            self.lives.append(Life(time.time()))

    def note_end(self) -> None:
        """Write down that the agent has ended, if nobody has yet."""
        if self.lives and self.lives[-1].how is None and self.pid is None:
            assert self.agent.process is not None
            self._close_life(f"by itself, with {self.agent.process.returncode}")

    def kill(self, how: str = "SIGKILL") -> bool:
        """SIGKILL; False: it did not run."""
        self.note_end()
        if self.pid is None:
            return False
        self.agent.kill()
        self._close_life(how)
        return True

    def stop(self) -> bool:
        """SIGTERM, and wait for its end; False: it did not run."""
        self.note_end()
        if self.pid is None:
            return False
        self.thaw()
        self.agent.signal(signal.SIGTERM)
        code = self.agent.wait()
        # While the interpreter still starts, nobody is there yet to end in good order.
        is_told = code in {0, -signal.SIGTERM}
        self._close_life("SIGTERM" if is_told else f"by itself, with {code} at a SIGTERM")
        return True

    def freeze(self) -> bool:
        """SIGSTOP; False: it did not run."""
        if self.pid is None:
            return False
        self.agent.signal(signal.SIGSTOP)
        return True

    def thaw(self) -> None:
        """SIGCONT."""
        if self.pid is not None:
            self.agent.signal(signal.SIGCONT)

    def _close_life(self, how: str) -> None:
        self.lives[-1] = Life(self.lives[-1].began_at, time.time(), how)

    # What it says and holds

    def status(self) -> AgentStatus | None:
        """What the agent says of itself; None: it does not answer."""
        with contextlib.suppress(AgentError):
            return self.control.status()
        return None

    def steer(self, mode: Mode) -> bool:
        """The owner asks for this; False: nobody listens, or the disk is full."""
        try:
            self.control.steer(mode)
        except AgentError:
            return False
        return True

    def holdings(self) -> Holdings:
        """Threads and descriptors of the agent."""
        folder = Path(f"/proc/{self.pid}")
        return Holdings(len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir())))

    def children(self) -> list[str]:
        """Processes that the agent started and that live."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += (task / "children").read_text().split()
        return found

    def rows(self) -> list[str]:
        """What the journal still holds of jobs."""
        url = f"file:{self.disk / 'state' / 'agent.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(url, uri=True, timeout=10)) as db:
            jobs = [f"job {row[0]} in {row[1]}" for row in db.execute("SELECT job_id, phase FROM jobs")]
            files = [f"upload of job {row[0]}" for row in db.execute("SELECT job_id FROM uploads")]
        return jobs + files

    def containers(self) -> list[str]:
        """Every container of the agent's, running or not."""
        flags = ("--all", "--filter", "label=decode-agent.job-id", "--format", "{{.Names}} {{.Status}}")
        return self.lab.dockerd.docker("ps", *flags).splitlines()

    # Its disk

    def fill_disk(self) -> None:
        """Leave not a byte."""
        with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with contextlib.suppress(OSError), (self.disk / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def empty_disk(self) -> None:
        """Give the room back."""
        (self.disk / "filler").unlink(missing_ok=True)

    def left_aside(self) -> list[str]:
        """Journals that were moved aside."""
        return [path.name for path in (self.disk / "state").glob("agent.db.*")]


def first_process_of(container: str) -> int | None:
    """The host's number of a container's process 1; None: it does not run."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if container in (folder / "cgroup").read_text() and _is_first(folder):
                return int(folder.name)
    return None


def _is_first(folder: Path) -> bool:
    lines = (folder / "status").read_text().splitlines()
    numbers = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
    return len(numbers) > 1 and numbers[-1] == "1"


def kill_container(container: str) -> bool:
    """SIGKILL to a container's process 1; False: it does not run."""
    pid = first_process_of(container)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def docker_quickly(dockerd: Dockerd, *args: str) -> bool:
    """Run Docker's command line for a short while at most; False if it was refused.

    A daemon that is frozen may still do later what it was asked.
    """
    command = [str(shutil.which("docker")), "--host", dockerd.url, *args]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, check=False, timeout=5).returncode == 0
    return True
