"""Installed hosts that each have an API for themselves, which can be away and tells its secrets."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mock_api.accounts import DEFAULT_ACCOUNTS, Account, Accounts
from mock_api.faults import FaultKind
from mock_api.server import RunningMock
from mock_api.settings import Settings
from mock_api.signing import Signer
from tests.e2e import secret_sweep
from tests.e2e.host_engine import HostEngine
from tests.e2e.hosts import Kind
from tests.e2e.installed_host import ACCOUNT, ENV_FILE, Workstation, workstation

T = TypeVar("T")
S = TypeVar("S")

JOBS = Path("/var/lib/decode-agent/jobs")
UNTIL_LET_GO = "until [ -e /files/output/go ]; do sleep 0.2; done; echo done > /files/output/result"
FILES_UP = {"output": "output", "log": "log"}
SWEEPER, SEEN, NEEDLES = (Path("/root") / name for name in ("secret_sweep.py", "seen", "needles"))
AGAIN_S = 150.0
"""After an outage: who waits between attempts waits up to a minute, on a busy machine longer."""


def on_each(stations: Sequence[S], act: Callable[[S], T]) -> list[T]:
    """Act on every host at the same time; what the first failure raised."""
    with ThreadPoolExecutor(len(stations)) as pool:
        return list(pool.map(act, stations))


class ServiceHost:
    """A workstation with what the tests of the service ask of it."""

    def __init__(self, station: Workstation) -> None:
        self.station = station
        self.mock = station.mock
        self.said = ""
        """What installing it and its commands have printed."""
        self.kind = station.kind
        self.run = station.run

    # --- the service ---

    def ask(self, command: str) -> tuple[int, str]:
        """Exit code and everything that `decode-agent COMMAND` says."""
        done = self.run(f"decode-agent {command} 2>&1", check=False)
        return done.returncode, done.stdout

    def life(self) -> tuple[int, str]:
        """The process and how often systemd had to start it again."""
        return self.station.main_pid, self.station.show("NRestarts")

    def tune(self, name: str, value: str) -> None:
        """Change one setting in agent.env, as an admin does with an editor."""
        path = "/etc/decode-agent/agent.env"
        self.run(f"sed -i '/^{name}=/d' {path} && echo '{name}={value}' >> {path}")

    def override(self, lines: str) -> None:
        """Add a drop-in to the unit and start the service anew."""
        path = Path("/etc/systemd/system/decode-agent.service.d/90-test.conf")
        self.station.write(path, f"[Service]\n{lines}\n".encode())
        self.run("systemctl daemon-reload && systemctl restart decode-agent")

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """Entries of the system's journal with all their fields."""
        said = self.run(f"journalctl -q --no-pager --all -o json {' '.join(matches)}").stdout
        return [json.loads(line) for line in said.splitlines()]

    # --- jobs ---

    def start_job(self, **submission: Any) -> tuple[str, str]:
        """A job that runs until it is let go, and the id of its container, which runs."""
        job_id = self.station.submit(UNTIL_LET_GO, **submission)
        self.await_running(job_id)
        return job_id, self.station.container_id(job_id)

    def await_running(self, job_id: str) -> None:
        """Wait until the job's container runs."""
        template = "--format '{{.State.Running}}'"
        ask = f"docker inspect {template} decode-job-{job_id}"
        self.await_true(lambda: self.run(ask, check=False).stdout.strip() == "true", f"job {job_id} runs")

    def let_go(self, job_id: str) -> None:
        """Let a job of `start_job` end by itself."""
        self.run(f"touch {JOBS}/{job_id}/files/output/go")

    def let_all_go(self) -> None:
        """Let whatever a test has left behind end, and have jobs taken."""
        self.run(f"for one in {JOBS}/*/files/output; do touch $one/go; done", check=False)
        self.run("systemctl start decode-agent; decode-agent resume", check=False)

    def do_a_job(self, command: str = "echo 42 > /files/output/result", **submission: Any) -> str:
        """A short job, from its submission to its verdict."""
        job_id = self.station.submit(command, **submission)
        self.await_true(lambda: self.verdicts(job_id), f"job {job_id} is over", AGAIN_S)
        return job_id

    def verdicts(self, job_id: str) -> list[str]:
        """Every verdict that the API was ever told of the job."""
        told = [change.status for change in self.mock.job(job_id).history]
        return [status for status in told if status in {"finished", "error"}]

    def await_true(self, is_true: Callable[[], object], what: str, timeout_s: float = AGAIN_S) -> None:
        """Wait until it is true."""
        self.station.await_true(is_true, what, timeout_s)

    # --- the API ---

    def refuse(self) -> None:
        """The API's machine is there, but nothing listens any more."""
        ports = [int(url.rpartition(":")[2]) for url in (self.mock.url, self.mock.storage_url)]
        self.mock.stop()
        self.mock._ports = (ports[0], ports[1])

    def hang(self) -> None:
        """Whoever connects is heard and never answered."""
        with suppress(RuntimeError):
            self.mock.start()
        self.mock.fault(FaultKind.hang, times=None)

    def answer(self) -> None:
        """The API is back."""
        self.mock.state.faults.clear()

    # --- the machine ---

    def reboot(self, how: Callable[["ServiceHost"], None]) -> None:
        """Bring the machine down, and up again."""
        host = self.station.host
        how(self)
        ask = ["inspect", "--format", "{{.State.Running}}", host.name]
        self.await_true(lambda: host._ask(*ask).stdout.strip() == "false", "the machine is off")
        host._ask("start", host.name)
        host._await_boot()

    def power_off(self) -> None:
        """As the power button does: everything is stopped in order."""
        self.run("systemctl poweroff", check=False)

    def cut_power(self) -> None:
        """Everything is gone at once."""
        self.station.host._ask("kill", "--signal=KILL", self.station.host.name)

    # --- secrets ---

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever process there is meanwhile, its argv and environment are collected."""
        self.station.write(SWEEPER, Path(secret_sweep.__file__).read_bytes())
        self.run(f"systemd-run --quiet --unit=watch-processes python3 {SWEEPER} watch {SEEN}")
        self.await_true(lambda: not self.run(f"test -s {SEEN}", check=False).returncode, "the watch begins")
        try:
            yield
        finally:
            self.run("systemctl stop watch-processes")

    def sweep(self, secrets: dict[str, list[str]], user: str = "") -> set[tuple[str, str]]:
        """Where which kind of secret is, but for what only root reads in /root."""
        self.station.write(NEEDLES, json.dumps(secrets).encode(), mode=0o600)
        said = self.run(f"python3 {SWEEPER} sweep {SEEN} {user} < {NEEDLES}", timeout=250).stdout
        self.run(f"rm {NEEDLES}")
        return {(place, kind) for place, kind in json.loads(said)}


class Disclosed:
    """What stand-ins gave out in secret: tokens and signatures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.tokens: set[str] = set()
        self.refresh_tokens: set[str] = set()
        self.signatures: set[str] = set()

    @contextmanager
    def noted(self) -> Iterator["Disclosed"]:
        """Note them while the block runs."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, name, to in (
                (Accounts, "issue_token", self.tokens),
                (Accounts, "issue_refresh_token", self.refresh_tokens),
                (Signer, "_sign", self.signatures),
            ):
                patch.setattr(owner, name, self._noting(getattr(owner, name), to))
            yield self

    def _noting(self, make: Callable[..., str], to: set[str]) -> Callable[..., str]:
        def making(*args: Any, **options: Any) -> str:
            made = make(*args, **options)
            with self._lock:
                to.add(made)
            return made

        return making

    def secrets(self) -> dict[str, list[str]]:
        """By kind; of a token its signature, and the beginning that all of them have in common."""
        parts = [token.split(".") for token in self.tokens]
        return {
            "token": sorted({parts[0][0], *(part[2] for part in parts)}),
            "refresh token": sorted(self.refresh_tokens),
            "signature": sorted(self.signatures),
        }


@contextmanager
def service_host(
    kind: Kind, engine: HostEngine, root: Path, password: str = ACCOUNT[1], *, watch: bool = False
) -> Iterator[ServiceHost]:
    """A host with the service on it, that logs all there is to log; `root`: for the files of its API."""
    accounts = (Account(ACCOUNT[0], password, ("users", "workers")), *DEFAULT_ACCOUNTS[1:])
    with ExitStack() as stack:
        mock = RunningMock(Settings(storage="s3"), accounts, root=root, host=engine.gateway)
        stack.enter_context(mock)
        station = stack.enter_context(workstation(kind, engine, mock))
        station.write_env({"PASSWORD": password, "LOG_LEVEL": "debug"})
        host = ServiceHost(station)
        with host.watched() if watch else ExitStack():
            done = station.install()
        host.said = f"{done.stdout}{done.stderr}"
        yield host


__all__ = ["ENV_FILE", "Disclosed", "ServiceHost", "on_each", "service_host"]
