"""The threads of jobs: what becomes of a job whose thread ends before it does, or never begins."""

import threading

import pytest

from agent.core.errors import DiskTrouble
from agent.core.models import Phase, Slot, Word
from agent.core.status import Mode
from agent.runner import Runner
from tests.fakes.engine import Script
from tests.fakes.waiting import wait_until
from tests.unit.world import SLOT, let_jobs_end, spec

NAME = "decode-job-7"
OTHER = Slot(1, 1024, 2)


@pytest.fixture
def falling(monkeypatch):
    """Threads of job 7 end by an error so many times, after or instead of what they have to do."""

    def act(times, *, error=ZeroDivisionError, after=False):
        run = Runner.run
        left = [times]

        def fall(runner):
            if runner.record.job_id != 7 or not left[0]:
                return run(runner)
            left[0] -= 1
            if after:
                run(runner)
            raise error

        monkeypatch.setattr(Runner, "run", fall)

    return act


def no_threads(monkeypatch, is_refused=lambda thread: thread.name.startswith("job-")):
    """The machine has no more of them."""
    start = threading.Thread.start

    def refuse(thread):
        if is_refused(thread):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def fallen(daemon):
    """Wait until job 7's thread has ended; when it is gone on with."""
    let_jobs_end(daemon)
    daemon.tick(100.0)
    return daemon._crew._fallen[7].again_at


def test_a_fallen_thread_ends_only_its_attempt(make, world, journal, falling, caplog):
    """The process goes on with the job after a pause; the other job does not notice; it runs once."""
    falling(1)
    world.engine.scripts[8] = Script(None)
    world.api.queue["8"] = spec()
    daemon = make(slots=(SLOT, OTHER))
    daemon.tick(100.0)
    (thread,) = daemon._crew._members
    thread.join(30)
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts["decode-job-8"])
    assert "Job 7: Its thread ended by an error." in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert daemon.works_on(7)
    assert daemon._crew.free_of((SLOT, OTHER)) == []
    (trouble,) = [job.trouble for job in daemon.status().jobs if job.job_id == 7]
    assert trouble.text == "the agent failed in its thread"
    again_at = daemon._crew._fallen[7].again_at
    assert daemon.tick(again_at - 1) == again_at
    assert 7 in daemon._crew._fallen
    daemon.tick(again_at)
    wait_until(lambda: not daemon._crew._ended.empty())
    daemon.tick(again_at)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]
    assert world.engine.starts[NAME] == 1
    assert [record.job_id for record in journal.active()] == [8]
    assert daemon.job_ids() == (8,)


def test_the_pauses_grow(make, falling):
    """10 s, 20, 40 … 10 min: never faster, never given up."""
    falling(99)
    daemon = make()
    daemon.tick(100.0)
    pauses = []
    for _ in range(8):
        again_at = fallen(daemon)
        pauses.append(daemon._crew._fallen[7].falls)
        daemon.tick(again_at)
    assert pauses == list(range(1, 9))


@pytest.mark.parametrize("error", [MemoryError, RuntimeError("can't start new thread"), AssertionError])
def test_whatever_ended_it(make, world, falling, error):
    """An error is an error."""
    falling(2, error=error)
    daemon = make()
    daemon.tick(100.0)
    for _ in range(2):
        daemon.tick(fallen(daemon))
    let_jobs_end(daemon)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]


def test_a_runner_that_leaves_a_job_to_the_next_start_is_not_waited_for(make, world, monkeypatch):
    """It gave up in its last phase: this process tries again, for no restart may come for weeks."""
    daemon = make()
    fails = [True]
    work = Runner.__init__

    def make_it(runner, *args, **kwargs):
        work(runner, *args, **kwargs)
        report = runner._work.report

        def fail(record, **how):
            if fails[0]:
                raise ZeroDivisionError
            return report(record, **how)

        runner._work.report = fail

    monkeypatch.setattr(Runner, "__init__", make_it)
    daemon.tick(100.0)
    again_at = fallen(daemon)
    assert daemon._crew._fallen[7].record.phase is Phase.REPORTING
    fails[0] = False
    daemon.tick(again_at)
    let_jobs_end(daemon)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]
    assert world.engine.starts[NAME] == 1


