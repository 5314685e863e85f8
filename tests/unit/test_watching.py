"""A container on its way to its end: its time, outages, one that nothing ends or that does nothing."""

import logging
import threading
import time
from dataclasses import replace

import pytest

from agent import watching
from agent.core import stall
from agent.core.container import Limits, labels_of, plan_container
from agent.core.engine_models import Activity, ContainerStatus
from agent.core.errors import EngineTrouble, Stopped, Unkillable
from agent.core.joblog import JobLog
from agent.core.models import AppSpec, HandlerSpec, Job, JobSpec, Phase, Record
from agent.core.stopping import Stop
from agent.steps import Unwatched
from agent.track import Track
from agent.watching import Watch
from tests.fakes.engine import SIGKILLED, SIGTERMED, Script
from tests.fakes.waiting import LONG_S, wait_until
from tests.unit.world import IMAGE, SLOT, World

NAME = "decode-job-7"
SPEC = JobSpec(app=AppSpec(cmd=("true",)), handler=HandlerSpec(image_url=IMAGE))
RECORD = Record(7, Phase.RUNNING, SPEC, 0, 1000.0, container_started=True)


class Scene:
    """One container that was started, and the watch over it in a thread of its own."""

    def __init__(self, path, *, script=None, gpu_use=lambda _: None, **policy):
        self.world = World(path, **policy)
        self.engine = self.world.engine
        self.engine.scripts[7] = script or Script(None)
        self.engine.agent_id = "me"
        self.stop = Stop()
        self.saved = []
        self.track = Track(RECORD, SLOT, Unwatched(), 1800.0)
        self.result = None
        self._tools = replace(self.world.tools(None), gpu_use=gpu_use)
        self._plan = plan_container(
            Job(7, SPEC), SLOT, Limits(), agent_id="me", version="0", folder=str(path / "files")
        )
        self._thread = None

    def start(self, record=RECORD, *, gpu_uuids=()):
        fact = self.engine.ensure_started(self._plan)
        log = JobLog(logging.getLogger("watching"), 7)
        watch = Watch(self._tools, self.stop, self.track, log, self.saved.append, gpu_uuids)

        def run():
            try:
                self.result = watch.until_end(record, fact)
            except Exception as error:  # noqa: BLE001  handed to the test
                self.result = error

        self._thread = threading.Thread(target=run)
        self._thread.start()
        return self

    def end(self):
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()
        return self.result

    @property
    def trouble(self):
        trouble = self.track.status().trouble
        return trouble.text if trouble else ""


