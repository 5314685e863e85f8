"""What systemd knows of a unit, and programs run under a unit's conditions."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from agent.adapters.host_command import Ended, run
from agent.core.doctor_sandbox import unknown_property
from agent.core.errors import HostTrouble
from agent.core.wire import one_line

_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_STATE_S = 5.0
_TRIES = 20
_MORE_S = 10.0  # systemd ends a trial itself, we only see to it that it does


def is_booted(mark: Path = _BOOTED) -> bool:
    """Whether systemd is in charge of this machine."""
    return mark.is_dir()


def is_going_down() -> bool:
    """Whether the whole machine is being shut down or restarted; no where nobody can say."""
    with suppress(HostTrouble):
        return is_booted() and run(["systemctl", "is-system-running"], _STATE_S).out.strip() == "stopping"
    return False


def show_unit(unit: str, properties: Sequence[str]) -> str:
    """NAME=value lines; of a unit that is not there too. Raises `HostTrouble`."""
    return _ask("systemctl", "show", f"--property={','.join(properties)}", "--", unit)


def enablement_of(unit: str) -> str:
    """`enabled`, `disabled`, …: what the next boot will do; `show` tells what held at the last reload."""
    return run(["systemctl", "is-enabled", "--", unit]).out.strip()


def cat_unit(unit: str) -> str:
    """The unit's file and its drop-ins. Raises `HostTrouble`."""
    return _ask("systemctl", "cat", "--", unit)


def run_trial(properties: Sequence[str], command: Sequence[str], limit_s: float) -> Ended:
    """Run a program as a passing unit with these properties, but those that this systemd does not know.

    Needs root. Raises `HostTrouble` where there is no systemd-run.
    """
    kept = list(properties)
    for _ in range(_TRIES):
        ended = run(_trial_command(kept, command, limit_s), limit_s + _MORE_S)
        unknown = unknown_property(ended.err) if ended.code else ""
        fewer = [one for one in kept if not unknown or one.partition("=")[0] != unknown]
        if len(fewer) == len(kept):
            return ended
        kept = fewer
    return replace(ended, err="")


def _trial_command(properties: Sequence[str], command: Sequence[str], limit_s: float) -> list[str]:
    how = ("--wait", "--pipe", "--quiet", "--collect", "--no-ask-password")
    options = [f"--property={one}" for one in (*properties, f"RuntimeMaxSec={limit_s:.0f}")]
    return ["systemd-run", *how, *options, "--", *command]


def _ask(*words: str) -> str:
    ended = run(words)
    if ended.code is None:
        raise HostTrouble(f"{words[0]} {words[1]} gives no answer")
    if ended.code:
        raise HostTrouble(f"{words[0]} {words[1]} fails: {one_line(ended.err)}")
    return ended.out
