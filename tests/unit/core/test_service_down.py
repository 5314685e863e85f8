"""Why nobody answers, and what to do."""

import pytest

from agent.core.doctor_unit import UnitFacts
from agent.core.service_down import why_down

LOADED = UnitFacts(load="loaded", enabled="enabled")


@pytest.mark.parametrize(
    ("unit", "first", "last"),
    [
        (None, "there is no service", "--socket"),
        (UnitFacts(), "there is no service", "--socket"),
        (UnitFacts(load="not-found"), "there is no service", "--socket"),
        (UnitFacts(load="masked"), "the service is masked", "systemctl unmask decode-agent"),
        (UnitFacts("loaded", "active", "running"), "the service runs, but", "journalctl -u decode-agent"),
        (UnitFacts("loaded", "activating", "start"), "it is starting", "try again in a moment"),
        (
            UnitFacts("loaded", "activating", "auto-restart", result="watchdog"),
            "it hung and was ended by systemd's watchdog; systemd starts it again",
            "journalctl -u decode-agent",
        ),
        (
            UnitFacts("loaded", "activating", "auto-restart", result="exit-code", exit_status=1),
            "it ended with exit code 1; systemd starts it again",
            "journalctl",
        ),
        (UnitFacts("loaded", "deactivating", "stop-sigterm"), "it is stopping", "systemctl start"),
        (
            UnitFacts("loaded", "failed", "failed", "enabled", "exit-code", 78),
            "a setting or the credentials are wrong",
            "when that is mended: sudo systemctl start decode-agent",
        ),
        (
            UnitFacts("loaded", "failed", "failed", "enabled", "oom-kill", 9),
            "it was ended for lack of memory",
            "systemctl start",
        ),
        (
            UnitFacts("loaded", "failed", "failed", "enabled", "something-new", 9),
            "it ended with exit code 9",
            "systemctl start",
        ),
        (
            UnitFacts("loaded", "inactive", "dead", "enabled", "success", 79),
            "it was drained and has ended",
            "start it: sudo systemctl start decode-agent",
        ),
        (UnitFacts("loaded", "inactive", "dead", "enabled", "success"), "it was stopped", "systemctl start"),
        (
            UnitFacts("loaded", "inactive", "dead", "disabled", "success"),
            "it was stopped",
            "to start it with the machine: sudo systemctl enable decode-agent",
        ),
    ],
)
def test_why_it_is_down(unit, first, last):
    """The first line is the reason, the last ones the remedy."""
    lines = why_down(unit)
    assert lines[0].startswith(first)
    assert last in "\n".join(lines)
    assert len(lines) > 1 or last in lines[0]
