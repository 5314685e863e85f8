"""The real agent as a process of its own, against `mock_api` and a real engine."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from mock_api.job import Job
from mock_api.requestlog import LoggedRequest
from mock_api.server import RunningMock
from tests.engine_host import ending_with_us

ROOT = Path(__file__).parents[2]
ACCOUNT = ("worker1@example.com", "worker1-password")
PATIENCE_S = 60.0
FILES = {"output": "output", "log": "log", "artifact": "model"}


@dataclass
class AgentProcess:
    """One workstation: its state and its engine outlive the process that is started and killed on it."""

    mock: RunningMock
    engine_url: str
    state: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    log_path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log_path = self.state.with_suffix(".log")

    @property
    def log(self) -> str:
        """All that it has said, over all its lives."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, *args: str) -> Self:
        """Start the process, as an account that logs in at the stand-in."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*ending_with_us(), sys.executable, "-m", "agent", "run", *self.args, *args],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        username, password = ACCOUNT
        return kept | {
            "DECODE_API_URL": self.mock.url,
            "DECODE_USERNAME": username,
            "DECODE_PASSWORD": password,
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": self.mock.url,
            "DECODE_STATE_DIR": str(self.state),
            "DECODE_DOCKER_HOST": self.engine_url,
            "DECODE_IMAGE_PULL": "never",
            "DECODE_JOB_NETWORK": "none",
            "DECODE_TIMEOUT_JOB": "1",
            "DECODE_TIMEOUT_STATUS": "1",
            "DECODE_MIN_FREE_DISK_GIB": "0",
            "DECODE_LOG_LEVEL": "debug",
            **self.settings,
        }

    def run(self, *args: str, timeout_s: float = 180.0) -> int:
        """Start it and wait for its end; the exit code."""
        return self.start(*args).wait(timeout_s)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the agent has not ended; its log:\n{self.log[-8000:]}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and nobody cleans up after it; harmless if it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def leftovers(self) -> list[str]:
        """Job folders that are still there."""
        jobs = self.state / "jobs"
        return sorted(path.name for path in jobs.iterdir()) if jobs.exists() else []


def wait_for(condition: Any, what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds; an AssertionError that says what never came."""
    end = monotonic() + timeout_s
    while not condition():
        assert monotonic() < end, f"never came: {what}"
        sleep(0.02)


def finish(agent: AgentProcess, mock: RunningMock, job_id: str) -> Job:
    """Run the agent until the queue is empty; the job as its user sees it, the machine left clean."""
    assert agent.run("--until-idle") == 0, agent.log
    assert agent.leftovers == []
    return mock.job(job_id)


def said_after_verdict(mock: RunningMock, job_id: str) -> list[LoggedRequest]:
    """What was sent about the job after its verdict: must be nothing."""
    about = mock.requests(path=f"/jobs/{job_id}/")
    verdicts = [at for at, one in enumerate(about) if re.search("status=(finished|error)", one.query)]
    return about[verdicts[0] + 1 :]
