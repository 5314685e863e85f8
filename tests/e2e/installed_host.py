"""A workstation with decode-agent on it: a booted Debian, its own Docker, the stand-in of the API outside.

    with HostEngine() as engine, api_for_hosts(engine) as mock:
        with installed(Kind.BOOKWORM, engine, mock) as host:
            job_id = host.submit("sleep 60")
            host.await_status(job_id, "running")

The repository is at `SOURCE` on the host and what installs it without a network at `WHEELS`.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mock_api.server import RunningMock
from tests.e2e.host_engine import HostEngine
from tests.e2e.host_rootfs import WORKSTATION, cache_folder
from tests.e2e.hosts import Equipment, Host, Kind
from tests.engine_host import IMAGES, _busybox_rootfs

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE, WHEELS, ENV_FILE = Path("/root/decode-agent"), Path("/root/wheels"), Path("/root/lab.env")
ACCOUNT = ("worker1@example.com", "worker1-password")
INSTALL_TIMEOUT_S, PATIENCE_S = 300, 90.0


# `docker import` for hosts that have no Docker client.
IMPORT = """
import http.client, socket, sys
line = http.client.HTTPConnection("localhost")
line.sock = socket.socket(socket.AF_UNIX)
line.sock.connect("/var/run/docker.sock")
with open(sys.argv[1], "rb") as file:
    line.request("POST", f"/images/create?fromSrc=-&repo={sys.argv[2]}&tag={sys.argv[3]}", file.read())
answer = line.getresponse()
said = answer.read().decode()
sys.exit(said if answer.status != 200 or "error" in said else 0)
"""


TERMINAL = """
import os, pty, sys, time
command, answers = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
process, terminal = pty.fork()
if not process:
    os.execl("/bin/sh", "sh", "-c", command)
shown = new = ""
while True:
    try:
        new += os.read(terminal, 4096).decode()
    except OSError:
        break
    for prompt in [one for one in answers if one in new]:
        time.sleep(0.2)  # a prompt for a password throws away what was typed before
        os.write(terminal, answers.pop(prompt).encode() + b"\\n")
        shown, new = shown + new, ""
