"""What the machine's owner asked for."""

import pytest

from agent.core.errors import DiskTrouble
from agent.core.status import Mode
from agent.owner import Owner


@pytest.fixture
def owner(journal):
    return Owner(journal)


def fail(*_):
    raise DiskTrouble("the disk is full")


def test_it_outlives_a_restart(owner, journal):
    """Paused is paused, until somebody resumes."""
    owner.steer(Mode.PAUSED)
    again = Owner(journal)
    again.recall()
    assert again.mode is Mode.PAUSED


def test_who_acts_on_it_is_woken(owner):
    """At once, not at the next look."""
    rung = []
    owner.ring = lambda: rung.append(owner.mode)
    owner.steer(Mode.DRAINING)
    assert rung == [Mode.DRAINING]


def test_what_cannot_be_kept_is_not_so(owner, journal, monkeypatch):
    """Or a restart would undo what was promised."""
    monkeypatch.setattr(journal, "save_mode", fail)
    with pytest.raises(DiskTrouble):
        owner.steer(Mode.PAUSED)
    assert owner.mode is Mode.TAKING


def test_an_unreadable_wish_is_no_reason_not_to_start(owner, journal, monkeypatch, caplog):
    """It is said, and jobs are taken."""
    monkeypatch.setattr(journal, "mode", fail)
    owner.recall()
    assert owner.mode is Mode.TAKING
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize("mode", list(Mode))
def test_only_leaving_leaves(owner, journal, mode):
    """And then the next start takes jobs again; the other wishes stand."""
    owner.steer(mode)
    assert owner.may_leave() == (mode is Mode.LEAVING)
    assert journal.mode() is (Mode.TAKING if mode is Mode.LEAVING else mode)


def test_it_does_not_leave_for_good(owner, journal, monkeypatch):
    """Where the next start could not take jobs again, it waits."""
    owner.steer(Mode.LEAVING)
    monkeypatch.setattr(journal, "save_mode", fail)
    assert not owner.may_leave()
    assert owner.mode is Mode.LEAVING
