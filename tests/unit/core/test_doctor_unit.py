"""What is made of systemd's words about the unit, as systemd 252 and 257 say them."""

import pytest

from agent.core.doctor_unit import (
    UnitFacts,
    group_finding,
    unit_facts_of,
    unit_findings,
    version_finding,
)
from agent.core.findings import Repair, State

COMMAND = "/opt/decode-agent/current/venvs/decode-agent/bin/decode-agent"
# systemd 252 on Debian 12 and 257 on Debian 13 say the same, word for word.
RUNNING = f"""\
WatchdogUSec=3min
StatusText=Idle · next look in 18 s · API 10 s ago · 80 GB free
Result=success
NRestarts=0
ExecMainStatus=0
ExecStart={{ path={COMMAND} ; argv[]={COMMAND} run --env-file /etc/decode-agent/agent.env ; \
ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }}
AmbientCapabilities=cap_dac_override cap_fowner
User=decode-agent
SupplementaryGroups=docker
LoadState=loaded
ActiveState=active
SubState=running
NeedDaemonReload=no
"""
STOPPED = RUNNING.replace("=active", "=inactive").replace("=running", "=dead").replace("=3min", "=infinity")
ABSENT = """\
WatchdogUSec=infinity
Result=success
NRestarts=0
ExecMainStatus=0
LoadState=not-found
ActiveState=inactive
SubState=dead
NeedDaemonReload=no
"""


def changed(text, **values):
    """The text with other values in its lines."""
    for name, value in values.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{name}="))
        text = text.replace(line, f"{name}={value}")
    return text


def judged(text, enablement="enabled"):
    return [(one.state, one.text, one.repair) for one in unit_findings(unit_facts_of(text, enablement))]


def test_facts():
    """Everything that is asked for is read."""
    assert unit_facts_of(RUNNING, "enabled") == UnitFacts(
        load="loaded",
        active="active",
        sub="running",
        enabled="enabled",
        has_watchdog=True,
        result="success",
        command=(COMMAND, "run", "--env-file", "/etc/decode-agent/agent.env"),
        user="decode-agent",
        groups=("docker",),
        capabilities=("cap_dac_override", "cap_fowner"),
        status_text="Idle · next look in 18 s · API 10 s ago · 80 GB free",
    )


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("x", "run", "--env-file", "/a"), "/a"),
        (("x", "run", "--env-file=/a"), "/a"),
        (("x", "run"), ""),
        (("x", "run", "--env-file"), ""),
        ((), ""),
    ],
)
def test_env_file_of_the_unit(command, path):
    """The settings are those that the service reads."""
    assert UnitFacts(command=command).env_file == path


def test_a_service_that_is_well():
    """Two good lines, with what the agent says of itself."""
    state = "active (running): Idle · next look in 18 s · API 10 s ago · 80 GB free"
    assert judged(RUNNING) == [
        (State.OK, state, None),
        (State.OK, "starts with the machine (enabled)", None),
    ]


@pytest.mark.parametrize(
    ("text", "state", "part", "repair"),
    [
        (ABSENT, State.WARNING, "no service is installed", None),
        ("", State.WARNING, "no service is installed", None),
        (changed(ABSENT, LoadState="masked"), State.FAILED, "masked", None),
        (STOPPED, State.FAILED, "it does not run", Repair.START_UNIT),
        (changed(STOPPED, ExecMainStatus="79"), State.WARNING, "it was drained", None),
        (
            changed(
                STOPPED, ActiveState="failed", SubState="failed", Result="exit-code", ExecMainStatus="78"
            ),
            State.FAILED,
            "a setting or the credentials are wrong",
            None,
        ),
        (
            changed(STOPPED, ActiveState="failed", Result="watchdog", ExecMainStatus="6"),
            State.FAILED,
            "failed (dead), result watchdog, exit status 6",
            None,
        ),
        (
            changed(STOPPED, ActiveState="activating", SubState="auto-restart", Result="exit-code"),
            State.FAILED,
            "activating (auto-restart), result exit-code",
            None,
        ),
        (changed(STOPPED, ActiveState="activating", SubState="start"), State.WARNING, "being started", None),
        (changed(RUNNING, NRestarts="3"), State.WARNING, "restart it 3 times", None),
        (changed(RUNNING, WatchdogUSec="infinity"), State.WARNING, "watchdog is off", None),
        (changed(RUNNING, WatchdogUSec="0"), State.WARNING, "watchdog is off", None),
        (changed(RUNNING, NeedDaemonReload="yes"), State.WARNING, "were changed", None),
    ],
)
def test_what_is_odd_is_said(text, state, part, repair):
    """With its state, and what --fix may do about it; one that left for a reason is not started."""
    odd = [one for one in judged(text) if one[0] is not State.OK]
    assert [(one[0], one[2]) for one in odd] == [(state, repair)]
    assert part in odd[0][1]


def test_a_service_that_the_next_boot_does_not_start():
    """It is said, and --fix enables it."""
    assert judged(RUNNING, "disabled")[1][0::2] == (State.WARNING, Repair.ENABLE_UNIT)


def test_a_stopped_service_may_have_a_watchdog():
    """Of a watchdog systemd tells only after the start, so nothing is said before."""
    assert "watchdog" not in str(judged(STOPPED))


def test_a_reload_that_all_units_need_says_nothing():
    """As systemd 257 does after each `enable --no-reload`."""
    text = changed(RUNNING, NeedDaemonReload="yes")
    assert not unit_facts_of(text, other="NeedDaemonReload=yes\n").needs_reload
    assert unit_facts_of(text, other="NeedDaemonReload=no\n").needs_reload


@pytest.mark.parametrize(
    ("installed", "running", "state", "part"),
    [
        ("1.2", "1.2", State.OK, "1.2: this program, the service's, what runs"),
        ("1.2", "", State.OK, "1.2: this program, the service's"),
        ("", "", State.OK, "1.2: this program"),
        ("1.1", "1.1", State.WARNING, "the service's program is 1.1"),
        ("1.2", "1.1", State.WARNING, "1.1 runs, 1.2 is installed"),
    ],
)
def test_versions(installed, running, state, part):
    """An upgrade that does not run yet, and a doctor of another version, are seen."""
    found = version_finding("1.2", installed, running)
    assert (found.state, part in found.text) == (state, True)


@pytest.mark.parametrize(
    ("unit", "groups", "state"),
    [
        (UnitFacts(user="a", groups=("docker",)), frozenset(), State.OK),
        (UnitFacts(user="a"), frozenset({"docker"}), State.OK),
        (UnitFacts(user=""), frozenset(), State.OK),
        (UnitFacts(user="a", capabilities=("cap_dac_override",)), frozenset(), State.OK),
        (UnitFacts(user="a", groups=("video",)), frozenset({"a"}), State.FAILED),
    ],
)
def test_who_may_use_docker(unit, groups, state):
    """By the unit's groups, its user's, or a capability that asks no permission."""
    assert group_finding(unit, groups, "docker").state is state
