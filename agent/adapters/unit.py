"""The service's unit, asked and restarted by systemctl: the system's, or a user's own."""

import os
import shutil
import subprocess

from agent.core.errors import HostTrouble
from agent.core.wire import one_line

UNIT = "decode-agent.service"
_ASK_TIMEOUT_S = 20.0
_RESTART_TIMEOUT_S = 180.0  # longer than the unit's own limits for stop and start
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How a user's systemd is found. Nothing else is handed on: the environment may hold DECODE_PASSWORD.
_HANDED_ON = ("HOME", "LANG", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


class Unit:
    """One unit named decode-agent.

    Args:
        own: the caller's own user service instead of the system's.
    """

    def __init__(self, *, own: bool) -> None:
        self._scope = ["--user"] if own else []
        self.command = "systemctl --user" if own else "sudo systemctl"
        self.name = UNIT.removesuffix(".service")

    def state(self) -> str:
        """What systemd says (`active`, `inactive`, `failed`, …); empty: no such unit, or no systemd."""
        try:
            done = self._ask("show", "--property=LoadState,ActiveState", UNIT, timeout_s=_ASK_TIMEOUT_S)
        except HostTrouble:
            return ""
        facts = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        return facts.get("ActiveState", "") if facts.get("LoadState") == "loaded" else ""

    def restart(self) -> None:
        """Stop and start it; containers run on. Raises HostTrouble if it does not come up."""
        done = self._ask("restart", UNIT, timeout_s=_RESTART_TIMEOUT_S)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            text = (
                f"the service did not start again ({one_line(said, 200)}): {self.command} status {self.name}"
            )
            raise HostTrouble(text)

    def _ask(self, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        if (path := shutil.which("systemctl", path=_PATH)) is None:
            raise HostTrouble("systemctl is not installed")
        environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
        try:
            return subprocess.run(  # noqa: S603  a tool of the system with words of ours
                [path, *self._scope, "--no-ask-password", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
                env=environment | {"PATH": _PATH},
            )
        except subprocess.TimeoutExpired:
            raise HostTrouble(f"systemctl {words[0]} did not end within {timeout_s:g} s") from None
        except OSError as error:
            raise HostTrouble(f"systemctl cannot be started: {error.strerror}") from None
