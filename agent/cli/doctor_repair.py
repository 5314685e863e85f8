"""What `doctor --fix` does by itself; each is said, none can touch a job or Docker."""

from pathlib import Path

from agent.adapters.host_command import run
from agent.core.doctor_host import NEEDRESTART_FILE, needrestart_override
from agent.core.doctor_unit import UNIT
from agent.core.errors import HostTrouble
from agent.core.findings import Finding, Repair, State
from agent.core.wire import one_line

_START_S = 120.0  # as long as the unit itself may take for it
_COMMANDS = {
    Repair.ENABLE_UNIT: ("systemctl", "enable", "--no-reload", UNIT),
    Repair.START_UNIT: ("systemctl", "start", UNIT),
    Repair.SYNC_CLOCK: ("timedatectl", "set-ntp", "true"),
}


def repair(what: Repair) -> Finding:
    """Carry it out, and say so."""
    if what is Repair.WRITE_NEEDRESTART:
        return _write(Path(NEEDRESTART_FILE), needrestart_override())
    words = _COMMANDS[what]
    said = " ".join(words)
    try:
        ended = run(words, _START_S)
    except HostTrouble as trouble:
        return Finding("fix", State.FAILED, f"{said}: {trouble}")
    if ended.code == 0:
        return Finding("fix", State.OK, f"done: {said}")
    why = "no answer" if ended.code is None else one_line(ended.err)
    return Finding("fix", State.FAILED, f"{said}: {why}")


def _write(path: Path, content: str) -> Finding:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o644)
    except OSError as error:
        return Finding("fix", State.FAILED, f"{path} cannot be written: {error.strerror}")
    return Finding("fix", State.OK, f"done: wrote {path}")
