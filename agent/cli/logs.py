"""`decode-agent logs JOB`: what its container wrote."""

import sys
from argparse import Namespace
from collections.abc import Iterator

from agent.adapters.journal_reading import read_past_log
from agent.cli.exits import Exit
from agent.cli.service import client_for, say_down
from agent.core.container import container_name
from agent.core.errors import DiskTrouble, ServiceDown
from agent.core.terminal import Disarmed


def logs(arguments: Namespace) -> int:
    """Print the log as it is; on a terminal without what could harm that."""
    try:
        _show(client_for(arguments).log(arguments.job, follow=arguments.follow))
    except ServiceDown as down:
        return _show_past(arguments, down)
    return Exit.OK


def _show_past(arguments: Namespace, down: ServiceDown) -> int:
    job_id = arguments.job
    try:
        past = read_past_log(arguments.state_dir / "agent.db", job_id)
    except DiskTrouble:
        past = None
    if past is None:
        code = say_down(down, arguments)
        print(f"  if its container runs on: sudo docker logs {container_name(job_id)}", file=sys.stderr)
        return code
    print(f"decode-agent: {down}; this is from its journal", file=sys.stderr)
    _show(iter([past.encode()]))
    return Exit.OK


def _show(pieces: Iterator[bytes]) -> None:
    if not sys.stdout.isatty():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    disarmed = Disarmed()
    for piece in pieces:
        print(disarmed(piece), end="", flush=True)
    print(disarmed(b"", is_last=True), end="", flush=True)
