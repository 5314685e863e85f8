"""`decode-agent release`: the machine's owner wants it back now."""

import sys
import time
from argparse import Namespace
from collections.abc import Sequence

from agent.adapters.control_client import ControlClient
from agent.cli.exits import Exit
from agent.cli.service import client_for, say_down
from agent.cli.steer import Line, names_of
from agent.core.errors import ServiceDown, ServiceTrouble
from agent.core.overview import doing_text, loss_text, may_be_given_back
from agent.core.status import JobStatus

_LOOK_S = 1.0
_AWAY_S = 60.0
_RESUME = "Jobs are taken again after `decode-agent resume`."


def release(arguments: Namespace) -> int:
    """Give jobs under way back to the queue, wait until their containers are gone, take no further one."""
    client = client_for(arguments)
    try:
        jobs = _chosen(client.status().jobs, arguments.jobs)
        for job in jobs:
            print(loss_text(job, time.time()))
        if not _is_meant(jobs, arguments):
            print("decode-agent: nothing was changed", file=sys.stderr)
            return Exit.FAILED
        done = client.release(arguments.jobs, arguments.reason)
    except ServiceDown as down:
        return say_down(down, arguments)
    except KeyboardInterrupt:
        print("\ndecode-agent: nothing was changed", file=sys.stderr)
        return Exit.INTERRUPTED
    if done.left:
        print(f"{names_of(done.left)} left to upload: the container has ended.")
    if not done.given_back:
        print(f"No job was given back. {_RESUME}")
        return Exit.OK
    print(f"{names_of(done.given_back)} given back to the queue.", flush=True)
    return (
        Exit.OK if arguments.no_wait else _wait(client, done.given_back if arguments.jobs else (), done.left)
    )


def _chosen(jobs: Sequence[JobStatus], named: Sequence[int]) -> list[JobStatus]:
    known = {job.job_id: job for job in jobs}
    if unknown := [job_id for job_id in named if job_id not in known]:
        raise ServiceTrouble(f"job {unknown[0]} is not under way; see: decode-agent status")
    return [known[job_id] for job_id in dict.fromkeys(named)] if named else list(jobs)


def _is_meant(jobs: Sequence[JobStatus], arguments: Namespace) -> bool:
    """Whether this may be done: who says so, or nothing is lost by it."""
    if arguments.yes or not any(map(may_be_given_back, jobs)):
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ServiceTrouble("nobody can be asked here: say --yes if this is meant")
    try:
        return input("Give back? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        print()
        return False


def _wait(client: ControlClient, job_ids: Sequence[int], uploading: Sequence[int]) -> int:
    """Look again and again until no container is left of these jobs; none named: of any but `uploading`."""
    line, away_since = Line(), None
    try:
        while True:
            try:
                jobs = [job for job in client.status().jobs if job.job_id not in uploading]
                left = [job for job in jobs if not job.is_freed and job.job_id in (job_ids or [job.job_id])]
                away_since = None
            except ServiceTrouble:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _AWAY_S:
                    return line.end("it does not answer any more; the release goes on with it", Exit.DOWN)
                line.show("decode-agent does not answer just now; waiting for it")
            else:
                if not left:
                    return line.end(f"The machine is free of it: no container is left. {_RESUME}", Exit.OK)
                line.show("; ".join(_doing(job) for job in left))
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        print("\ndecode-agent: not waiting any longer; the release goes on", file=sys.stderr)
        return Exit.INTERRUPTED


def _doing(job: JobStatus) -> str:
    trouble = f" ({job.trouble.text})" if job.trouble else ""
    return f"job {job.job_id} {doing_text(job, time.time())}{trouble}"
