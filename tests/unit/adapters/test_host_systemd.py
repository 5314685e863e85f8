"""How systemd is asked; what it answers is tried on booted hosts."""

import pytest

from agent.adapters import host_systemd
from agent.adapters.host_command import Ended
from agent.core.errors import HostTrouble


@pytest.fixture
def systemd(monkeypatch):
    """Answers each command by a function of its words, and keeps the words."""
    asked = []

    def answer_by(function):
        def run(words, timeout_s=10.0):
            del timeout_s
            asked.append(list(words))
            return function(list(words))

        monkeypatch.setattr(host_systemd, "run", run)
        return asked

    return answer_by


def test_booted(tmp_path):
    """By the folder that systemd makes (sd_booted(3))."""
    assert host_systemd.is_booted(tmp_path)
    assert not host_systemd.is_booted(tmp_path / "nothing")


def test_show(systemd):
    """All properties in one question."""
    asked = systemd(lambda _: Ended(0, "A=1\n", ""))
    assert host_systemd.show_unit("x.service", ["A", "B"]) == "A=1\n"
    assert asked == [["systemctl", "show", "--property=A,B", "--", "x.service"]]


def test_enablement(systemd):
    """A unit that is not enabled is no trouble, though systemctl ends with 1."""
    systemd(lambda _: Ended(1, "disabled\n", ""))
    assert host_systemd.enablement_of("x.service") == "disabled"


@pytest.mark.parametrize(
    ("ended", "text"),
    [(Ended(1, "", "No files found\n"), "No files found"), (Ended(None, "", ""), "gives no answer")],
)
def test_no_answer(systemd, ended, text):
    """Trouble with what systemctl said."""
    systemd(lambda _: ended)
    with pytest.raises(HostTrouble, match=text):
        host_systemd.cat_unit("x.service")


def test_trial(systemd):
    """Bounded by systemd too, so that nothing runs on when we are gone; the program behind `--`."""
    asked = systemd(lambda _: Ended(0, "yes", ""))
    assert host_systemd.run_trial(["User=a"], ["/bin/x", "--y"], 60).out == "yes"
    assert asked[0][-3:] == ["--", "/bin/x", "--y"]
    assert {"--property=User=a", "--property=RuntimeMaxSec=60", "--no-ask-password"} <= set(asked[0])


def test_trial_on_an_old_systemd(systemd):
    """What it does not know is left out; the rest is tried again."""

    def answer(words):
        for new in ("ProtectProc", "LoadCredentialEncrypted"):
            if any(word.startswith(f"--property={new}=") for word in words):
                return Ended(1, "", f"Unknown assignment: {new}=x\n")
        return Ended(0, "yes", "")

    asked = systemd(answer)
    given = ["User=a", "LoadCredentialEncrypted=x", "ProtectProc=x", "ProtectProc=y"]
    assert host_systemd.run_trial(given, ["/bin/x"], 60).out == "yes"
    assert len(asked) == 3
    assert "--property=User=a" in asked[-1]


def test_a_trial_that_is_refused_is_not_tried_for_ever(systemd):
    """Whatever systemd complains of."""
    asked = systemd(lambda _: Ended(1, "", "Unknown assignment: Else=x"))
    assert host_systemd.run_trial(["User=a"], ["/bin/x"], 60).code == 1
    assert len(asked) == 1
