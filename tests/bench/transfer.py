"""1 GiB in and 1 GiB out: the agent's transfer beside curl on the same URL, in turns.

    python -m tests.bench.transfer [--server mock|plain] [--storage local|s3] [--size-mib 1024] [--rounds 5]

Prints the ratio of the throughputs (bar: at least 0.8), the agent's peak RSS (bar: under 100 MB) and CPU
seconds per GiB. The agent's side is a process of its own with `HttpTransfer` and `LocalJobFolder`. Its time
is without Python's start, but with fsync and rename, which curl does not do: what fsync alone costs after
curl is printed too. Ends with 1 below a bar.

`mock` is the stand-in (`python -m mock_api serve`), `plain` a server of our own with sendfile, so that the
server is not what is measured.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

MIN_RATIO, MAX_RSS_MB = 0.8, 100
MIB = 1 << 20


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run_agent(task: str, folder: str, request: str, size: str) -> None:
    """The measured process of the agent."""
    from agent.adapters.job_folder import LocalJobFolder  # noqa: PLC0415 - this process alone has them in memory
    from agent.adapters.transfer import HttpTransfer  # noqa: PLC0415
    from agent.core.models import FileRequest, OutputFile  # noqa: PLC0415
    from agent.core.stopping import Stop  # noqa: PLC0415

    job, described = LocalJobFolder(Path(folder), 1), FileRequest.model_validate_json(request)
    job.create()
    with HttpTransfer() as transfer:
        began, started = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        if task == "down":
            with job.part(("in", "big")) as part:
                transfer.download(described, part, stop=Stop(), advance=lambda _size: None)
        else:
            file = OutputFile(("out", "big"), int(size), 0)
            with job.open_output(file) as source:
                transfer.upload(
                    described,
                    source,
                    name="big",
                    size_bytes=int(size),
                    stop=Stop(),
                    advance=lambda _size: None,
                )
        wall_s = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = usage.ru_utime + usage.ru_stime - started.ru_utime - started.ru_stime
    say(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "rss_mb": usage.ru_maxrss * 1024 / 1e6}))


def measure_agent(task: str, folder: Path, request: dict[str, Any], size: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "tests.bench.transfer",
        "--agent",
        task,
        str(folder),
        json.dumps(request),
        str(size),
    ]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure_curl(task: str, target: Path, request: dict[str, Any]) -> dict[str, float]:
    command = ["curl", "-sSf", "-w", "%{time_total}", request["url"]]
    for name, value in request["headers"].items():
        command += ["-H", f"{name}: {value}"]
    if task == "down":
        command += ["-o", str(target)]
    else:
        for name, value in request["data"].items():
            command += ["--form-string", f"{name}={value}"]
        command += ["-F", f"file=@{target}"]
        command += ["-H", "Expect:", "-o", "/dev/null"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s = float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall_s, "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


class PlainServer(threading.Thread):
    """Serves one file to every GET and throws away what every POST brings."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.listener = socket.create_server(("127.0.0.1", 0))

    def run(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError), sock.makefile("rb") as lines, self.path.open("rb") as file:
            while line := lines.readline():
                length = 0
                while (header := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                if line.startswith(b"GET"):
                    size = os.fstat(file.fileno()).st_size
                    sock.sendall(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n' % size)
                    sock.sendfile(file, 0)
                    continue
                buffer = memoryview(bytearray(MIB))
                while length:
                    length -= lines.readinto(buffer[: min(length, MIB)])
                sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


@contextlib.contextmanager
def serving(arguments: argparse.Namespace, folder: Path, content: Path) -> Iterator[tuple[Any, Any]]:
    """Both requests, for the download and the upload; asked for anew each time, as the agent does."""
    command, output = [sys.executable, "-m", "tests.bench.transfer", "--plain", str(content)], subprocess.PIPE
    if arguments.server == "mock":
        output = subprocess.DEVNULL
        command = [sys.executable, "-m", "mock_api", "serve", "--port", "0", "--storage", arguments.storage]
        command += ["--root", str(folder / "server"), "--ready-file", str(folder / "ready")]
    with subprocess.Popen(command, stdout=output) as server:
        try:
            if arguments.server == "plain":
                assert server.stdout
                url = server.stdout.readline().decode().strip()
                plain = {"url": url, "headers": {}, "data": {}}
                yield lambda: {"method": "get", **plain}, lambda: {"method": "post", **plain}
            else:
                yield mock_requests(folder / "ready", content)
        finally:
            server.terminate()


def mock_requests(ready: Path, content: Path) -> tuple[Any, Any]:
    from mock_api.client import UserClient  # noqa: PLC0415 - only where it is wanted

    while not (ready.exists() and ready.read_text()):
        time.sleep(0.05)
    api = ready.read_text().strip()
    user = UserClient(api)
    with contextlib.closing(user):
        file_id = user.put_file(content)
        user.submit({"files_down": {"in/big": file_id}})
    worker = requests.Session()
    worker.headers["Authorization"] = "Bearer worker1-token"
    (job_id,) = worker.get(f"{api}/jobs", params={"memory": 9999}, timeout=10).json()

    def ask(method: str, path: str) -> Any:
        answer = worker.request(method, f"{api}{path}", timeout=10)
        answer.raise_for_status()
        return answer.json()

    return (
        lambda: ask("GET", f"/files/{file_id}/url"),
        lambda: ask("POST", f"/jobs/{job_id}/files/url?type=output&base_path=out"),
    )


def fsync_cost_s(path: Path) -> float:
    """How long it takes to make what curl wrote as safe as what the agent writes."""
    began = time.monotonic()
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return time.monotonic() - began


def bench(arguments: argparse.Namespace, folder: Path) -> bool:
    size = arguments.size_mib * MIB
    content = folder / "jobs" / "1" / "files" / "out" / "big"
    content.parent.mkdir(parents=True)
    with content.open("wb") as file:
        for _ in range(arguments.size_mib):
            file.write(os.urandom(MIB))
    os.sync()
    got, curled = folder / "jobs" / "1" / "files" / "in" / "big", folder / "curl"
    results: dict[str, list[dict[str, float]]] = {"down": [], "up": []}
    with serving(arguments, folder, content) as (download, upload):
        for turn in range(arguments.rounds + 1):
            for task, request in ("down", download), ("up", upload):
                one: dict[str, float] = {}
                for who in ("agent", "curl") if turn % 2 else ("curl", "agent"):
                    os.sync()
                    if who == "agent":
                        found = measure_agent(task, folder / "jobs", request(), size)
                    else:
                        found = measure_curl(task, curled if task == "down" else content, request())
                        found["fsync_s"] = fsync_cost_s(curled) if task == "down" else 0.0
                    one |= {f"{who}_{name}": value for name, value in found.items()}
                if task == "down":
                    subprocess.run(["cmp", got, content], check=True)
                    got.unlink()
                    curled.unlink()
                if turn:  # the first one warms up
                    results[task].append(one)
    good = [report(task, found, size) for task, found in results.items()]
    return all(good)


def report(task: str, found: list[dict[str, float]], size: int) -> bool:
    def middle(name: str) -> float:
        return statistics.median(one[name] for one in found)

    ratio = statistics.median(one["curl_wall_s"] / one["agent_wall_s"] for one in found)
    rss_mb = max(one["agent_rss_mb"] for one in found)
    gib = size / (1 << 30)
    for who in "agent", "curl":
        speed = size / MIB / middle(f"{who}_wall_s")
        say(f"{task:4} {who:5} {speed:7.0f} MiB/s   {middle(f'{who}_cpu_s') / gib:5.2f} CPU s/GiB")
    if task == "down":
        safe = statistics.median(
            (one["curl_wall_s"] + one["curl_fsync_s"]) / one["agent_wall_s"] for one in found
        )
        say(f"{task:4} curl and then fsync: {middle('curl_fsync_s'):.2f} s more; ratio to that {safe:.2f}")
    bars = f"peak RSS {rss_mb:.0f} MB (bar {MAX_RSS_MB})"
    spread = ", ".join(f"{one['curl_wall_s'] / one['agent_wall_s']:.2f}" for one in found)
    say(f"{task:4} ratio {ratio:.2f} (bar {MIN_RATIO}; {spread})   {bars}")
    return ratio >= MIN_RATIO and rss_mb < MAX_RSS_MB


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", choices=["mock", "plain"], default="mock")
    parser.add_argument("--storage", choices=["local", "s3"], default="local")
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="on the disk that is to be measured", default=Path("/var/tmp")
    )
    parser.add_argument("--agent", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.agent:
        run_agent(*arguments.agent)
        return 0
    if arguments.plain:
        server = PlainServer(arguments.plain)
        say(f"http://127.0.0.1:{server.listener.getsockname()[1]}/big")
        server.run()
    if shutil.which("curl") is None:
        say("curl is needed for the comparison")
        return 2
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-transfer-") as folder:
        return 0 if bench(arguments, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
