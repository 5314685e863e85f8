"""How soon after a kill the API hears of every running job again.

    sudo python -m tests.bench.resume [--times 5]

Kills the agent with SIGKILL while 1 and while 8 containers run, starts it at once, and prints the medians of

- kill → a keep-alive of every job has arrived (bar: under 3 s);
- the new process's start → the same;
- `python -c pass` of the same interpreter, the least that any start takes.

Starts a Docker engine, stand-in GPUs and a stand-in of the API of its own. Ends with 1 below the bar.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mock_api.server import RunningMock
from tests.e2e.agent_process import AgentProcess, wait_for
from tests.engine_host import IMAGES, Dockerd
from tests.gpus import GpuStandIns

MAX_RESUME_S = 3.0
JOBS = (1, 8)


@dataclass(frozen=True, slots=True)
class Resumed:
    """Seconds until every job was heard of again."""

    since_kill_s: float
    since_start_s: float


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measure(mock: RunningMock, agent: AgentProcess, ids: list[str]) -> Resumed:
    """Kill the agent, start it, wait until every job was heard of."""
    agent.kill()
    killed_at = time.time()
    agent.start()
    started_at = time.time()
    wait_for(lambda: None not in heard_at(mock, ids, killed_at), "a keep-alive of every job")
    last_at = max(at for at in heard_at(mock, ids, killed_at) if at is not None)
    return Resumed(last_at - killed_at, last_at - started_at)


def heard_at(mock: RunningMock, ids: list[str], since: float) -> list[float | None]:
    """When each job's first keep-alive after a moment arrived; None: not yet."""
    log = [one for one in mock.requests("PUT", "/status$") if one.at > since and one.status == 204]
    firsts = {one.path.split("/")[2]: one.at for one in reversed(log)}
    return [firsts.get(job_id) for job_id in ids]


def measure_with(dockerd: Dockerd, folder: Path, jobs: int, times: int) -> float:
    """Print the medians for so many jobs; the one that has a bar."""
    gpus = GpuStandIns(folder / "gpus", jobs)
    settings = gpus.environment | {"DECODE_TIMEOUT_STATUS": "30", "DECODE_LOG_LEVEL": "info"}
    with RunningMock() as mock:
        agent = AgentProcess(mock, dockerd.url, folder / "state", settings)
        ids = [mock.submit(image=IMAGES.busybox, cmd=["sleep 600"]) for _ in range(jobs)]
        try:
            agent.start()
            wait_for(lambda: all(mock.job(one).status == "running" for one in ids), "running jobs", 120)
            found = [measure(mock, agent, ids) for _ in range(times)]
        finally:
            agent.kill()
            dockerd.remove_containers()
    kill_s = statistics.median(one.since_kill_s for one in found)
    start_s = statistics.median(one.since_start_s for one in found)
    slowest_s = max(one.since_kill_s for one in found)
    say(
        f"{jobs} running: kill → every keep-alive resumed {kill_s:.2f} s (slowest {slowest_s:.2f} s of"
        f" {times}), from the new process's start {start_s:.2f} s"
    )
    return kill_s


def bare_start_s() -> float:
    """What the interpreter takes to do nothing."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=60)
    return time.monotonic() - began


def main() -> int:
    """Measure; 1 if the bar does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        hooks = Path(name) / "hooks"
        hooks.mkdir()
        GpuStandIns.add_hook(hooks)
        dockerd = Dockerd(hooks)
        try:
            dockerd.start()
            dockerd.import_images()
            took = []
            for jobs in JOBS:
                (Path(name) / f"{jobs}").mkdir()
                took.append(measure_with(dockerd, Path(name) / f"{jobs}", jobs, arguments.times))
        finally:
            dockerd.stop()
    say(f"an interpreter's bare start: {statistics.median(bare_start_s() for _ in range(5)):.2f} s")
    return 0 if max(took) < MAX_RESUME_S else 1


if __name__ == "__main__":
    sys.exit(main())
