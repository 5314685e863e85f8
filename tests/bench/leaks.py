"""What an agent holds after thousands of jobs: memory, threads, descriptors, rows, disk.

    python -m tests.bench.leaks [--jobs 10000] [--slots 4]

The real agent in a process of its own, with a real journal, real folders and the API's stand-in in another
process; only its engine is in memory (`tests.bench.leaks_agent`). Each job has an input, an output and a log.
Every figure is taken while the agent has nothing to do. Ends with 1 if anything but the history has grown.
"""

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.bench.leaks_agent import IMAGE
from tests.gpus import GpuStandIns

ROOT = Path(__file__).parents[2]
MAX_RSS_GROWTH_MB = 5.0
"""Between the warm-up and the end; a kilobyte lost with each of 10,000 jobs would be 10 MB."""
MAX_DESCRIPTOR_GROWTH = 8
_WARM_UP = 0.2
_BATCH = 50
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Holding:
    """What an idle agent holds after so many jobs. `rows`: jobs and uploads; `folders`: of jobs."""

    jobs: int
    rss_mb: float
    threads: int
    descriptors: int
    rows: int
    history: int
    folders: int
    disk_mb: float


TITLES = ("jobs", "RSS MB", "threads", "descriptors", "rows", "history rows", "job folders", "state MB")


class Subject:
    """The agent, and how many jobs it has done. Works while the block of `running` lasts."""

    def __init__(self, folder: Path, url: str, slots: int) -> None:
        self.done = 0
        self._url = url
        self._state = folder / "state"
        gpus = GpuStandIns(folder / "gpus", slots)
        self._environment = (
            os.environ
            | gpus.environment
            | {
                "DECODE_API_URL": url,
                "DECODE_ACCESS_TOKEN": "worker1-token",
                "DECODE_STATE_DIR": str(self._state),
                "DECODE_IMAGE_PULL": "never",
                "DECODE_TIMEOUT_JOB": "0.2",
                "DECODE_MIN_FREE_DISK_GIB": "0",
                "DECODE_LOG_LEVEL": "warning",
            }
        )
        self._file_id = str(requests.put(f"{url}/mock/files/in", data=b"x" * 1000, timeout=60).json()["id"])
        self._pid = 0

    @contextmanager
    def running(self) -> Iterator["Subject"]:
        """The agent lives."""
        command = [sys.executable, "-m", "tests.bench.leaks_agent", "run"]
        with subprocess.Popen(command, cwd=ROOT, env=self._environment) as agent:
            self._pid = agent.pid
            try:
                yield self
            finally:
                agent.send_signal(signal.SIGTERM)
                agent.wait(60)

    def do(self, jobs: int) -> Holding:
        """Have so many jobs done; what the agent holds then."""
        for at in range(0, jobs, _BATCH):
            size = min(_BATCH, jobs - at)
            ids = [self._submit() for _ in range(size)]
            wait_until(lambda last=ids[-1], done=self.done + size: self._history() >= done and last)
            self.done += size
        wait_until(lambda: not self._rows() and not self._folders())
        return self.holding()

    def _submit(self) -> str:
        job = {
            "image": IMAGE,
            "cmd": ["true"],
            "files_down": {"data/in": self._file_id},
            "files_up": {"output": "output"},
        }
        answer = requests.post(f"{self._url}/mock/jobs", json=job, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def holding(self) -> Holding:
        """What it holds now."""
        process = Path(f"/proc/{self._pid}")
        return Holding(
            self.done,
            _rss_mb(process),
            len(list((process / "task").iterdir())),
            len(list((process / "fd").iterdir())),
            self._rows(),
            self._history(),
            self._folders(),
            sum(path.stat().st_size for path in self._state.rglob("*") if path.is_file()) / 1e6,
        )

    def _rows(self) -> int:
        return self._count("jobs") + self._count("uploads")

    def _history(self) -> int:
        return self._count("history")

    def _folders(self) -> int:
        with suppress(FileNotFoundError):
            return len(list((self._state / "jobs").iterdir()))
        return 0

    def _count(self, table: str) -> int:
        url = f"file:{self._state / 'agent.db'}?mode=ro"
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(url, uri=True)) as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        return 0


def _rss_mb(process: Path) -> float:
    lines = (process / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024 / 1e6


def wait_until(is_true: Callable[[], object]) -> None:
    """Until it is true; `TimeoutError` if nothing moves any more."""
    end = time.monotonic() + _PATIENCE_S
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError("the agent does not get on")
        time.sleep(0.02)


@contextmanager
def stand_in(folder: Path) -> Iterator[str]:
    """`python -m mock_api serve` as a process of its own; its URL."""
    ready = folder / "url"
    command = [sys.executable, "-m", "mock_api", "serve", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(
        [*command, "--root", str(folder / "api")], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as server:
        try:
            wait_until(ready.exists)
            yield ready.read_text().strip()
        finally:
            server.terminate()


def measure(jobs: int, slots: int, steps: int, tell: Callable[[Holding], None]) -> list[Holding]:
    """What the agent holds at each of so many steps, the first one after the warm-up."""
    warm_up = int(jobs * _WARM_UP)
    found = []
    with (
        tempfile.TemporaryDirectory() as name,
        stand_in(Path(name)) as url,
        Subject(Path(name), url, slots).running() as subject,
    ):
        for size in (warm_up, *([(jobs - warm_up) // steps] * steps)):
            found.append(subject.do(size))
            tell(found[-1])
    return found


def growth_of(found: list[Holding]) -> list[str]:
    """A sentence for everything that has grown with the jobs."""
    first, last = found[0], found[-1]
    sentences = []
    if last.rss_mb - first.rss_mb > MAX_RSS_GROWTH_MB:
        sentences.append(f"memory: {first.rss_mb:.1f} MB, then {last.rss_mb:.1f} MB")
    if last.threads > first.threads:
        sentences.append(f"threads: {first.threads}, then {last.threads}")
    if last.descriptors > first.descriptors + MAX_DESCRIPTOR_GROWTH:
        sentences.append(f"descriptors: {first.descriptors}, then {last.descriptors}")
    if last.rows or last.folders:
        sentences.append(f"left over: {last.rows} rows, {last.folders} job folders")
    return sentences


def row_of(holding: Holding) -> str:
    """A row of the table."""
    values = (
        f"{holding.jobs:,}",
        f"{holding.rss_mb:.1f}",
        holding.threads,
        holding.descriptors,
        holding.rows,
        f"{holding.history:,}",
        holding.folders,
        f"{holding.disk_mb:.1f}",
    )
    return f"| {' | '.join(map(str, values))} |"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Measure; 1 if something has grown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=4)
    arguments = parser.parse_args()
    say(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}")
    began = time.monotonic()
    found = measure(arguments.jobs, arguments.slots, 8, lambda holding: say(row_of(holding)))
    took_s = time.monotonic() - began
    say(f"{found[-1].jobs:,} jobs in {took_s / 60:.1f} min, {found[-1].jobs / took_s:.0f} a second")
    for sentence in (grown := growth_of(found)):
        say(sentence)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
