"""The main thread and its service manager: what systemd is told, and when it is told no more."""

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent import delivery
from agent.core.engine_models import ImagePull
from agent.core.errors import ApiTrouble, ConfigError
from agent.core.health import BEAT_LIMIT_S, JOB_LIMIT_S
from agent.core.intake import parse_job, record_of
from agent.core.models import Phase, Slot, Word
from agent.core.status import Health, Mode, health_of
from agent.daemon import Daemon
from agent.heartbeat import Heartbeat
from agent.looking import Options
from agent.station import Ending, Renewed
from agent.wakeup import WakeUp
from tests.fakes.engine import Script
from tests.fakes.waiting import LONG_S, wait_until
from tests.unit.world import LOOK_S, SLOT, FakeService, let_jobs_end, spec

NAME = "decode-job-7"


@pytest.fixture
def service(world):
    """Somebody listens, and waits for signs of life."""
    world.service = FakeService(watchdog_s=180.0)
    return world.service


@contextmanager
def living(world, journal, slots=(SLOT,), **station):
    """A whole life in the main thread; what is yielded is done meanwhile in another one."""
    world.engine.scripts.setdefault(7, Script(None))
    heartbeat = Heartbeat(world.heard, 30.0)
    station = replace(world.station(), **station)
    daemon = Daemon(world.tools(journal), heartbeat, slots, Options(LOOK_S), world.stop, station)
    acts = []

    def act_all():
        for is_true, act in acts:
            wait_until(is_true)
            act(daemon)

    yield lambda is_true, act: acts.append((is_true, act))
    other = threading.Thread(target=act_all)
    with WakeUp() as wake:
        other.start()
        daemon.ending = daemon.run(wake)
    other.join(60)
    assert not other.is_alive()
    world.ending = daemon.ending


def stop(_):
    os.kill(os.getpid(), signal.SIGTERM)


def test_ready_is_said_once_recovery_is_decided(world, journal, service, monkeypatch):
    """Jobs of the journal go on, the status says so, then READY=1; the API was not asked for it."""
    (job,) = world.api.claim(None, 1).values()
    journal.save(replace(record_of(parse_job("7", job), SLOT, 1000.0), phase=Phase.RUNNING))
    asked = []
    monkeypatch.setattr(world.api, "claim", lambda *_: asked.append("ready" in service.said) or {})
    with living(world, journal, slots=(SLOT, Slot(1, 512, 1))) as then:
        then(lambda: asked, stop)
    assert asked[0]
    begin = service.said[: service.said.index("ready")]
    assert begin[0] == "extend 60"
    assert begin[-1].startswith("status Running job 7, ")


def test_the_end_is_told(world, journal, service):
    """STOPPING=1, with time asked for, after which nothing more is said."""
    with living(world, journal) as then:
        then(lambda: world.engine.starts[NAME], stop)
    line = "status Stopped; containers run on, the next start goes on with their jobs"
    assert service.said[-3:] == ["stopping", line, "extend 30"]
    assert world.ending is Ending.STOPPED


def test_every_tick_is_a_sign_of_life(make, service):
    """While all threads get on."""
    make().tick(100.0)
    assert "alive" in service.said


@pytest.mark.parametrize(("silent_s", "is_fed"), [(BEAT_LIMIT_S - 100, True), (BEAT_LIMIT_S + 100, False)])
def test_a_heartbeat_that_hangs_is_not_covered_up(
    make, world, service, monkeypatch, caplog, silent_s, is_fed
):
    """The API would give our jobs away; it is said who hangs, once."""
    in_beat, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(world.api, "say", lambda *_: (in_beat.set(), go_on.wait(60)))
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    assert in_beat.wait(60)
    daemon._heartbeat._seen_at -= silent_s
    service.said.clear()
    daemon.feed()
    daemon.feed()
    go_on.set()
    assert service.said == ["alive"] * 2 * is_fed
    assert caplog.text.count("The thread heartbeat has not moved") == (not is_fed)


def test_a_heartbeat_that_died_is_noticed(make, service):
    """However that may be."""
    daemon = make()
    daemon._heartbeat.stop()
    daemon.feed()
    assert service.said == []


@pytest.mark.parametrize(("silent_s", "is_fed"), [(JOB_LIMIT_S - 60, True), (JOB_LIMIT_S + 60, False)])
def test_a_job_that_hangs_is_not_covered_up(make, world, service, caplog, silent_s, is_fed):
    """Half an hour without any sign: a bug of ours, and a restart is harmless."""
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts[NAME])
    (member,) = daemon._crew._members.values()
    wait_until(lambda: member.track.status().phase is Phase.RUNNING)
    member.track._seen_at -= silent_s
    service.said.clear()
    daemon.feed()
    assert service.said == ["alive"] * is_fed
    assert ("The thread job-7 has not moved" in caplog.text) != is_fed


