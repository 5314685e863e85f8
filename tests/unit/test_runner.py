"""One job's loop, when things around it go wrong."""

import threading
from dataclasses import replace

import pytest

from agent.core.engine_models import ContainerStatus
from agent.core.errors import DiskTrouble, EngineTrouble
from agent.core.intake import parse_job
from agent.core.models import Outcome, Phase, Record, Verdict, Word
from agent.core.reconcile import MAX_ATTEMPTS
from agent.core.stopping import Stop
from agent.runner import UNEXPECTED_MAX
from tests.fakes.engine import Script
from tests.fakes.waiting import wait_until
from tests.unit.world import SLOT, World, spec

NAME = "decode-job-7"


@pytest.fixture
def record(world):
    world.api.claim(None, 1)
    return Record(7, Phase.STAGING_IN, parse_job("7", spec()).spec, SLOT.id, 1000.0)


def run(world, journal, record, *, is_recovered=False):
    world.runner(world.tools(journal), record, is_recovered=is_recovered).run()
    return world.api.verdicts(7)


def failing(port, name, errors):
    """Have a method raise these errors, one a call, before it works."""
    method, left = getattr(port, name), list(errors)

    def call(*args, **kwargs):
        if left:
            raise left.pop(0)
        return method(*args, **kwargs)

    setattr(port, name, call)


@pytest.mark.parametrize("method", ["ensure_image", "look", "ensure_started", "wait", "save_log", "remove"])
def test_an_engine_that_is_away_costs_time_only(world, journal, record, method):
    """The same phase again until it works; the container runs once."""
    failing(world.engine, method, [EngineTrouble("Docker is away")] * 4)
    assert run(world, journal, record) == [(Word.FINISHED, "")]
    assert world.engine.starts[NAME] == 1


@pytest.mark.parametrize("method", ["save", "mark_uploaded", "close_job"])
def test_a_full_disk_under_the_journal_costs_time_only(world, journal, record, method):
    """What cannot be written down is done again."""
    failing(journal, method, [DiskTrouble("the disk is full")] * 3)
    assert run(world, journal, record) == [(Word.FINISHED, "")]
    assert journal.active() == []


def test_a_container_that_vanished_runs_again_from_the_start(world, journal, record):
    """Somebody removed it: the folder is emptied, the inputs come anew, the verdict is the job's own."""
    started = replace(record, phase=Phase.RUNNING, container_started=True, attempts=1)
    journal.save(started)
    folder = world.tools(journal).folder_of(7)
    folder.create()
    folder.make(("output",))
    (world.path / "jobs/7/files/output/half.csv").write_text("half")
    assert run(world, journal, started, is_recovered=True) == [(Word.FINISHED, "")]
    assert world.engine.starts[NAME] == 1
    assert "7/output/output/half.csv" not in world.api.uploads


def test_a_journal_that_lost_its_end_brings_no_job_back_to_life(world, journal, record):
    """A power cut took the last lines: the verdict was said, and nothing is said after it."""
    stale = replace(record, phase=Phase.STAGING_OUT, container_started=True, attempts=1)
    journal.save(stale)
    world.api.states[7] = Word.FINISHED
    assert run(world, journal, stale, is_recovered=True) == []
    assert world.api.said == []
    assert journal.active() == []


def test_a_container_that_vanishes_again_and_again_is_given_back(world, journal, record):
    """Not for ever here, and not as the job's error."""
    started = replace(record, phase=Phase.RUNNING, container_started=True, attempts=MAX_ATTEMPTS)
    journal.save(started)
    assert run(world, journal, started, is_recovered=True) == []
    assert world.api.said[-1] == (7, Word.QUEUED, "its container vanished: somebody removed it")


def test_it_remembers_that_the_container_ran(world, journal, record):
    """Only so can one that is missing later be told from one that never was."""
    seen = []
    wait = world.engine.wait
    world.engine.wait = lambda *args, **kwargs: (seen.extend(journal.active()), wait(*args, **kwargs))[1]
    run(world, journal, record)
    assert [(one.container_started, one.attempts) for one in seen] == [(True, 1)]


def test_an_exited_container_is_read_not_run(world, journal, record):
    """It ended while the agent was away."""
    journal.save(replace(record, phase=Phase.RUNNING))
    tools = world.tools(journal)
    world.engine.scripts[7] = Script(3)
    runner = world.runner(tools, replace(record, phase=Phase.RUNNING, attempts=1), is_recovered=True)
    world.engine.ensure_started(runner._work._plan(record.spec))
    world.engine.finish(NAME, 3)
    runner.run()
    assert world.api.verdicts(7) == [(Word.ERROR, "exit code 3")]
    assert world.engine.starts[NAME] == 1


