"""The main thread: when it looks, what it takes, when it ends."""

import os
import signal
import threading

import pytest

from agent.core.engine_models import ContainerStatus
from agent.core.errors import ApiTrouble, EngineTrouble
from agent.core.intake import parse_job, record_of
from agent.core.models import Phase, Slot, Word
from agent.daemon import Daemon
from agent.heartbeat import Heartbeat
from agent.leftovers import SWEEP_EVERY_S
from agent.looking import Options
from agent.station import Ending
from agent.wakeup import WakeUp
from tests.fakes.engine import Script
from tests.fakes.waiting import LONG_S, wait_until
from tests.unit.world import LOOK_S, SLOT, let_jobs_end, spec


def test_it_takes_a_job_and_looks_again_the_moment_its_slot_is_free(make, world):
    """No waiting for the next look between two jobs."""
    world.api.queue["8"] = spec()
    daemon = make()
    daemon.tick(100.0)
    assert list(world.api.states) == [7]
    let_jobs_end(daemon)
    daemon.tick(100.1)
    assert list(world.api.states) == [7, 8]


def test_an_empty_queue_is_asked_again_after_the_look_time(make, world):
    """TIMEOUT_JOB, a tenth more or less, so that a thousand agents do not ask in step."""
    world.api.queue.clear()
    next_at = make().tick(100.0)
    assert 100 + 0.9 * LOOK_S <= next_at <= 100 + 1.1 * LOOK_S


def test_busy_slots_do_not_look(make, world):
    """One slot, one job; the sleep ends with a job, or when what is left over is looked through."""
    world.engine.scripts[7] = Script(None)
    world.api.queue["8"] = spec()
    daemon = make()
    assert daemon.tick(100.0) == 100.0 + SWEEP_EVERY_S
    assert list(world.api.queue) == ["8"]


def test_two_slots_take_two_jobs(make, world):
    """Each its own."""
    world.engine.scripts = {7: Script(None), 8: Script(None)}
    world.api.queue["8"] = spec()
    daemon = make(slots=(SLOT, Slot(1, 1024, 2)))
    assert daemon.tick(100.0) == 100.0
    assert daemon.tick(100.0) == 100.0 + SWEEP_EVERY_S
    assert sorted(one.slot.id for one in daemon._crew._members.values()) == [0, 1]


def test_no_job_is_taken_while_docker_is_away(make, world, caplog):
    """A claimed job that cannot run would only wait; the log says why, once."""
    world.engine.is_away = True
    daemon = make()
    daemon.tick(100.0)
    daemon.tick(200.0)
    assert world.api.states == {}
    assert caplog.text.count("Docker cannot be reached") == 1
    world.engine.is_away = False
    daemon.tick(300.0)
    assert list(world.api.states) == [7]


def test_an_api_that_fails_is_asked_again_later(make, world, monkeypatch):
    """Not sooner than the look time, and not as an empty queue."""

    def fail(*_):
        raise ApiTrouble("500", status=500)

    monkeypatch.setattr(world.api, "claim", fail)
    daemon = make(until_idle=True)
    assert daemon.tick(100.0) >= 100 + LOOK_S


def test_retry_after_is_obeyed(make, world, monkeypatch):
    """The API says when."""

    def fail(*_):
        raise ApiTrouble("429", status=429, retry_after_s=200.0)

    monkeypatch.setattr(world.api, "claim", fail)
    assert make().tick(100.0) >= 300


def test_until_idle_ends_with_an_empty_queue(make):
    """All jobs done, nothing new: over."""
    daemon = make(until_idle=True)
    assert daemon.tick(100.0) is not None
    let_jobs_end(daemon)
    assert daemon.tick(100.1) is None


def test_until_idle_does_not_take_a_closed_gate_for_an_empty_queue(make, world):
    """Docker away is no reason to call it a day."""
    world.engine.is_away = True
    assert make(until_idle=True).tick(100.0) is not None


def test_once_takes_one_job(make, world):
    """And leaves the next one in the queue."""
    world.api.queue["8"] = spec()
    daemon = make(once=True)
    daemon.tick(100.0)
    let_jobs_end(daemon)
    assert daemon.tick(100.1) is None
    assert list(world.api.queue) == ["8"]


def test_once_counts_a_job_from_before(make, world, journal):
    """A job of the journal is that one job."""
    (job,) = world.api.claim(None, 1).values()
    journal.save(record_of(parse_job("7", job), SLOT, 1000.0))
    daemon = make(once=True)
    daemon.resume()
    let_jobs_end(daemon)
    assert daemon.tick(100.0) is None
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]


def test_a_job_that_comes_twice_is_worked_on_once(make, world):
    """The API gave it away for our silence, and to us again."""
    world.engine.scripts[7] = Script(None)
    daemon = make(slots=(SLOT, Slot(1, 1024, 2)))
    daemon.tick(100.0)
    world.api.queue["7"] = spec()
    daemon.tick(100.0)
    assert len(daemon._crew._members) == 1