def test_outages_are_no_reason_for_a_restart(make, world, service, monkeypatch):
    """Docker and the API away: degraded, shown, and fed."""

    def fail(*_):
        raise ApiTrouble("no connection")

    daemon = make()
    world.engine.is_away = True
    daemon.tick(100.0)
    assert health_of(daemon.status()) is Health.DEGRADED
    assert [trouble.text for trouble in daemon.status().troubles] == [
        "Docker does not answer: Docker cannot be reached"
    ]
    since = daemon.status().troubles[0].since
    daemon.tick(200.0)
    assert daemon.status().troubles[0].since == since
    world.engine.is_away = False
    monkeypatch.setattr(world.api, "claim", fail)
    daemon.tick(300.0)
    assert daemon.status().troubles == ()
    world.heard._failing_at -= 1000.0
    (trouble,) = daemon.status().troubles
    assert trouble.text == "no good answer from the API: no connection"
    service.said.clear()
    daemon.feed()
    assert service.said == ["alive"]


def test_a_job_that_does_not_get_on_is_degraded(make, world, service):
    """Its trouble is the agent's."""
    del service
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts[NAME])
    world.engine.is_away = True
    with world.engine._changed:
        world.engine._changed.notify_all()
    wait_until(lambda: health_of(daemon.status()) is Health.DEGRADED)
    assert daemon.status().jobs[0].trouble.text == "Docker cannot be reached"
    world.engine.is_away = False
    wait_until(lambda: health_of(daemon.status()) is Health.RUNNING)


@pytest.mark.parametrize(
    ("service", "next_at", "longest_s"),
    [
        (FakeService(is_there=False), float("inf"), None),
        (FakeService(None), float("inf"), 10.0),
        (FakeService(9.0), float("inf"), 3.0),
        (FakeService(180.0), float("inf"), 10.0),
        (FakeService(180.0), 0.0, 0.0),
    ],
)
def test_how_long_it_sleeps(make, world, service, next_at, longest_s):
    """Off systemd until something is due; with it, in time for the watchdog and for a status that is true."""
    world.service = service
    assert make()._sleep_s(next_at) == longest_s


def test_the_status_of_a_machine_with_nothing_to_do(make, world):
    """All that `decode-agent status` shows."""
    world.api.queue.clear()
    daemon = make(slots=(SLOT, Slot(1, 1024, 2)))
    daemon.tick(0.0)
    status = daemon.status()
    assert (status.version, status.pid, status.account) == ("0", os.getpid(), "worker1")
    assert (status.mode, status.slots, status.jobs) == (Mode.TAKING, 2, ())
    assert (status.gates, status.troubles) == ((), ())
    assert status.api_heard_at is not None
    assert status.next_look_at is not None


def test_a_busy_machine_has_no_next_look(make, world):
    """Nor a gate that is closed."""
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    assert daemon.status().next_look_at is None
    assert [job.job_id for job in daemon.status().jobs] == [7]


@pytest.mark.parametrize(("mode", "said"), [(Mode.PAUSED, "paused"), (Mode.DRAINING, "drained")])
def test_a_paused_machine_takes_no_job(make, world, mode, said):
    """What runs goes on; resumed, it looks at once."""
    daemon = make()
    daemon.owner.steer(mode)
    daemon.tick(100.0)
    assert world.api.states == {}
    assert [gate.text.split()[0] for gate in daemon.status().gates] == [said]
    assert health_of(daemon.status()) is Health.RUNNING
    daemon.owner.steer(Mode.TAKING)
    daemon.tick(100.1)
    assert list(world.api.states) == [7]


def test_a_pause_outlives_a_restart(make, world, journal):
    """And a job of the journal is finished all the same."""
    (job,) = world.api.claim(None, 1).values()
    journal.save(record_of(parse_job("7", job), SLOT, 1000.0))
    journal.save_mode(Mode.PAUSED)
    world.api.queue["8"] = spec()
    daemon = make()
    daemon.resume()
    daemon.tick(100.0)
    let_jobs_end(daemon)
    daemon.tick(200.0)
    assert len(world.api.verdicts(7)) == 1
    assert list(world.api.queue) == ["8"]


def test_the_gate_of_a_busy_machine_is_shown_too(make, world):
    """Paused is paused, also while every slot is taken."""
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    daemon.owner.steer(Mode.PAUSED)
    daemon.tick(100.1)
    assert len(daemon.status().gates) == 1


def test_leaving_ends_with_the_last_job(world, journal, service):
    """With an exit code of its own; the next start takes jobs again."""
    world.api.queue["8"] = spec()
    with living(world, journal) as then:
        then(lambda: world.engine.starts[NAME], lambda daemon: daemon.owner.steer(Mode.LEAVING))
        then(lambda: "Leaving: job 7 still runs" in service.line, lambda _: world.engine.finish(NAME, 0))
    assert world.ending is Ending.DRAINED
    assert service.line == "Drained and ended; the next start takes jobs again"
    assert len(world.api.verdicts(7)) == 1
    assert list(world.api.queue) == ["8"]
    assert journal.mode() is Mode.TAKING


def renewed(**changes):
    return replace(
        Renewed(Options(5.0, ("lab",)), None, (SLOT,), 3.0, ("LOOK is 5 now (was 30)",)), **changes
    )


