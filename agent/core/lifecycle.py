"""What a job's record may become, and what its end means."""

from dataclasses import replace

from agent.core.blame import DISK_FULL
from agent.core.engine_models import ContainerExit
from agent.core.models import Outcome, Phase, Record, Verdict, Word
from agent.core.reconcile import MAX_ATTEMPTS
from agent.core.wire import DETAILS_MAX_CHARS

LOG_TAIL_LINES = 20

LEGAL: dict[Phase, frozenset[Phase]] = {
    Phase.STAGING_IN: frozenset({Phase.RUNNING, Phase.STAGING_OUT, Phase.REPORTING, Phase.DONE}),
    Phase.RUNNING: frozenset({Phase.STAGING_IN, Phase.STAGING_OUT, Phase.REPORTING, Phase.DONE}),
    Phase.STAGING_OUT: frozenset({Phase.REPORTING, Phase.DONE}),
    Phase.REPORTING: frozenset({Phase.DONE}),
    Phase.DONE: frozenset(),
}
"""Which phase may follow which: back to the start if the host's trouble ended the container, to REPORTING
from anywhere if the job is given back, DONE from anywhere if gone."""

_MEANINGS = {
    126: "the command cannot be executed",
    127: "command not found",
    132: "ended by SIGILL (the processor does not know an instruction)",
    134: "ended by SIGABRT",
    135: "ended by SIGBUS (often: /dev/shm is full)",
    136: "ended by SIGFPE",
    137: "ended by SIGKILL, which somebody sent or, for lack of memory, the kernel",
    139: "ended by SIGSEGV",
    143: "ended by SIGTERM",
}


def word_of(phase: Phase) -> Word | None:
    """What the heartbeat says in this phase; None: nothing."""
    match phase:
        case Phase.STAGING_IN:
            return Word.PREPROCESSING
        case Phase.RUNNING:
            return Word.RUNNING
        case Phase.STAGING_OUT:
            return Word.POSTPROCESSING
        case Phase.REPORTING | Phase.DONE:
            return None


def duration_text(seconds: float) -> str:
    """`12 h`, `1 h 30 min`, `45 min`, `20 s`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if whole < 120:  # noqa: PLR2004  under two minutes, seconds say more
        return f"{whole} s"
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def outcome_of(ended: ContainerExit, memory_mib: int, log_tail: str, ending: str = "") -> Outcome:
    """The verdict on a container that ended; an exit code of 0 is a success unless the agent ended it.

    `memory_mib`: what it was held to. `ending`: why the agent itself ended it, before its work was done.
    """
    if ended.code == 0 and not ended.error and not ending:
        return Outcome(Verdict.FINISHED, exit_code=0, log_tail=log_tail)
    return Outcome(Verdict.ERROR, ending or _reason_of(ended, memory_mib, log_tail), ended.code, log_tail)


def _reason_of(ended: ContainerExit, memory_mib: int, log_tail: str) -> str:
    if ended.oom_killed:
        return f"killed: out of memory (limit {memory_mib} MiB)"
    is_disk_full = DISK_FULL in f"{ended.error}\n{log_tail}".lower()
    meaning = DISK_FULL if is_disk_full else ended.error or _MEANINGS.get(ended.code, "")
    return f"exit code {ended.code}: {meaning}" if meaning else f"exit code {ended.code}"


def after_failure(record: Record, reason: str) -> Record:
    """The record of a job that failed by its own fault: what there is gets uploaded, then reported."""
    phase = Phase.REPORTING if record.phase is Phase.STAGING_OUT else Phase.STAGING_OUT
    return replace(with_outcome(record, Outcome(Verdict.ERROR, reason)), phase=phase)


def after_return(record: Record, reason: str) -> Record:
    """The record of a job that is given back to the queue; what it has done so far is thrown away."""
    return replace(record, phase=Phase.REPORTING, outcome=Outcome(Verdict.RETURNED, reason))


def after_loss(record: Record, reason: str) -> Record:
    """The record of a job whose container this machine has lost: from the start again, or given back."""
    if record.attempts >= MAX_ATTEMPTS:
        return after_return(record, reason)
    return replace(record, phase=Phase.STAGING_IN, container_started=False, life=None, ending="")


def after_surprise(record: Record, reason: str) -> Record:
    """The record of a job that the agent's own code keeps failing: another worker may do better.

    Whatever has been computed is delivered.
    """
    is_computed = record.phase is Phase.STAGING_OUT
    return after_failure(record, reason) if is_computed else after_return(record, reason)


def after_gone(record: Record) -> Record:
    """The record of a job that is not ours any more."""
    return replace(record, phase=Phase.DONE, outcome=Outcome(Verdict.GONE))


def with_outcome(record: Record, outcome: Outcome) -> Record:
    """The outcome that came first wins; only a success may still be spoilt by what comes after it."""
    before = record.outcome
    if before is None:
        return replace(record, outcome=outcome)
    if before.verdict is Verdict.FINISHED and outcome.verdict is not Verdict.FINISHED:
        spoilt = replace(outcome, exit_code=before.exit_code, log_tail=before.log_tail)
        return replace(record, outcome=spoilt)
    if outcome.reason and outcome.reason != before.reason:
        return replace(record, notes=(*record.notes, outcome.reason))
    return record


def details_of(record: Record) -> str:
    """The runtime_details to report: the reason, the notes and as much of the log's end as fits."""
    outcome = record.outcome
    if outcome is None:
        return ""
    head = [outcome.reason] if outcome.reason else []
    text = "\n".join((*head, *record.notes))
    if len(text) > DETAILS_MAX_CHARS:
        return text[: DETAILS_MAX_CHARS - 1] + "…"
    if outcome.verdict is not Verdict.ERROR or not outcome.log_tail:
        return text
    title = "\nend of the log:\n"
    room = DETAILS_MAX_CHARS - len(text) - len(title)
    return text + title + outcome.log_tail[-room:] if room > 0 else text