print(shown + new, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), sep="\\n")
"""


class Workstation:
    """A host that can be installed on; everything is done as root unless said otherwise."""

    def __init__(self, host: Host, mock: RunningMock) -> None:
        self.host, self.mock = host, mock
        self.kind = host.kind
        self.is_over = False
        self.run, self.write = host.run, host.write

    def prepare(self) -> None:
        """Put the repository, the wheels and the env file there."""
        self.host.copy_in(REPOSITORY, SOURCE, files_of_the_repository())
        self.host.copy_in(wheels(), WHEELS)
        self.write_env()

    def write_env(self, settings: Mapping[str, str] | None = None, path: Path = ENV_FILE) -> None:
        """An env file as an admin writes it, for this mock; a setting that is empty is left out."""
        username, password = ACCOUNT
        chosen: Mapping[str, str] = {
            "API_URL": self.mock.url,
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": self.mock.url,
            "USERNAME": username,
            "PASSWORD": password,
            "IMAGE_PULL": "never",
            "JOB_NETWORK": "none",
            "TIMEOUT_JOB": "1",
            "TIMEOUT_STATUS": "1",
            "MIN_FREE_DISK_GIB": "0",
            **(settings or {}),
        }
        lines = [f"{name}={value}" for name, value in chosen.items() if value]
        self.write(path, "\n".join([*lines, ""]).encode(), mode=0o600)

    def import_images(self) -> None:
        """Give the host's own Docker the image that jobs are made of."""
        self.write(Path("/root/busybox.tar"), _busybox_rootfs())
        self.write(Path("/root/import.py"), IMPORT.encode())
        name, tag = IMAGES.busybox.split(":")
        self.run(f"python3 /root/import.py /root/busybox.tar '{name}' '{tag}'")
        self.run("rm /root/busybox.tar /root/import.py")

    def install(
        self, options: str = f"--yes --env-file {ENV_FILE} --offline {WHEELS}", *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run install.sh; stdout and stderr are told apart."""
        command = f"cd {SOURCE} && ./install.sh {options}"
        return self.run(command, timeout=INSTALL_TIMEOUT_S, check=check)

    def install_at_terminal(self, options: str, answers: Mapping[str, str]) -> tuple[str, int]:
        """Run install.sh as one who answers each prompt once; what the terminal showed, and the code."""
        self.write(Path("/root/terminal.py"), TERMINAL.encode())
        words = " ".join(f"'{word}'" for pair in answers.items() for word in pair)
        command = f"cd {SOURCE} && python3 /root/terminal.py './install.sh {options}' {words}"
        done = self.run(f"{command}; rm /root/terminal.py", timeout=INSTALL_TIMEOUT_S)
        shown, _, code = done.stdout.rstrip().rpartition("\n")
        return shown, int(code)

    # --- the service ---

    def show(self, name: str) -> str:
        """A property of the unit, as `systemctl show` has it."""
        return self.run(f"systemctl show -P {name} decode-agent").stdout.strip()

    @property
    def is_active(self) -> bool:
        """Whether systemd takes the service for running and ready."""
        return self.show("ActiveState") == "active"

    @property
    def main_pid(self) -> int:
        """The agent's process; 0 if there is none."""
        return int(self.show("MainPID"))

    @property
    def status_line(self) -> str:
        """What `systemctl status` shows of it."""
        return self.show("StatusText")

    def agent_status(self) -> dict[str, Any]:
        """The answer of `decode-agent status --json`."""
        said = self.run("decode-agent status --json", check=False).stdout
        return dict(json.loads(said))

    def journal(self, *matches: str) -> str:
        """The service's log; `JOB_ID=3` narrows it."""
        return self.run(f"journalctl -q --no-pager -u decode-agent -o cat {' '.join(matches)}").stdout

    # --- jobs ---

    def submit(self, command: str, **submission: Any) -> str:
        """Queue a job that runs the shell command; the queue's id."""
        made = f"mkdir -p /files/output; {command}"
        return self.mock.submit(
            image=IMAGES.busybox, cmd=[made], **{"files_up": {"output": "output"}, **submission}
        )

    def await_status(self, job_id: str, status: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the API knows this of the job; the failure shows the service's log."""
        self.await_true(
            lambda: self.mock.job(job_id).status == status,
            f"job {job_id} is {status}",
            timeout_s,
        )

    def container_id(self, job_id: str) -> str:
        """The full id of the job's container; empty if there is none."""
        listed = self.run(f"docker ps -aq --no-trunc --filter label=decode-agent.job-id={job_id}")
        return listed.stdout.strip()

    def await_true(self, is_true: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until it is true; AssertionError with the service's log if it never gets so."""
        deadline = time.monotonic() + timeout_s
        while not is_true():
            if time.monotonic() > deadline:
                said = self.run("journalctl -q --no-pager -u decode-agent -n 60", check=False).stdout
                raise AssertionError(f"{self.kind}: never came true: {what}; the service says:\n{said}")
            time.sleep(0.1)


def a_chapter(station: Workstation, session: pytest.Session) -> Iterator[Workstation]:
    """For tests that go on where the one before has left the host: none is run after one has failed."""
    if station.is_over:
        pytest.skip("an earlier test on this host has failed")
    failed_before = session.testsfailed
    yield station
    station.is_over = session.testsfailed > failed_before


def files_of_the_repository() -> list[str]:
    """What a commit of the work tree would hold, so that a test sees what is being worked on."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in sorted(set(listed.stdout.split("\0"))) if name and (REPOSITORY / name).is_file()]


def wheels() -> Path:
    """A folder with all that an installation needs, made now if the cache has none for pyproject.toml."""
    script = REPOSITORY / "packaging/wheels.sh"
    made_from = (REPOSITORY / "pyproject.toml").read_bytes() + script.read_bytes()
    parent = cache_folder() / "wheels"
    folder = parent / hashlib.sha256(made_from).hexdigest()[:12]
    if not folder.exists():
        part = parent / f".{folder.name}.{os.getpid()}"
        command = ["bash", str(script), str(part), "3.11", "3.13"]
        subprocess.run(command, env=os.environ | {"PYTHON": sys.executable}, check=True, capture_output=True)
        if not folder.exists():
            part.rename(folder)
    return folder


@contextmanager
def api_for_hosts(engine: HostEngine, **options: Any) -> Iterator[RunningMock]:
    """The stand-in of the API where the engine's hosts reach it."""
    with RunningMock(host=engine.gateway, **options) as mock:
        yield mock


@contextmanager
def workstation(
    kind: Kind,
    engine: HostEngine,
    mock: RunningMock,
    equipment: Equipment = WORKSTATION,
    *,
    systemd: bool = True,
) -> Iterator[Workstation]:
    """A host with all that install.sh needs, before it has run."""
    with Host.boot(kind, equipment, engine.url, systemd=systemd) as host:
        station = Workstation(host, mock)
        station.prepare()
        if not systemd:
            host.run("setsid dockerd > /var/log/dockerd 2>&1 < /dev/null & true")
            docker_answers = "test -S /var/run/docker.sock && docker version"
            station.await_true(lambda: not host.run(docker_answers, check=False).returncode, "Docker answers")
        if equipment is WORKSTATION:
            station.import_images()
        yield station


@contextmanager
def installed(kind: Kind, engine: HostEngine, mock: RunningMock, **settings: str) -> Iterator[Workstation]:
    """A workstation whose service runs; the settings are those of agent.env."""
    with workstation(kind, engine, mock) as station:
        station.write_env(settings)
        station.install()
        yield station
