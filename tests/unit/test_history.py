"""What is left of a job in the journal when all else of it is removed."""

from agent.core.intake import parse_job
from agent.core.models import Outcome, Phase, Record, Verdict
from tests.fakes.engine import Script
from tests.unit.world import IMAGE, SLOT, spec

RECORD = Record(7, Phase.STAGING_IN, parse_job("7", spec()).spec, SLOT.id, 1000.0)


def live(world, journal, record):
    world.runner(world.tools(journal), record, is_recovered=False).run()


def test_the_end_of_the_log_outlives_the_container(world, journal):
    """As the container wrote it, the last 64 KiB."""
    head, tail = b"x" * 100_000, b"\x1b[31mred\x1b[0m\r\n" + "ä".encode() * 1000
    world.engine.scripts[7] = Script(exit_code=3, log=head + tail)
    world.api.claim(None, 1)
    live(world, journal, RECORD)
    kept = journal.past_log(7)
    assert kept.encode() == (head + tail)[-64 * 1024 :]
    (past,) = journal.history(10)
    assert (past.job_id, past.verdict, past.exit_code, past.image) == (7, "error", 3, IMAGE)


def test_a_folder_that_was_removed_before_a_crash_leaves_the_last_lines(world, journal):
    """The record has the end of the log too, if less of it."""
    world.api.claim(None, 1)
    live(world, journal, RECORD)
    outcome = Outcome(Verdict.ERROR, "exit code 3", 3, "the last line")
    done = Record(8, Phase.DONE, RECORD.spec, SLOT.id, 1000.0, outcome=outcome)
    journal.save(done)
    live(world, journal, done)
    assert journal.past_log(8) == "the last line"


def test_a_job_without_a_container_has_no_log(world, journal):
    """A spec that was refused, say."""
    journal.save(Record(9, Phase.DONE, None, SLOT.id, 1000.0))
    live(world, journal, Record(9, Phase.DONE, None, SLOT.id, 1000.0))
    assert journal.past_log(9) == ""
