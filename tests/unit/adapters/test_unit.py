"""What systemctl says of the service, and what it is called with."""

import subprocess

import pytest

from agent.adapters import unit as module
from agent.adapters.unit import Unit
from agent.core.errors import HostTrouble


@pytest.fixture
def systemctl(monkeypatch):
    """Answers as it is told to, and notes the calls."""
    calls, answers = [], []

    def run(words, **options):
        calls.append((words, options))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(words, *answer)

    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module.shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    return calls, answers


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((0, "LoadState=loaded\nActiveState=active\n", ""), "active"),
        ((0, "ActiveState=failed\nLoadState=loaded\n", ""), "failed"),
        ((0, "LoadState=not-found\nActiveState=inactive\n", ""), ""),
        ((1, "", "System has not been booted with systemd as init system (PID 1).\n"), ""),
        (subprocess.TimeoutExpired(["x"], 1), ""),
    ],
)
def test_state(systemctl, answer, state):
    """The unit's state; nothing where there is no such unit, no systemd or no answer."""
    systemctl[1].append(answer)
    assert Unit(own=False).state() == state


def test_restart(systemctl):
    """Of the system's service or the user's own, without anything of our environment but where systemd is."""
    calls, answers = systemctl
    answers[:] = [(0, "", ""), (0, "", "")]
    Unit(own=False).restart()
    Unit(own=True).restart()
    assert [words[1:] for words, _ in calls] == [
        ["--no-ask-password", "restart", "decode-agent.service"],
        ["--user", "--no-ask-password", "restart", "decode-agent.service"],
    ]
    for _, options in calls:
        assert options["env"].keys() <= {
            "PATH",
            "HOME",
            "LANG",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
        }


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            (1, "", "Job for decode-agent.service failed.\nSee journalctl.\n"),
            r"start again \(Job for decode-agent.service failed.\): sudo systemctl status decode-agent$",
        ),
        ((4, "", ""), "exit code 4"),
        (subprocess.TimeoutExpired(["x"], 1), "systemctl restart did not end within"),
        (PermissionError(13, "Permission denied"), "systemctl cannot be started: Permission denied"),
    ],
)
def test_restart_that_fails(systemctl, answer, text):
    """With what systemd says, and where to look."""
    systemctl[1].append(answer)
    with pytest.raises(HostTrouble, match=text):
        Unit(own=False).restart()


def test_no_systemctl(monkeypatch):
    """No unit, and nothing to restart."""
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: None)
    assert Unit(own=False).state() == ""
    with pytest.raises(HostTrouble, match="systemctl is not installed"):
        Unit(own=False).restart()