def test_a_job_that_is_closed_is_over(make, world, journal, falling):
    """Its thread fell when nothing was left to do: it is not begun anew."""
    falling(1, after=True)
    daemon = make()
    daemon.tick(100.0)
    let_jobs_end(daemon)
    daemon.tick(100.0)
    assert journal.active() == []
    assert daemon._crew._fallen == {}
    assert world.engine.starts[NAME] == 1


def test_a_job_that_was_closed_as_its_thread_fell_is_over(make, world, journal, monkeypatch):
    """The journal knows no such job any more: there is nothing to go on with."""
    close, closed = journal.close_job, []

    def close_and_fail(*args):
        if not closed:
            closed.append(close(*args))
        raise ZeroDivisionError

    daemon = make()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "close_job", close_and_fail)
        daemon.tick(100.0)
        again_at = fallen(daemon)
    daemon.tick(again_at)
    assert len(daemon._crew) == 0
    assert world.engine.starts[NAME] == 1
    assert len(journal.history(10)) == 1


def test_no_thread_for_a_job_that_was_claimed(make, world, journal, monkeypatch, caplog):
    """It is in the journal, so nothing can lose it, and is tried again; its slot takes nothing else."""
    world.api.queue["8"] = spec()
    daemon = make()
    with monkeypatch.context() as patch:
        no_threads(patch)
        daemon.tick(100.0)
        assert [record.phase for record in journal.active()] == [Phase.STAGING_IN]
        assert [job.trouble.text for job in daemon.status().jobs] == ["no thread for it can be started"]
        first_at = daemon._crew._fallen[7].again_at
        daemon.tick(first_at)
        assert daemon._crew._fallen[7].falls == 2
    assert caplog.text.count("Its thread cannot be started: can't start new thread.") == 2
    assert list(world.api.queue) == ["8"]
    daemon.tick(1e9)
    let_jobs_end(daemon)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]


def test_no_thread_and_a_full_disk(make, world, journal, monkeypatch):
    """Then it is kept in memory."""

    def fail(_record):
        raise DiskTrouble("no space left on device")

    daemon = make()
    with monkeypatch.context() as patch:
        no_threads(patch)
        patch.setattr(journal, "save", fail)
        daemon.tick(100.0)
    assert journal.active() == []
    daemon.tick(1e9)
    let_jobs_end(daemon)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]


def test_a_drain_waits_for_a_job_that_fell(make, falling):
    """It is under way as any other."""
    falling(1)
    daemon = make()
    daemon.tick(100.0)
    again_at = fallen(daemon)
    daemon.owner.steer(Mode.LEAVING)
    assert daemon.tick(again_at - 1) is not None
    daemon.tick(again_at)
    let_jobs_end(daemon)
    assert daemon.tick(again_at) is None


def test_a_job_that_fell_can_be_given_back(make, world, falling):
    """At once, not after its pause."""
    falling(1)
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    fallen(daemon)
    assert daemon.release(7, "a demo")
    daemon.tick(101.0)
    let_jobs_end(daemon)
    assert world.api.said[-1] == (7, Word.QUEUED, "a demo")
    daemon.tick(102.0)
    assert len(daemon._crew) == 0


def test_a_release_is_kept_where_no_thread_can_be_started(make, world, monkeypatch, falling):
    """And the main thread does not spin meanwhile."""
    falling(1)
    daemon = make()
    daemon.tick(100.0)
    fallen(daemon)
    with monkeypatch.context() as patch:
        no_threads(patch)
        daemon.release(7, "a demo")
        daemon.tick(101.0)
        assert daemon.tick(102.0) > 102.0
    daemon.tick(1e9)
    let_jobs_end(daemon)
    assert world.api.said[-1] == (7, Word.QUEUED, "a demo")


def test_a_stop_is_no_fall(make, world):
    """The next start goes on with the job, not this process."""
    world.engine.scripts[7] = Script(None)
    daemon = make()
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts[NAME])
    world.stop.set()
    let_jobs_end(daemon)
    assert daemon._crew.reap()
    assert daemon._crew._fallen == {}
