"""`decode-agent status`: what the service does, and why not more."""

import sys
import time
from argparse import Namespace
from typing import Any

from agent.adapters.control_client import ControlClient
from agent.cli.exits import Exit
from agent.cli.service import client_for, coloured, reasons_down, say_down, width_of_terminal
from agent.core.control_api import json_of, status_body
from agent.core.errors import ServiceDown
from agent.core.overview import overview_of
from agent.core.status import AgentStatus, Health, health_of

_COLOURS = {Health.RUNNING: "32", Health.DEGRADED: "33"}
_EVERY_S = 2.0
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def status(arguments: Namespace) -> int:
    """Print the status, once or again and again; the exit code tells the service's health."""
    client = client_for(arguments)
    while True:
        code = _show(client, arguments)
        if not arguments.watch:
            return code
        time.sleep(_EVERY_S)


def _show(client: ControlClient, arguments: Namespace) -> int:
    try:
        now = client.status()
    except ServiceDown as error:
        if arguments.json:
            reasons = () if arguments.socket else reasons_down()
            _print_json({"health": "down", "error": str(error), "reasons": reasons})
            return Exit.DOWN
        _clear(arguments)
        return say_down(error, arguments)
    if arguments.json:
        _print_json(status_body(now))
    else:
        _clear(arguments)
        _print(now)
    return Exit.OK if health_of(now) is Health.RUNNING else Exit.DEGRADED


def _print(status: AgentStatus) -> None:
    health = health_of(status)
    first, *others = overview_of(status, time.time(), width_of_terminal())
    print(coloured(first, health, _COLOURS[health]))
    print("\n".join(others), flush=True)


def _print_json(answer: Any) -> None:
    print(json_of(answer).decode(), end="", flush=True)


def _clear(arguments: Namespace) -> None:
    if arguments.watch and sys.stdout.isatty():
        print(_CLEAR, end="")
