"""What a record may become and what its end means, as tables."""

from dataclasses import replace

import pytest

from agent.core.engine_models import ContainerExit
from agent.core.lifecycle import (
    DETAILS_MAX_CHARS,
    LEGAL,
    RunLimits,
    after_failure,
    after_gone,
    details_of,
    duration_text,
    outcome_of,
    with_outcome,
    word_of,
)
from agent.core.models import Outcome, Phase, Record, Verdict, Word

RECORD = Record(7, Phase.RUNNING, None, 0, 1000.0)
LIMITS = RunLimits(8192, 12 * 3600.0)


def ended(code, *, oom=False, error="", ran_s=60.0):
    return ContainerExit(code, oom, error, 1000.0, 1000.0 + ran_s)


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
        (ended(143, ran_s=12 * 3600.0), "", "timed out after 12 h"),
        (ended(1), "OSError: [Errno 28] No space left on device", "exit code 1: no space left on device"),
        (ended(127), "sh: comet: not found", "exit code 127: command not found"),
        (ended(128, error="the engine lost it"), "", "exit code 128: the engine lost it"),
    ],
)
def test_every_kind_of_end_reads_differently(how, tail, reason):
    """The reason tells exit code, memory, time and disk apart."""
    outcome = outcome_of(how, LIMITS, tail)
    assert (outcome.verdict, outcome.reason) == (Verdict.ERROR, reason)
    assert outcome.log_tail == tail


def test_exit_code_0_is_a_success_even_after_an_oom_kill():
    """A job that lost a child to the memory limit and coped has not failed."""
    assert outcome_of(ended(0, oom=True), LIMITS, "x").verdict is Verdict.FINISHED


def test_a_kill_before_the_time_is_over_is_no_time_out():
    """SIGKILL after a minute of twelve hours is not called a time-out."""
    assert "timed out" not in outcome_of(ended(137, ran_s=60), LIMITS, "").reason


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
