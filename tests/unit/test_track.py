"""What one job is doing."""

from dataclasses import replace

import pytest

from agent import track as module
from agent.core.intake import parse_job
from agent.core.models import Gpu, Phase, Record, Slot
from agent.core.status import Trouble
from agent.steps import Unwatched
from agent.track import Track
from tests.unit.world import IMAGE, spec

SLOT = Slot(1, 1024, 2, (Gpu("GPU-1", "RTX 4090", "ada", 24576),))
RECORD = Record(7, Phase.STAGING_IN, parse_job("7", spec()).spec, 1, 900.0)


@pytest.fixture
def clock(monkeypatch):
    """Both clocks, in step."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(module, "time", lambda: Clock.now)
    monkeypatch.setattr(module, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def track(clock):  # noqa: ARG001  it must be there first
    return Track(RECORD, SLOT, Unwatched(), 1800.0)


def test_a_job_that_has_just_begun(track):
    """Its phase, slot, GPUs and image."""
    status = track.status()
    assert (status.job_id, status.phase, status.slot, status.gpus) == (7, Phase.STAGING_IN, 1, ("RTX 4090",))
    assert (status.image, status.claimed_at, status.phase_since) == (IMAGE, 900.0, 1000.0)
    assert (status.doing, status.done_bytes, status.total_bytes, status.trouble) == ("", 0, None, None)


def test_parallel_transfers_add_up(track):
    """The sum over all that move; the total only if it is known of each."""
    with track.task("a", 100) as a, track.task("b", 50) as b:
        a.advance(30)
        b.advance(20)
        b.advance(-5)
        status = track.status()
        assert (status.doing, status.done_bytes, status.total_bytes) == ("a and 1 more", 45, 150)
        with track.task("c", None):
            assert track.status().total_bytes is None
    assert track.status().doing == ""


def test_a_phase_begins_when_the_phase_changes(track, clock):
    """Not with each record that is saved in it."""
    clock.now = 1100.0
    track.follow(replace(RECORD, attempts=1))
    assert track.status().phase_since == 1000.0
    track.follow(replace(RECORD, phase=Phase.RUNNING))
    assert track.status().phase_since == 1100.0


def test_trouble_lasts_from_its_first_word_to_the_next_headway(track, clock):
    """However its words change; what moves, or the next phase, ends it."""
    track.hinder("Docker is away")
    clock.now = 1100.0
    track.hinder("the disk is full")
    assert track.status().trouble == Trouble("the disk is full", 1000.0)
    with track.task("a", 100) as a:
        a.advance(0)
        assert track.status().trouble is not None
        a.advance(1)
    assert track.status().trouble is None
    track.hinder("again")
    assert track.status().trouble == Trouble("again", 1100.0)
    track.follow(replace(RECORD, phase=Phase.RUNNING))
    assert track.status().trouble is None


@pytest.mark.parametrize(
    "act",
    [
        lambda track, _: track.note(),
        lambda track, _: track.follow(RECORD),
        lambda track, _: track.hinder("x"),
        lambda track, _: track.clear(),
        lambda _, task: task.advance(1),
        lambda _, task: task.advance(0),
    ],
)
def test_everything_is_a_sign_of_life(track, clock, act):
    """A phase, an attempt, a piece of a file."""
    with track.task("a", None) as task:
        clock.now = 5000.0
        act(track, task)
        sign = track.sign()
    assert (sign.thread, sign.limit_s, sign.doing) == ("job-7", 1800.0, "in phase STAGING_IN")
    assert sign.seen_at == 5000.0


def test_silence_is_seen(track, clock):
    """Time alone is no sign."""
    clock.now = 9000.0
    track.status()
    assert track.sign().seen_at == 1000.0
