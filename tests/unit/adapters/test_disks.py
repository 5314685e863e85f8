"""What is left on the disks that jobs need."""

from pathlib import Path

import pytest

from agent.adapters.disks import Disks
from agent.core.engine_models import EngineInfo
from tests.fakes.engine import FakeEngine


@pytest.fixture
def engine(tmp_path):
    engine = FakeEngine()
    (tmp_path / "docker").mkdir()
    engine.engine_info = EngineInfo("1", data_root=str(tmp_path / "docker"))
    engine.asked = 0
    ask = engine.info

    def count():
        engine.asked += 1
        return ask()

    engine.info = count
    return engine


@pytest.fixture
def disks(tmp_path, engine):
    return Disks({"the journal": tmp_path, "jobs": tmp_path / "not" / "made" / "yet"}, engine)


def uses(disks, *, there=True):
    return [room.use for room in disks.rooms(there)]


def test_each_disk_is_looked_at(disks, tmp_path):
    """A folder that is not made yet counts as the one above it; all of this is one disk."""
    found = disks.rooms(True)
    assert [room.use for room in found] == ["the journal", "jobs", "Docker's data"]
    assert {room.device for room in found} == {tmp_path.stat().st_dev}
    assert all(room.free_bytes > 0 for room in found)
    assert found[1].path == str(tmp_path / "not" / "made" / "yet")
    assert disks.least_free_bytes() > 0


def test_docker_is_asked_once_for_each_time_it_is_there(disks, engine):
    """It may have been reconfigured while it was away."""
    for _ in range(3):
        disks.rooms(True)
    assert engine.asked == 1
    assert uses(disks, there=False) == ["the journal", "jobs"]
    disks.rooms(True)
    assert engine.asked == 2


def test_docker_that_goes_away_meanwhile_is_left_out(disks, engine):
    """And asked at the next look."""
    engine.is_away = True
    assert uses(disks) == ["the journal", "jobs"]
    engine.is_away = False
    assert uses(disks) == ["the journal", "jobs", "Docker's data"]


@pytest.mark.parametrize("root", ["", "/not/on/this/machine"])
def test_docker_on_another_machine_is_left_out(disks, engine, root):
    """Its disk cannot be looked at; a folder above it here would be another disk."""
    engine.engine_info = EngineInfo("1", data_root=root)
    assert uses(disks) == ["the journal", "jobs"]


def test_the_least_is_known_without_asking(disks, engine, monkeypatch):
    """A job's thread must not wait for a Docker that hangs; what it said before counts."""
    disks.rooms(True)
    engine.is_away = True
    free = iter([5, 7, 3])
    monkeypatch.setattr(
        "agent.adapters.disks.shutil.disk_usage", lambda _: type("", (), {"free": next(free)})
    )
    assert disks.least_free_bytes() == 3
    assert engine.asked == 1


def test_nothing_is_made_up_where_nothing_can_be_read(engine, monkeypatch):
    """An odd disk is left out."""

    def fail(_):
        raise PermissionError

    monkeypatch.setattr("agent.adapters.disks.shutil.disk_usage", fail)
    disks = Disks({"jobs": Path("/")}, engine)
    assert disks.rooms(True) == ()
    assert disks.least_free_bytes() is None
