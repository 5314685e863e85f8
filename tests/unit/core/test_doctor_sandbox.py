"""A trial under the service's conditions: what systemd-run is told, what its end means."""

from pathlib import Path

import pytest

from agent.core.doctor_sandbox import (
    assignments_of,
    gpu_access_finding,
    sandbox_fix,
    trial_failure,
    trial_properties,
    unknown_property,
)
from agent.core.findings import Finding, State

UNIT = Path(__file__).parents[3] / "systemd/decode-agent.service"
CAT = """\
# /etc/systemd/system/decode-agent.service
[Unit]
User=not-here

[Service]
; a comment
ExecStart=/bin/x run \\
    --env-file /y
Environment=HOME=%h
Environment=PERCENT=100%% "TWO=2 3"
User = decode-agent
StateDirectory=decode-agent more
RuntimeDirectory=decode-agent
CapabilityBoundingSet=
MemoryMax=2G

# /etc/systemd/system/decode-agent.service.d/10-credentials.conf
[Service]
LoadCredentialEncrypted=decode-agent.keyring:/etc/decode-agent/keyring.cred
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target
"""


def test_assignments():
    """Lines that go on are joined, comments and other sections left out."""
    found = dict(assignments_of(CAT))
    assert found["ExecStart"].split() == ["/bin/x", "run", "--env-file", "/y"]
    assert found["User"] == "decode-agent"
    assert "WantedBy" not in found


def test_conditions_of_a_unit():
    """In order, resets too. Not its RuntimeDirectory: systemd would remove that at the trial's end."""
    assert trial_properties(CAT) == (
        'Environment=PERCENT=100% "TWO=2 3"',
        "User=decode-agent",
        "ReadWritePaths=-/var/lib/decode-agent",
        "ReadWritePaths=-/var/lib/more",
        "CapabilityBoundingSet=",
        "LoadCredentialEncrypted=decode-agent.keyring:/etc/decode-agent/keyring.cred",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
    )


def test_conditions_of_our_own_unit():
    """Whatever opens or closes something is taken over; what is left out is named here, with the reason."""
    text = UNIT.read_text()
    taken = {one.partition("=")[0] for one in trial_properties(text)} | {"StateDirectory"}
    assert {name for name, _ in assignments_of(text)} - taken == {
        *("Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec"),  # of a service's life
        *("RestartPreventExitStatus", "SuccessExitStatus", "WatchdogSec", "TimeoutStopSec", "KillMode"),
        *("StateDirectoryMode", "RuntimeDirectory", "RuntimeDirectoryMode"),  # would change the real ones
        *("OOMScoreAdjust", "MemoryMax", "TasksMax", "LimitCORE"),  # a trial is short and small
    }


@pytest.mark.parametrize(
    ("complaint", "name"),
    [
        ("Unknown assignment: LoadCredentialEncrypted=a:/b", "LoadCredentialEncrypted"),
        ("Failed to start transient service unit: Cannot set property Nope, or unknown property.", "Nope"),
        ("Failed to start transient service unit: Access denied", ""),
        ("", ""),
    ],
)
def test_what_an_old_systemd_does_not_know(complaint, name):
    """It is named in the complaint."""
    assert unknown_property(complaint) == name


@pytest.mark.parametrize(
    ("status", "said", "about", "part"),
    [
        (243, "", "credentials", "systemd cannot hand the credentials"),
        (226, "", "sandbox", "status 226"),
        (203, "", "sandbox", "status 203"),
        (None, "", "sandbox", "no answer within"),
        (
            2,
            "usage: decode-agent\nerror: no --from-unit",
            "sandbox",
            "ended with 2: usage: decode-agent error",
        ),
        (0, "", "sandbox", "ended with 0: it said nothing"),
    ],
)
def test_a_trial_without_an_answer(status, said, about, part):
    """The exit statuses of systemd itself say what it could not do (systemd.exec(5))."""
    found = trial_failure(status, said)
    assert (found.about, found.state, part in found.text) == (about, State.FAILED, True)
    assert found.fix


def test_a_folder_that_the_sandbox_closes():
    """The fix is the unit's setting, not another folder."""
    text = "PATH_HOST_BASE=/data/jobs (will be made): cannot write in /data (Read-only file system)"
    found = sandbox_fix(Finding("folders", State.FAILED, text, "another"))
    assert found.fix.endswith("below [Service] the line ReadWritePaths=/data/jobs")
    for other in (Finding("folders", State.OK, text), Finding("docker", State.FAILED, text, "x")):
        assert sandbox_fix(other) is other


@pytest.mark.parametrize(("seen", "there", "state"), [(2, 2, State.OK), (0, 2, State.FAILED)])
def test_gpus_in_the_sandbox(seen, there, state):
    """The service must see what the machine has."""
    assert gpu_access_finding(seen, there).state is state