def test_a_surprise_is_tried_again_then_the_job_is_given_back(world, journal, record, caplog):
    """A bug of ours is logged with the job, does not keep it for ever and is not called its error."""
    failing(world.engine, "wait", [RuntimeError("who would have thought")] * UNEXPECTED_MAX)
    assert run(world, journal, record) == []
    assert world.api.said[-1] == (7, Word.QUEUED, "the agent failed: RuntimeError")
    assert world.engine.list_ours() == []
    assert "who would have thought" in caplog.text
    assert "Job 7:" in caplog.text


def test_two_surprises_are_survived(world, journal, record):
    """Twice is chance."""
    failing(world.engine, "wait", [RuntimeError("hm")] * (UNEXPECTED_MAX - 1))
    assert run(world, journal, record) == [(Word.FINISHED, "")]


def test_a_job_that_is_gone_is_cleaned_up_without_a_word(world, journal, record):
    """404 to the first keep-alive: container, folder and record go; the journal's history says gone."""
    world.api.deletes_on = Word.RUNNING
    assert run(world, journal, record) == []
    assert world.engine.list_ours() == []
    assert journal.active() == []
    assert world.api.refused == [(7, Word.RUNNING)]


def test_a_stop_while_it_runs_leaves_the_container_alone(world, journal, record, caplog):
    """Detached: the record says RUNNING, the container runs on."""
    world.engine.scripts[7] = Script(None)
    thread = threading.Thread(target=run, args=(world, journal, record))
    thread.start()
    wait_until(lambda: world.engine.starts[NAME])
    world.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert [one.phase for one in journal.active()] == [Phase.RUNNING]
    assert world.engine.look(NAME).status is ContainerStatus.RUNNING
    assert not [line for line in caplog.records if line.levelname == "ERROR"]
    assert world.api.verdicts(7) == []


def test_a_strangers_container_is_left_alone(world, journal, record):
    """A job whose container's name somebody else took is closed all the same."""
    world.engine.add_foreign(NAME, 7, "another agent")
    journal.save(replace(record, phase=Phase.DONE, outcome=Outcome(Verdict.GONE)))
    world.runner(world.tools(journal), journal.active()[0], is_recovered=True).run()
    assert journal.active() == []
    assert world.engine.look(NAME).agent_id == "another agent"


def test_its_time_is_over(tmp_path):
    """JOB_MAX_RUNTIME ends the container; the reason says so."""
    world = World(tmp_path, max_runtime_s=0.5)
    world.api.claim(None, 1)
    record = Record(7, Phase.STAGING_IN, parse_job("7", spec()).spec, SLOT.id, 1000.0)
    world.engine.scripts[7] = Script(None)
    journal = world.journal()
    ((word, details),) = run(world, journal, record)
    journal.close()
    assert word is Word.ERROR
    assert details.startswith("timed out after ")
    assert world.engine.killed == [NAME]


def test_a_refused_spec_is_reported(world, journal):
    """A record without a spec has nothing before it but its report."""
    world.api.claim(None, 1)
    outcome = Outcome(Verdict.ERROR, "malformed job spec: app")
    record = Record(7, Phase.REPORTING, None, SLOT.id, 1000.0, outcome=outcome)
    assert run(world, journal, record) == [(Word.ERROR, "malformed job spec: app")]


@pytest.mark.parametrize(("exit_code", "level"), [(0, "INFO"), (3, "WARNING")])
def test_a_failed_job_stands_out_in_the_log(world, journal, record, caplog, exit_code, level):
    """Its verdict is a warning; that of a good one is not."""
    caplog.set_level("INFO")
    world.engine.scripts[7] = Script(exit_code)
    run(world, journal, record)
    told = [entry for entry in caplog.records if "Reported as" in entry.message]
    assert [entry.levelname for entry in told] == [level]


def test_a_running_job_is_as_old_as_its_container(world, journal, record):
    """For the agent that started it, and for one that came later."""
    world.engine.scripts[7] = Script(None)
    world.engine._clock = lambda: 500.0
    for is_recovered in (False, True):
        world.stop = Stop()
        runner = world.runner(world.tools(journal), record, is_recovered=is_recovered)
        thread = threading.Thread(target=runner.run)
        thread.start()
        wait_until(lambda runner=runner: runner.track.status().phase_since == 500.0)
        world.stop.set()
        thread.join(30)
        assert not thread.is_alive()
        (record,) = journal.active()
