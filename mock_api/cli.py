"""The commands: ``python -m mock_api serve|submit|jobs|cancel``."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mock_api.client import ApiError, UserClient
from mock_api.options import UsageError, build_parser

_EXIT_FINISHED = 0
_EXIT_ERROR = 1
_EXIT_USAGE = 2
_EXIT_API = 3
_EXIT_DELETED = 4
_EXIT_STILL_RUNNING = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    if options.command == "serve":
        from mock_api.serve import serve  # noqa: PLC0415 - the user's commands need no server

        run: Any = serve
    else:
        run = {"submit": _submit, "jobs": _jobs, "cancel": _cancel}[options.command]
    try:
        return int(run(options))
    except ApiError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_API
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_USAGE


def _submit(options: argparse.Namespace) -> int:
    client = UserClient(options.api)
    try:
        files = {local: client.put_file(path) for local, path in _files_of(options.file)}
        job_id = client.submit(_submission_of(options, files))
        print(f"job {job_id} submitted", flush=True)
        if not options.watch and options.outputs is None:
            return _EXIT_FINISHED
        return _watch(client, job_id, options)
    finally:
        client.close()


def _submission_of(options: argparse.Namespace, files: dict[str, str]) -> dict[str, Any]:
    """The fields of `mock_api.specs.Submission`."""
    submission: dict[str, Any] = {
        "environment": None if options.environment == "any" else options.environment,
        "priority": options.priority,
        "unchecked": options.unchecked,
    }
    if options.spec is not None:
        return submission | {"spec": _spec_of(options.spec)}
    if not options.image:
        raise UsageError("--image is missing (or --spec)")
    collected = {"output": options.output, "log": options.log, "artifact": options.artifact}
    return submission | {
        "image": options.image,
        "cmd": options.cmd,
        "env": dict(_pair_of(text, "--env") for text in options.env) or None,
        "files_down": files,
        "files_up": {kind: path for kind, path in collected.items() if path} or None,
        "memory": options.memory,
        "cpu_cores": options.cpus,
        "gpu_mem": options.gpu_mem,
    }


def _spec_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"--spec {path}: not JSON: {error}") from error


def _pair_of(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{option} {text!r}: expected NAME=VALUE")
    return name, value


def _files_of(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """Local path and file of each input; a folder stands for all files below it."""
    found = []
    for text in texts:
        local, host = _pair_of(text, "--file")
        path = Path(host)
        if path.is_dir():
            below = sorted(inner for inner in path.rglob("*") if inner.is_file())
            found += [(f"{local}/{inner.relative_to(path)}", inner) for inner in below]
        elif path.is_file():
            found.append((local, path))
        else:
            raise UsageError(f"--file {text!r}: there is no file {host}")
    return found


def _watch(client: UserClient, job_id: str, options: argparse.Namespace) -> int:
    """Prints what happens to a job until it is over; returns the exit code."""
    job: dict[str, Any] = {}
    said: list[dict[str, Any]] = []
    for job in client.watch(job_id, options.timeout):
        for change in job["history"][len(said) :]:
            if not said or change["status"] != said[-1]["status"] or change["runtime_details"]:
                _print_change(job_id, change)
            said.append(change)
    if job["deleted"]:
        print(f"job {job_id} was deleted")
        return _EXIT_DELETED
    if options.outputs is not None:
        paths = client.fetch_outputs(job_id, options.outputs)
        print(f"{len(paths)} files fetched into {options.outputs}")
        for path in paths:
            print(f"  {path} ({path.stat().st_size:,} bytes)")
    return {"finished": _EXIT_FINISHED, "error": _EXIT_ERROR}.get(job["status"], _EXIT_STILL_RUNNING)


def _print_change(job_id: str, change: dict[str, Any]) -> None:
    at = time.strftime("%H:%M:%S", time.localtime(change["at"]))
    by = f" by {change['account']}" if change["status"] == "pulled" else ""
    print(f"{at}  job {job_id}: {change['status']}{by}", flush=True)
    for line in (change["runtime_details"] or "").splitlines():
        print(f"          {line}", flush=True)


def _jobs(options: argparse.Namespace) -> int:
    client = UserClient(options.api)
    try:
        jobs = client.jobs()
    finally:
        client.close()
    if options.json:
        print(json.dumps(jobs, indent=2))
        return _EXIT_FINISHED
    print(f"{'id':>6}  {'status':<14}  {'worker':<24}  {'retries':>7}  image")
    for job in jobs:
        status = "deleted" if job["deleted"] else job["status"]
        image = _image_of(job["spec"])
        print(f"{job['id']:>6}  {status:<14}  {job['owner'] or '-':<24}  {job['retries']:>7}  {image}")
    return _EXIT_FINISHED


def _image_of(spec: dict[str, Any]) -> str:
    handler = spec.get("handler")
    return str(handler.get("image_url", "?")) if isinstance(handler, dict) else "?"


def _cancel(options: argparse.Namespace) -> int:
    client = UserClient(options.api)
    try:
        client.cancel(options.id)
    finally:
        client.close()
    print(f"job {options.id} deleted")
    return _EXIT_FINISHED