def test_a_job_without_an_address_is_logged(make, world, caplog):
    """`seven` cannot be reported to anyone."""
    world.api.queue = {"seven": spec()}
    daemon = make()
    daemon.tick(100.0)
    assert len(daemon._crew) == 0
    assert "job id 'seven' is not a number" in caplog.text


def test_a_resumed_job_whose_slot_is_no_more_gets_another(make, world, journal):
    """A GPU was taken out meanwhile."""
    (job,) = world.api.claim(None, 1).values()
    journal.save(record_of(parse_job("7", job), Slot(5, 1024, 2), 1000.0))
    daemon = make()
    daemon.resume()
    let_jobs_end(daemon)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]


def test_orphans_are_reaped_before_the_first_job(make, world):
    """A container of ours that no record knows is removed, as soon as Docker answers."""
    world.engine.add_foreign("decode-job-9", 9, world.engine.agent_id)
    world.engine.add_foreign("decode-job-10", 10, "another agent")
    world.api.deleted.add(9)
    make(until_idle=True).tick(100.0)
    assert "decode-job-9" in world.engine.removed
    assert world.engine.look("decode-job-10") is not None


def test_trouble_while_reaping_keeps_the_gate_shut(make, world, monkeypatch):
    """What is left over may hold the GPU."""

    def fail():
        raise EngineTrouble("hm")

    monkeypatch.setattr(world.engine, "list_ours", fail)
    make().tick(100.0)
    assert world.api.states == {}


def test_a_signal_ends_it_and_leaves_the_job_in_the_journal(world, journal):
    """The signal's number comes through the pipe; the handler does nothing."""
    world.engine.scripts[7] = Script(None)
    heartbeat = Heartbeat(world.heard, 30.0)
    daemon = Daemon(world.tools(journal), heartbeat, (SLOT,), Options(LOOK_S), world.stop, world.station())

    def signal_when_running():
        wait_until(lambda: world.engine.starts["decode-job-7"])
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=signal_when_running)
    watcher.start()
    with WakeUp() as wake:
        daemon.run(wake)
    watcher.join(30)
    assert [record.phase for record in journal.active()] == [Phase.RUNNING]
    assert not any(thread.name.startswith(("job-", "heartbeat")) for thread in threading.enumerate())


def test_the_wake_up_pipe_never_blocks():
    """However often it is rung."""
    with WakeUp() as wake:
        for _ in range(100_000):
            wake.ring()
        assert wake.sleep(0) == frozenset({0})


def test_a_ring_after_the_end_reaches_nobody():
    """A job's thread that was left behind rings; the number of the pipe may be another file's by then."""
    with WakeUp() as wake:
        pass
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    wake.ring()
    with os.fdopen(read_end, "rb", buffering=0) as other, os.fdopen(write_end, "wb"):
        assert other.read(1) is None


def test_an_error_in_the_main_thread_detaches(world, journal, monkeypatch):
    """It goes up, to end the process; containers run on, their jobs are in the journal."""
    world.engine.scripts[7] = Script(None)
    heartbeat = Heartbeat(world.heard, 30.0)
    daemon = Daemon(world.tools(journal), heartbeat, (SLOT,), Options(LOOK_S), world.stop, world.station())
    tick = daemon.tick

    def fail(now):
        if world.engine.starts["decode-job-7"]:
            raise ZeroDivisionError
        tick(now)
        wait_until(lambda: world.engine.starts["decode-job-7"])
        return 0.0

    monkeypatch.setattr(daemon, "tick", fail)
    with WakeUp() as wake, pytest.raises(ZeroDivisionError):
        daemon.run(wake)
    assert [record.phase for record in journal.active()] == [Phase.RUNNING]
    assert world.engine.look("decode-job-7").status is ContainerStatus.RUNNING
    assert not any(thread.name.startswith(("job-", "heartbeat")) for thread in threading.enumerate())


def test_a_signal_while_docker_is_asked_ends_the_look(world, journal, monkeypatch):
    """Docker may answer slowly; then no job is claimed any more, which would hold up the stop."""
    heartbeat = Heartbeat(world.heard, 30.0)
    daemon = Daemon(world.tools(journal), heartbeat, (SLOT,), Options(LOOK_S), world.stop, world.station())
    ask = world.engine.list_ours

    def answer_late():
        os.kill(os.getpid(), signal.SIGTERM)
        return ask()

    monkeypatch.setattr(world.engine, "list_ours", answer_late)
    with WakeUp() as wake:
        assert daemon.run(wake) is Ending.STOPPED
    assert list(world.api.queue) == ["7"]


def test_a_signal_that_was_seen_early_is_not_lost():
    """The next sleep tells it, without waiting."""
    with WakeUp() as wake:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.SIGTERM in wake.pending()
        assert signal.SIGTERM in wake.sleep(LONG_S)
        assert wake.pending() == frozenset()