def test_a_reload_changes_what_it_may(make, world, service, caplog):
    """The look, the slots, the limits of the next job, the beat; the job under way keeps its own."""
    caplog.set_level("INFO")
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts[NAME])
    (member,) = daemon._crew._members.values()
    policy = replace(world.policy, pull=ImagePull.MISSING)
    world.renewed = renewed(policy=policy, slots=(SLOT, Slot(1, 512, 1)))
    service.said.clear()
    assert daemon.reload() == ("LOOK is 5 now (was 30)",)
    assert service.said == ["reloading", "ready"]
    assert "LOOK is 5 now (was 30)." in caplog.text
    assert daemon._looking.options.groups == ("lab",)
    assert daemon._tools.policy is policy
    assert daemon.status().slots == 2
    assert daemon._heartbeat._interval_s == 3.0
    assert list(daemon._crew._members.values()) == [member]
    assert world.engine.starts[NAME] == 1


def test_bad_settings_change_nothing(make, service, caplog):
    """It is logged and raised, and READY=1 is said all the same: systemd waits for it."""

    def fail():
        raise ConfigError("TIMEOUT_JOB=x is not allowed")

    daemon = make()
    before = daemon._looking.options
    daemon._station = replace(daemon._station, reread=fail)
    with pytest.raises(ConfigError):
        daemon.reload()
    assert service.said == ["reloading", "ready"]
    assert daemon._looking.options is before
    assert "TIMEOUT_JOB=x is not allowed" in caplog.text


def test_sighup_reloads_a_service(world, journal, service):
    """Systemd sends it; jobs are not touched."""
    world.renewed = renewed(policy=world.policy)
    with living(world, journal) as then:
        then(lambda: world.engine.starts[NAME], lambda _: os.kill(os.getpid(), signal.SIGHUP))
        then(lambda: "reloading" in service.said, stop)
    assert [record.phase for record in journal.active()] == [Phase.RUNNING]


def test_sighup_ends_what_a_terminal_started(world, journal):
    """The terminal is gone: detached, as with Ctrl-C."""
    with living(world, journal, hangup_stops=True) as then:
        then(lambda: world.engine.starts[NAME], lambda _: os.kill(os.getpid(), signal.SIGHUP))
    assert world.ending is Ending.STOPPED
    assert [record.phase for record in journal.active()] == [Phase.RUNNING]


@pytest.fixture
def upload(world, monkeypatch):
    """Job 7's upload: `.began`, and `.end` lets it end."""
    began, end = threading.Event(), threading.Event()
    world.engine.scripts[7] = Script(0, writes={"output/a": b"a"})
    push = world.api.upload_request

    def push_late(*args):
        began.set()
        end.wait(LONG_S)
        return push(*args)

    monkeypatch.setattr(world.api, "upload_request", push_late)
    yield SimpleNamespace(began=began, end=end)
    end.set()


def test_a_machine_that_goes_down_waits_for_an_upload(world, journal, service, upload):
    """The network still works: it is delivered and said, with the time that this takes asked for."""
    waits = "status The machine goes down; waiting for an upload"
    with living(world, journal, is_going_down=lambda: True) as then:
        then(upload.began.is_set, stop)
        then(lambda: waits in service.said, lambda _: upload.end.set())
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]
    assert journal.active() == []
    assert service.said[service.said.index(waits) + 1] == "extend 60"


def test_a_service_that_is_stopped_does_not(world, journal, service, upload):
    """The next start goes on with the upload."""
    with living(world, journal) as then:
        then(upload.began.is_set, stop)
        then(world.stop.is_set, lambda _: upload.end.set())
    assert world.api.verdicts(7) == []
    assert [record.phase for record in journal.active()] == [Phase.STAGING_OUT]
    assert not any("goes down" in line for line in service.said)


def test_a_machine_that_goes_down_does_not_wait_for_a_container(world, journal, service):
    """It may run for days; and nobody asks how the machine is."""
    asked = []
    with living(world, journal, is_going_down=lambda: asked.append(1) or True) as then:
        then(lambda: world.engine.starts[NAME], stop)
    assert asked == []
    assert [record.phase for record in journal.active()] == [Phase.RUNNING]
    assert not any("goes down" in line for line in service.said)


@pytest.mark.parametrize("why", ["bound", "signal", "trouble"])
def test_a_machine_does_not_wait_for_ever(world, journal, service, upload, monkeypatch, why):
    """The bound is over, the signal comes again, or something is in the way of the upload."""
    if why == "bound":
        monkeypatch.setattr(delivery, "DELIVERY_S", 0.2)
    waits = "status The machine goes down; waiting for an upload"
    with living(world, journal, is_going_down=lambda: True) as then:
        then(upload.began.is_set, stop)
        if why == "signal":
            then(lambda: waits in service.said, stop)
        if why == "trouble":
            then(lambda: waits in service.said, lambda daemon: hinder(daemon, "the storage is away"))
        then(world.stop.is_set, lambda _: upload.end.set())
    assert world.api.verdicts(7) == []
    assert [record.phase for record in journal.active()] == [Phase.STAGING_OUT]


def hinder(daemon, text):
    for member in daemon._crew._members.values():
        member.track.hinder(text)
