"""Whole jobs on a real engine: what the agent adds to the container's own time, and its memory.

    sudo python -m tests.bench.job [--jobs 15] [--size-mib 1024]

Prints four things, each beside its reference in the same run:

- claim → container started, with one small input, beside `docker run` of the same image (create → started);
- its user deletes the job → container gone, with TIMEOUT_STATUS=1 (bar: under 3 s);
- container's end → `finished` at the API, with one small output (bar: under 0.3 s);
- the agent's peak RSS with one input and one output of --size-mib (bar: under 100 MB).

Starts a Docker engine and a stand-in of the API of its own. Ends with 1 below a bar.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.engine_host import IMAGES, Dockerd

MAX_START_S, MAX_END_S, MAX_CANCEL_S, MAX_RSS_MB = 0.5, 0.3, 3.0, 100
ROOT = Path(__file__).parents[2]
AGENT = (sys.executable, "-m", "agent", "run", "--until-idle")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def stand_in(folder: Path) -> Iterator[str]:
    """`python -m mock_api serve` as a process of its own; its URL."""
    ready = folder / "url"
    command = [sys.executable, "-m", "mock_api", "serve", "--port", "0", "--ready-file", str(ready)]
    server = subprocess.Popen([*command, "--root", str(folder / "api")], cwd=ROOT)
    try:
        while not ready.exists():
            time.sleep(0.02)
        yield ready.read_text().strip()
    finally:
        server.terminate()
        server.wait()


@contextmanager
def events_of(dockerd: Dockerd) -> Iterator[dict[tuple[str, str], float]]:
    """The engine's events while the block runs: (container's name, what happened) → unix seconds."""
    seen: dict[tuple[str, str], float] = {}
    since = str(time.time())
    yield seen
    listing = dockerd.docker(
        "events", "--since", since, "--until", str(time.time()), "--format", "{{json .}}"
    )
    for line in listing.splitlines():
        event = json.loads(line)
        if event["Type"] == "container":
            seen[event["Actor"]["Attributes"]["name"], event["Action"]] = event["timeNano"] / 1e9


def submit(url: str, file_id: str, command: str) -> str:
    """Queue a job with one input; the queue's id."""
    job = {
        "image": IMAGES.busybox,
        "cmd": [command],
        "files_down": {"data/in": file_id},
        "files_up": {"output": "output"},
    }
    answer = requests.post(f"{url}/mock/jobs", json=job, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["id"])


def environment(url: str, dockerd: Dockerd, state: Path) -> dict[str, str]:
    """The agent's settings."""
    return os.environ | {
        "DECODE_API_URL": url,
        "DECODE_ACCESS_TOKEN": "worker1-token",
        "DECODE_STATE_DIR": str(state),
        "DECODE_DOCKER_HOST": dockerd.url,
        "DECODE_IMAGE_PULL": "never",
        "DECODE_TIMEOUT_STATUS": "1",
        "DECODE_MIN_FREE_DISK_GIB": "0",
        "DECODE_LOG_LEVEL": "warning",
    }


def run_agent(url: str, dockerd: Dockerd, state: Path) -> float:
    """Run the agent until the queue is empty; its peak RSS in MB."""
    agent = subprocess.Popen(AGENT, cwd=ROOT, env=environment(url, dockerd, state))
    _, status, usage = os.wait4(agent.pid, 0)
    agent.returncode = os.waitstatus_to_exitcode(status)
    if agent.returncode:
        raise SystemExit(f"the agent ended with {agent.returncode}")
    return usage.ru_maxrss * 1024 / 1e6


