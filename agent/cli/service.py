"""The running service as its commands reach it, and what to say where none runs."""

import os
import shutil
import sys
from argparse import Namespace
from pathlib import Path

from agent.adapters.control_client import ControlClient
from agent.adapters.host_systemd import is_booted, show_unit
from agent.cli.exits import Exit
from agent.core.control_api import SOCKET_PATH
from agent.core.doctor_unit import PROPERTIES, UNIT, UnitFacts, unit_facts_of
from agent.core.errors import HostTrouble, ServiceDown
from agent.core.service_down import why_down

ANSWER_S = 30.0


def client_for(arguments: Namespace, timeout_s: float = ANSWER_S) -> ControlClient:
    """A client on the socket of `--socket`, else on the machine's service, else on the user's own."""
    return ControlClient(arguments.socket or _usual_socket(), timeout_s)


def _usual_socket() -> Path:
    own = os.path.join(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "decode-agent", "control.sock")  # noqa: PTH118  for the line below
    is_own = not os.path.exists(SOCKET_PATH) and os.path.exists(own)  # noqa: PTH110  Path.exists raises where it may not look
    return Path(own if is_own else SOCKET_PATH)


def reasons_down() -> tuple[str, ...]:
    """Why the service does not run, as far as systemd says, and what to do."""
    return why_down(_unit())


def is_coming_back(arguments: Namespace) -> bool | None:
    """Whether systemd is about to start or end the service that does not answer; None: nobody knows."""
    unit = _unit() if arguments.socket is None else None
    if unit is None:
        return None
    return unit.is_there and unit.active not in {"inactive", "failed"}


def _unit() -> UnitFacts | None:
    """What systemd knows; None where it does not run or answer."""
    if not is_booted():
        return None
    try:
        return unit_facts_of(show_unit(UNIT, PROPERTIES))
    except HostTrouble:
        return None


def say_down(error: ServiceDown, arguments: Namespace) -> int:
    """Tell that nobody listens, and, unless a socket was named, why."""
    print(f"decode-agent: {error}", file=sys.stderr)
    if arguments.socket is None:
        for line in reasons_down():
            print(f"  {line}", file=sys.stderr)
    return Exit.DOWN


def width_of_terminal() -> int | None:
    """How wide lines may be; None where no person reads them on a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def coloured(text: str, word: str, colour: str) -> str:
    """The text with its first `word` in an ANSI colour, where a person reads it on a terminal."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return text.replace(word, f"\x1b[{colour}m{word}\x1b[0m", 1)
