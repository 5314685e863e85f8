"""What a record may become and what its end means, as tables."""

from dataclasses import replace

import pytest

from agent.core.engine_models import ContainerExit, EngineLife
from agent.core.lifecycle import (
    DETAILS_MAX_CHARS,
    LEGAL,
    after_failure,
    after_gone,
    after_loss,
    after_return,
    after_surprise,
    details_of,
    duration_text,
    outcome_of,
    with_outcome,
    word_of,
)
from agent.core.models import Outcome, Phase, Record, Verdict, Word
from agent.core.reconcile import MAX_ATTEMPTS

RECORD = Record(7, Phase.RUNNING, None, 0, 1000.0)
MEMORY_MIB = 8192


def ended(code, *, oom=False, error=""):
    return ContainerExit(code, oom, error, 1000.0, 1060.0)


@pytest.mark.parametrize(
    ("how", "tail", "reason"),
    [
        (ended(3), "", "exit code 3"),
        (ended(137, oom=True), "", "killed: out of memory (limit 8192 MiB)"),
        (ended(1, oom=True), "a child was killed", "killed: out of memory (limit 8192 MiB)"),
        (
            ended(137),
            "",
            "exit code 137: ended by SIGKILL, which somebody sent or, for lack of memory, the kernel",
        ),
        (ended(143), "", "exit code 143: ended by SIGTERM"),
        (ended(1), "OSError: [Errno 28] No space left on device", "exit code 1: no space left on device"),
        (ended(127), "sh: comet: not found", "exit code 127: command not found"),
        (ended(128, error="the engine lost it"), "", "exit code 128: the engine lost it"),
    ],
)
def test_every_kind_of_end_reads_differently(how, tail, reason):
    """The reason tells exit code, memory, time and disk apart."""
    outcome = outcome_of(how, MEMORY_MIB, tail)
    assert (outcome.verdict, outcome.reason) == (Verdict.ERROR, reason)
    assert outcome.log_tail == tail


def test_exit_code_0_is_a_success_even_after_an_oom_kill():
    """A job that lost a child to the memory limit and coped has not failed."""
    assert outcome_of(ended(0, oom=True), MEMORY_MIB, "x").verdict is Verdict.FINISHED


@pytest.mark.parametrize("how", [ended(0), ended(137), ended(143), ended(137, oom=True)])
def test_what_the_agent_ended_says_so(how):
    """By what was written down before, not by any clock; if it said 0 to the SIGTERM, it was not done."""
    outcome = outcome_of(how, MEMORY_MIB, "tail", "timed out after 12 h")
    assert (outcome.verdict, outcome.reason) == (Verdict.ERROR, "timed out after 12 h")
    assert (outcome.exit_code, outcome.log_tail) == (how.code, "tail")


@pytest.mark.parametrize(
    ("attempts", "phase"),
    [(0, Phase.STAGING_IN), (MAX_ATTEMPTS - 1, Phase.STAGING_IN), (MAX_ATTEMPTS, Phase.REPORTING)],
)
def test_a_container_that_the_machine_lost_runs_again_not_for_ever(attempts, phase):
    """From the start, with nothing of the attempt before; then another worker's turn has come."""
    record = replace(
        RECORD, container_started=True, attempts=attempts, life=EngineLife("b", "s"), ending="timed out"
    )
    after = after_loss(record, "the engine was restarted")
    assert after.phase is phase
    assert phase in LEGAL[Phase.RUNNING]
    assert after.attempts == attempts
    if phase is Phase.STAGING_IN:
        assert (after.container_started, after.life, after.ending, after.outcome) == (False, None, "", None)
    else:
        assert after.outcome == Outcome(Verdict.RETURNED, "the engine was restarted")


@pytest.mark.parametrize(
    ("phase", "verdict"),
    [
        (Phase.STAGING_IN, Verdict.RETURNED),
        (Phase.RUNNING, Verdict.RETURNED),
        (Phase.STAGING_OUT, Verdict.ERROR),
    ],
)
def test_a_fault_of_the_agent_is_not_the_jobs(phase, verdict):
    """Another worker gets the job, unless it has been computed: then what there is was delivered here."""
    after = after_surprise(replace(RECORD, phase=phase), "the agent failed: KeyError")
    assert after.phase is Phase.REPORTING
    assert after.outcome == Outcome(verdict, "the agent failed: KeyError")