@pytest.fixture
def scene(tmp_path):
    made = []

    def make(**kwargs):
        made.append(Scene(tmp_path, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.stop.set()
        one._thread.join(LONG_S)


def test_the_labels_are_those_that_the_fake_checks():
    """The guard of these tests: the watched container is the agent's own."""
    assert dict(labels_of(7, "me", "0"))["decode-agent.agent-id"] == "me"


# Its time


def test_a_container_whose_time_is_over_is_ended(scene):
    """Why is written down before it is done, so that nobody takes it for the job's own end."""
    one = scene(max_runtime_s=100.0)
    one.engine.ages[NAME] = 99.9
    saved_at_kill = []
    kill = one.engine.kill
    one.engine.kill = lambda *args, **kwargs: (saved_at_kill.append(len(one.saved)), kill(*args, **kwargs))
    assert one.start().end().code == SIGTERMED
    assert [record.ending for record in one.saved] == ["timed out after 100 s"]
    assert saved_at_kill == [1]


@pytest.mark.parametrize("jump_s", [-36_000, 36_000])
def test_a_clock_that_jumps_neither_ends_it_nor_keeps_it(scene, monkeypatch, jump_s):
    """By hours either way: its age is known without a clock on the wall."""
    one = scene(max_runtime_s=3600.0)
    one.engine.ages[NAME] = 10.0
    monkeypatch.setattr(watching, "time", lambda: time.time() + jump_s)
    one.start()
    wait_until(lambda: one.engine._changed._waiters)
    assert (one.saved, one.engine.killed) == ([], [])
    one.engine.finish(NAME)
    assert one.end().code == 0
    old = scene(max_runtime_s=3600.0)
    old.engine.ages[NAME] = 3600.0
    assert old.start().end().code == SIGTERMED


def test_one_that_has_ended_by_itself_is_not_over_its_time(scene, monkeypatch):
    """It ended while the agent was away, and the clock has jumped: of what has ended no age is known."""
    one = scene(script=Script(0), max_runtime_s=3600.0)
    monkeypatch.setattr(watching, "time", lambda: time.time() + 36_000)
    assert one.start().end().code == 0
    assert (one.saved, one.engine.killed) == ([], [])


@pytest.mark.parametrize(("started_at", "left_s"), [(0.0, 0.0), (1000.0, 50.0), (2000.0, 100.0)])
def test_where_the_age_is_unknown_the_clock_on_the_wall_counts_within_bounds(
    scene, monkeypatch, started_at, left_s
):
    """An engine on another machine: no age is over the limit, none is under nought."""
    one = scene(max_runtime_s=100.0)
    one.start()
    monkeypatch.setattr(watching, "time", lambda: 1050.0)
    monkeypatch.setattr(watching, "monotonic", lambda: 7.0)
    watch = Watch(one._tools, one.stop, one.track, JobLog(logging.getLogger(), 7), one.saved.append)
    fact = replace(one.engine.look(NAME), started_at=started_at)
    assert watch._over_at(fact) == 7.0 + left_s


def test_what_was_about_to_be_ended_is_ended_after_a_restart(scene):
    """The agent was killed between the note and the kill: nobody waits for the job's natural end."""
    one = scene()
    assert one.start(replace(RECORD, ending="timed out after 12 h")).end().code == SIGTERMED
    assert one.engine.killed == [NAME]
    assert one.saved == []


def test_what_ignores_sigterm_is_killed(scene):
    one = scene(max_runtime_s=100.0, script=Script(None, ignores_term=True))
    one.engine.ages[NAME] = 100.0
    assert one.start().end().code == SIGKILLED


def test_one_that_cannot_be_killed_is_tried_again(scene):
    """What hangs on a disk may let go; meanwhile the status says so."""
    one = scene(max_runtime_s=100.0)
    one.engine.ages[NAME] = 100.0
    one.engine.unkillable.add(NAME)
    one.start()
    wait_until(lambda: len(one.engine.killed) >= 3)
    wait_until(lambda: "cannot be killed" in one.trouble)
    one.engine.unkillable.clear()
    assert one.end().code == SIGTERMED
    assert one.trouble == ""


def test_but_not_for_ever(scene, monkeypatch):
    monkeypatch.setattr(watching, "KILL_PATIENCE_S", 0.2)
    one = scene(max_runtime_s=100.0)
    one.engine.ages[NAME] = 100.0
    one.engine.unkillable.add(NAME)
    assert isinstance(one.start().end(), Unkillable)
    assert len(one.saved) == 1


# Outages


def test_an_outage_is_sat_out(scene, caplog):
    """The status says so, the log once; when Docker is back the wait goes on as if nothing had been."""
    one = scene().start()
    wait_until(lambda: one.engine._changed._waiters)
    with one.engine._changed:
        one.engine.is_away = True
        one.engine._changed.notify_all()
    wait_until(lambda: "cannot be reached" in one.trouble)
    one.engine.is_away = False
    wait_until(lambda: not one.trouble)
    one.engine.finish(NAME, 3)
    assert one.end().code == 3
    warnings = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert len(warnings) == 1


@pytest.mark.parametrize("how", ["vanished", "never ran"])
def test_a_container_that_is_lost_is_trouble(scene, monkeypatch, how):
    """Docker was restarted and it is not there, or not any more what it was: others decide, at once."""
    one = scene().start()
    look, looks = one.engine.look, []
    monkeypatch.setattr(one.engine, "look", lambda name: (looks.append(name), look(name))[1])
    wait_until(lambda: one.engine._changed._waiters)
    if how == "vanished":
        one.engine.vanish(NAME)
    else:
        with one.engine._changed:
            one.engine.set_status(NAME, ContainerStatus.CREATED)
            one.engine._changed.notify_all()
    assert isinstance(one.end(), EngineTrouble)
    assert len(looks) == 1


def test_trouble_that_is_no_outage_goes_up(scene, monkeypatch):
    """Docker answers, and waiting fails all the same."""
    one = scene()

    def refuse(name, **_):
        raise EngineTrouble(f"no wait for {name}")

    monkeypatch.setattr(one.engine, "wait", refuse)
    assert "no wait" in str(one.start().end())


def test_a_stop_ends_an_outage(scene):
    """A restart of the agent does not wait for Docker."""
    one = scene()
    one.start()
    wait_until(lambda: one.engine._changed._waiters)
    with one.engine._changed:
        one.engine.is_away = True
        one.engine._changed.notify_all()
    wait_until(lambda: one.trouble)
    one.stop.set()
    assert isinstance(one.end(), Stopped)


# Doing nothing


def hang(monkeypatch):
    """Samples as fast as can be."""
    monkeypatch.setattr(stall, "pace_s", lambda _: 0.01)


def stalls_in(caplog):
    return [entry for entry in caplog.records if "may hang" in entry.getMessage()]


def test_a_job_that_does_nothing_is_told_once(scene, monkeypatch, caplog):
    """In the status as long as it lasts; it is never ended. When it moves again the status is clear."""
    caplog.set_level("INFO")
    hang(monkeypatch)
    one = scene(stall_warn_s=0.2)
    activity, samples = one.engine.activity, []
    monkeypatch.setattr(one.engine, "activity", lambda name: (samples.append(name), activity(name))[1])
    one.start()
    wait_until(lambda: one.trouble == stall.STALLED)
    since = one.track.status().trouble.since
    assert time.time() - LONG_S < since <= time.time() - 0.2
    samples.clear()
    wait_until(lambda: len(samples) > 5)
    assert one.trouble == stall.STALLED
    assert len(stalls_in(caplog)) == 1
    assert "no output and no CPU or GPU use for 0 s" in stalls_in(caplog)[0].getMessage()
    one.engine.activities[NAME] = Activity(1000.0, "")
    wait_until(lambda: not one.trouble)
    assert one.engine.killed == []
    wait_until(lambda: one.trouble == stall.STALLED)
    wait_until(lambda: len(stalls_in(caplog)) == 2)


def test_who_uses_its_gpu_does_something(scene, monkeypatch):
    """The GPU is asked only where nothing else moves."""
    hang(monkeypatch)
    asked = []
    one = scene(stall_warn_s=0.1, gpu_use=lambda uuids: asked.append(uuids) or 50.0).start(gpu_uuids=("G",))
    wait_until(lambda: len(asked) > 30)
    assert set(asked) == {("G",)}
    assert one.trouble == ""


def test_who_is_paused_is_not_stalled(scene, monkeypatch):
    hang(monkeypatch)
    one = scene(stall_warn_s=0.1).start()
    wait_until(lambda: one.trouble)
    one.engine.set_status(NAME, ContainerStatus.PAUSED)
    wait_until(lambda: not one.trouble)


def test_who_cannot_be_looked_at_is_not_stalled(scene, monkeypatch):
    """Nobody knows."""
    hang(monkeypatch)
    looks = []

    def fail(name):
        looks.append(name)
        raise EngineTrouble("x")

    one = scene(stall_warn_s=0.01)
    monkeypatch.setattr(one.engine, "activity", fail)
    one.start()
    wait_until(lambda: len(looks) > 5)
    assert one.trouble == ""


def test_with_0_nobody_looks(scene, monkeypatch):
    hang(monkeypatch)
    monkeypatch.setattr(watching, "LONGEST_WAIT_S", 0.01)
    one = scene(stall_warn_s=0.0)
    looks, waits = [], []
    wait = one.engine.wait
    monkeypatch.setattr(one.engine, "activity", looks.append)
    monkeypatch.setattr(one.engine, "wait", lambda *args, **kw: (waits.append(1), wait(*args, **kw))[1])
    one.start()
    wait_until(lambda: len(waits) > 5)
    assert looks == []
