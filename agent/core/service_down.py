"""Why no agent answers, by what systemd says of its unit, and how to have one."""

from agent.core.doctor_unit import UnitFacts

START = "sudo systemctl start decode-agent"
_LOOK = "look why: sudo journalctl -u decode-agent -n 30"
_CONFIG, _DRAINED = 78, 79
_ENDS = {
    "watchdog": "it hung and was ended by systemd's watchdog",
    "oom-kill": "it was ended for lack of memory",
    "signal": "it was ended by a signal",
    "core-dump": "it crashed",
    "timeout": "it did not start or end in its time",
    "start-limit-hit": "it ended too often in a short time, and systemd gave up",
    "protocol": "it ended before it was ready",
    "resources": "systemd could not start it for lack of resources",
}


def why_down(unit: UnitFacts | None) -> tuple[str, ...]:
    """What is known, then what to do, a line each; `unit`: None where systemd does not run or answer."""
    if unit is None or unit.load in {"", "not-found"}:
        return (
            "there is no service decode-agent on this machine",
            "install it: sudo ./install.sh; or work in the foreground: sudo decode-agent run",
            "one in the foreground has its socket in its STATE_DIR: name it by --socket",
        )
    if unit.load == "masked":
        return ("the service is masked", f"sudo systemctl unmask decode-agent && {START}")
    match unit.active:
        case "active" | "reloading" | "refreshing":
            return ("the service runs, but its control socket cannot be reached", _LOOK)
        case "activating" if unit.sub == "auto-restart":
            return (f"{_end_of(unit)}; systemd starts it again in some seconds", _LOOK)
        case "activating":
            return ("it is starting: try again in a moment", _LOOK)
        case "deactivating":
            return ("it is stopping", f"when it has ended, start it: {START}")
    return _ended(unit)


def _ended(unit: UnitFacts) -> tuple[str, ...]:
    enabled = (
        ()
        if unit.enabled != "disabled"
        else ("to start it with the machine: sudo systemctl enable decode-agent",)
    )
    if unit.exit_status == _CONFIG:
        first = "a setting or the credentials are wrong; the last lines of its log name them"
        return (first, "sudo journalctl -u decode-agent -n 10", f"when that is mended: {START}")
    if unit.exit_status == _DRAINED:
        return ("it was drained and has ended, as asked for", f"start it: {START}", *enabled)
    if unit.active == "failed":
        return (_end_of(unit), _LOOK, f"start it: {START}")
    return ("it was stopped, or not started yet", f"start it: {START}", *enabled)


def _end_of(unit: UnitFacts) -> str:
    return _ENDS.get(unit.result, f"it ended with exit code {unit.exit_status}")
