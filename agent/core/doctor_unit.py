"""What systemd says of the agent's unit, and what a doctor makes of that.

The texts are those of `systemctl show` and `systemctl cat` of systemd 247 to 257.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from agent.core.findings import Finding, Repair, State
from agent.core.wire import one_line

UNIT = "decode-agent.service"
OTHER_UNIT = "systemd-journald.service"
PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "ExecMainStatus",
    "NRestarts",
    "WatchdogUSec",
    "NeedDaemonReload",
    "ExecStart",
    "User",
    "SupplementaryGroups",
    "AmbientCapabilities",
    "StatusText",
)
_ABOUT = "service"
_LOOK = "look why: sudo journalctl -u decode-agent -n 30"
_DRAINED = 79
_CONFIG = 78
_NO_TIME = {"", "0", "infinity"}


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """The unit as it is; texts are systemd's own words, empty where it says nothing.

    `command`: program and arguments of its ExecStart. `groups`: names of its supplementary groups.
    """

    load: str = ""
    active: str = ""
    sub: str = ""
    enabled: str = ""
    result: str = ""
    exit_status: int = 0
    restarts: int = 0
    has_watchdog: bool = False
    needs_reload: bool = False
    command: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    status_text: str = ""

    @property
    def is_there(self) -> bool:
        """Whether systemd knows the unit."""
        return self.load not in {"", "not-found", "masked"}

    @property
    def env_file(self) -> str:
        """What its command names after --env-file; empty: nothing."""
        words = [*self.command, ""]
        for word, following in pairwise(words):
            if word == "--env-file":
                return following
            if word.startswith("--env-file="):
                return word.partition("=")[2]
        return ""


def properties_of(text: str) -> dict[str, str]:
    """The answer of `systemctl show`: NAME=value, a line each."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, _, value in pairs if name}


def unit_facts_of(text: str, enablement: str = "", other: str = "") -> UnitFacts:
    """The answers of `systemctl show`, asked for `PROPERTIES`, and of `systemctl is-enabled`.

    `other`: the former of a unit that never changes. From systemd 257 on each `enable --no-reload` lets
    all units need a reload, which then says nothing of this one.
    """
    said = properties_of(text)
    is_common = properties_of(other).get("NeedDaemonReload") == "yes"
    argv = re.search(r"argv\[\]=(.*?) ;", said.get("ExecStart", ""))
    return UnitFacts(
        load=said.get("LoadState", ""),
        active=said.get("ActiveState", ""),
        sub=said.get("SubState", ""),
        enabled=enablement,
        result=said.get("Result", ""),
        exit_status=_number(said.get("ExecMainStatus", "")),
        restarts=_number(said.get("NRestarts", "")),
        has_watchdog=said.get("WatchdogUSec", "") not in _NO_TIME,
        needs_reload=said.get("NeedDaemonReload") == "yes" and not is_common,
        command=tuple(argv[1].split()) if argv else (),
        user=said.get("User", ""),
        groups=tuple(said.get("SupplementaryGroups", "").split()),
        capabilities=tuple(said.get("AmbientCapabilities", "").split()),
        status_text=one_line(said.get("StatusText", "")),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def unit_findings(unit: UnitFacts) -> Iterator[Finding]:
    """Whether the service is there, runs, will run after a boot, and is watched over."""
    if unit.load == "masked":
        yield Finding(_ABOUT, State.FAILED, "the unit is masked", f"sudo systemctl unmask {UNIT}")
        return
    if not unit.is_there:
        fix = "install the service: sudo ./install.sh"
        yield Finding(_ABOUT, State.WARNING, "no service is installed: the agent runs by hand only", fix)
        return
    yield _activity(unit)
    yield _enablement(unit)
    if unit.restarts:
        text = f"systemd had to restart it {unit.restarts} times since it was started"
        yield Finding(_ABOUT, State.WARNING, text, _LOOK)
    if unit.active == "active" and not unit.has_watchdog:  # systemd says nothing of it before the start
        text = "its watchdog is off: systemd would not notice an agent that hangs"
        yield Finding(_ABOUT, State.WARNING, text, "take WatchdogSec= out of what `systemctl cat` shows")
    if unit.needs_reload:
        text = "its unit files were changed since systemd read them"
        fix = "sudo systemctl daemon-reload, when no job uses a GPU"
        yield Finding(_ABOUT, State.WARNING, text, fix)


def _activity(unit: UnitFacts) -> Finding:
    if unit.active in {"active", "reloading"}:
        text = f"{unit.active} ({unit.sub})"
        return Finding(_ABOUT, State.OK, f"{text}: {unit.status_text}" if unit.status_text else text)
    if unit.exit_status == _CONFIG and unit.active in {"failed", "inactive"}:
        text = "it ended because a setting or the credentials are wrong"
        return Finding(_ABOUT, State.FAILED, text, f"{_LOOK}; mend it, then: sudo systemctl start {UNIT}")
    if unit.active == "inactive" and unit.exit_status == _DRAINED:
        text = "it was drained and has left, as it was asked to"
        return Finding(_ABOUT, State.WARNING, text, f"to take jobs again: sudo systemctl start {UNIT}")
    if unit.active == "inactive":
        fix = f"sudo systemctl start {UNIT}"
        return Finding(_ABOUT, State.FAILED, "it does not run", fix, Repair.START_UNIT)
    if unit.active == "activating" and unit.sub != "auto-restart":
        return Finding(_ABOUT, State.WARNING, "it is being started", "run this again in a minute")
    text = f"{unit.active} ({unit.sub}), result {unit.result}, exit status {unit.exit_status}"
    return Finding(_ABOUT, State.FAILED, text, _LOOK)


def _enablement(unit: UnitFacts) -> Finding:
    if unit.enabled == "disabled":
        fix = f"sudo systemctl enable --no-reload {UNIT}"
        text = "it will not be started when the machine boots"
        return Finding(_ABOUT, State.WARNING, text, fix, Repair.ENABLE_UNIT)
    return Finding(_ABOUT, State.OK, f"starts with the machine ({unit.enabled or 'state unknown'})")


def version_finding(own: str, installed: str, running: str) -> Finding:
    """Whether all is of one version: this program, what the unit would start, what runs.

    Empty: not known; nothing runs, or this user may not ask.
    """
    about = "version"
    if installed and installed != own:
        text = f"this is {own}, the service's program is {installed}"
        return Finding(about, State.WARNING, text, "use the service's: /usr/local/bin/decode-agent doctor")
    if running and running != own:
        text = f"{running} runs, {own} is installed"
        fix = f"sudo systemctl restart {UNIT} (jobs run on meanwhile)"
        return Finding(about, State.WARNING, text, fix)
    what = ["this program", *(["the service's"] if installed else []), *(["what runs"] if running else [])]
    return Finding(about, State.OK, f"{own}: {', '.join(what)}")


def group_finding(unit: UnitFacts, user_groups: frozenset[str], socket_group: str) -> Finding:
    """Whether the unit's user may use Docker's socket, by its groups."""
    about = "group"
    user = unit.user or "root"
    is_free = user == "root" or "cap_dac_override" in unit.capabilities
    if is_free or socket_group in user_groups | set(unit.groups):
        return Finding(about, State.OK, f"the service's user {user} may use Docker's socket")
    text = f"the service's user {user} is not in the group {socket_group} that Docker's socket belongs to"
    fix = f"sudo usermod -aG {socket_group} {user} && sudo systemctl restart {UNIT}"
    return Finding(about, State.FAILED, text, fix)