def test_what_is_given_back_has_no_other_outcome():
    """It is somebody else's from now on, whatever came of it here."""
    failed = with_outcome(RECORD, Outcome(Verdict.ERROR, "exit code 3", 3, "tail"))
    assert after_return(failed, "wanted back").outcome == Outcome(Verdict.RETURNED, "wanted back")


def test_the_first_error_stays_the_cause():
    """A failed upload after exit 3 becomes a note, not the reason."""
    failed = with_outcome(RECORD, Outcome(Verdict.ERROR, "exit code 3", 3, "tail"))
    both = with_outcome(failed, Outcome(Verdict.ERROR, "output a: refused"))
    assert both.outcome == failed.outcome
    assert both.notes == ("output a: refused",)


def test_a_success_is_spoilt_by_a_failed_upload():
    """`finished` only when every file is there."""
    good = with_outcome(RECORD, Outcome(Verdict.FINISHED, exit_code=0))
    spoilt = with_outcome(good, Outcome(Verdict.ERROR, "output a: refused"))
    assert spoilt.outcome is not None
    assert (spoilt.outcome.verdict, spoilt.outcome.reason) == (Verdict.ERROR, "output a: refused")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Phase.STAGING_IN, Phase.STAGING_OUT),
        (Phase.RUNNING, Phase.STAGING_OUT),
        (Phase.STAGING_OUT, Phase.REPORTING),
    ],
)
def test_a_failure_still_uploads_what_there_is(before, after):
    """After the job's own failure comes the upload, and after a failed upload the report."""
    record = after_failure(replace(RECORD, phase=before), "why")
    assert record.phase is after
    assert after in LEGAL[before]
    assert record.outcome == Outcome(Verdict.ERROR, "why")


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DONE])
def test_gone_is_done_from_anywhere(phase):
    """A job that is not ours any more goes straight to the clean-up, and says nothing."""
    record = after_gone(replace(RECORD, phase=phase))
    assert record.phase is Phase.DONE
    assert Phase.DONE in LEGAL[phase]
    assert record.outcome == Outcome(Verdict.GONE)


def test_words_of_the_phases():
    """The heartbeat says the API's words, and nothing once the report is due."""
    assert [word_of(phase) for phase in Phase] == [
        Word.PREPROCESSING,
        Word.RUNNING,
        Word.POSTPROCESSING,
        None,
        None,
    ]


def test_details_hold_reason_notes_and_the_end_of_the_log():
    """What the user reads fits the API's limit and keeps the log's end, not its beginning."""
    log = "".join(f"line {number}\n" for number in range(1000))
    outcome = Outcome(Verdict.ERROR, "exit code 3", 3, log)
    text = details_of(replace(RECORD, outcome=outcome, notes=("skipped out/x",)))
    assert text.startswith("exit code 3\nskipped out/x\n")
    assert text.endswith("line 999\n")
    assert len(text) <= DETAILS_MAX_CHARS


def test_details_of_a_success_are_its_notes_only():
    """A good job's log is among its outputs; its user gets no copy by e-mail."""
    record = replace(RECORD, outcome=Outcome(Verdict.FINISHED, log_tail="chatter"), notes=("skipped x",))
    assert details_of(record) == "skipped x"


def test_details_are_cut_when_there_are_too_many_notes():
    """Ten thousand skipped files do not make ten thousand lines."""
    notes = tuple(f"skipped {number}" for number in range(10_000))
    text = details_of(replace(RECORD, outcome=Outcome(Verdict.ERROR, "exit code 3"), notes=notes))
    assert len(text) == DETAILS_MAX_CHARS
    assert text.startswith("exit code 3\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(20, "20 s"), (2700, "45 min"), (43200, "12 h"), (5400, "1 h 30 min")]
)
def test_durations_read_like_a_person_says_them(seconds, text):
    """No `43200 s` in a user's e-mail."""
    assert duration_text(seconds) == text
