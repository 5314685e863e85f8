"""The machine's own programs, run for a bounded time."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from agent.core.errors import HostTrouble

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The rest of the environment is not handed on: it may hold DECODE_PASSWORD.
_HANDED_ON = ("HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended; `code` is None if it was ended because it took too long."""

    code: int | None
    out: str
    err: str


def run(words: Sequence[str], timeout_s: float = 10.0) -> Ended:
    """Run a program with its texts in English. Raises `HostTrouble` if there is none of that name."""
    path = shutil.which(words[0], path=_PATH)
    if path is None:
        raise HostTrouble(f"{words[0]} is not installed")
    environ = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    try:
        done = subprocess.run(  # noqa: S603  programs of the system, named in our own code
            [path, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=environ | {"PATH": _PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "", "")
    except OSError as error:
        raise HostTrouble(f"{words[0]} cannot be run: {error.strerror}") from error
    return Ended(done.returncode, done.stdout, done.stderr)