def measure_latency(url: str, dockerd: Dockerd, folder: Path, file_id: str, jobs: int) -> bool:
    """Small jobs in a row; whether the bars hold."""
    ids = [submit(url, file_id, "cp /files/data/in /files/output/") for _ in range(jobs)]
    with events_of(dockerd) as events:
        for number in range(jobs):
            dockerd.docker("run", "--rm", "--init", "--name", f"plain-{number}", IMAGES.busybox, "true")
        run_agent(url, dockerd, folder / "small")
    log = requests.get(f"{url}/mock/requests", timeout=60).json()
    claims = [one["at"] for one in log if one["method"] == "GET" and one["target"].startswith("/jobs?")]
    ends = {one["target"].split("/")[2]: one["at"] for one in log if "status=finished" in one["target"]}
    began = [events[f"decode-job-{job}", "start"] - at for job, at in zip(ids, claims, strict=False)]
    ended = [ends[job] - events[f"decode-job-{job}", "die"] for job in ids]
    plain = [events[f"plain-{n}", "start"] - events[f"plain-{n}", "create"] for n in range(jobs)]
    start_s, end_s, plain_s = map(statistics.median, (began, ended, plain))
    ratio = start_s / plain_s
    say(f"claim → container started: {start_s:.3f} s, {ratio:.2f} of `docker run` ({plain_s:.3f} s)")
    say(f"container's end → finished: {end_s:.3f} s, slowest {max(ended):.3f} s of {jobs} jobs")
    return start_s < MAX_START_S and end_s < MAX_END_S


def measure_cancel(url: str, dockerd: Dockerd, folder: Path, file_id: str) -> bool:
    """Delete a running job; whether the bar holds."""
    took = []
    for number in range(5):
        job = submit(url, file_id, "sleep 600")
        with subprocess.Popen(AGENT, cwd=ROOT, env=environment(url, dockerd, folder / f"{number}")) as agent:
            while not dockerd.docker("ps", "-q", "--filter", f"name=decode-job-{job}"):
                time.sleep(0.05)
            with events_of(dockerd) as events:
                deleted_at = time.time()
                requests.delete(f"{url}/mock/jobs/{job}", timeout=60).raise_for_status()
                agent.wait(60)
            took.append(events[f"decode-job-{job}", "destroy"] - deleted_at)
    say(f"deleted by its user → container gone: {statistics.median(took):.2f} s, slowest {max(took):.2f} s")
    return max(took) < MAX_CANCEL_S


def measure_memory(url: str, dockerd: Dockerd, folder: Path, size_mib: int) -> bool:
    """One large job; whether the bar holds."""
    large = folder / "large.bin"
    with large.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(1 << 20))
    with large.open("rb") as file:
        file_id = requests.put(f"{url}/mock/files/large", data=file, timeout=600).json()["id"]
    job = submit(url, file_id, "cp /files/data/in /files/output/")
    peak_mb = run_agent(url, dockerd, folder / "large")
    outputs: list[dict[str, Any]] = requests.get(f"{url}/mock/jobs/{job}/outputs", timeout=60).json()
    sizes = [one["size_bytes"] for one in outputs]
    if sizes != [size_mib << 20]:
        raise SystemExit(f"the output did not arrive whole: {sizes}")
    say(f"peak RSS with {size_mib} MiB in and out: {peak_mb:.0f} MB")
    return peak_mb < MAX_RSS_MB


def main() -> int:
    """Measure; 1 if a bar does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=15)
    parser.add_argument("--size-mib", type=int, default=1024)
    args = parser.parse_args()
    dockerd = Dockerd()
    try:
        dockerd.start()
        dockerd.import_images()
        with tempfile.TemporaryDirectory() as name, stand_in(Path(name)) as url:
            folder = Path(name)
            file_id = requests.put(f"{url}/mock/files/small", data=b"x", timeout=60).json()["id"]
            is_fast = measure_latency(url, dockerd, folder, file_id, args.jobs)
            is_obedient = measure_cancel(url, dockerd, folder, file_id)
            is_small = measure_memory(url, dockerd, folder, args.size_mib)
    finally:
        dockerd.stop()
    return 0 if is_fast and is_obedient and is_small else 1


if __name__ == "__main__":
    sys.exit(main())
