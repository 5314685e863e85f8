"""The books: what must be true of every job after a storm. Pure, over what was written down meanwhile.

Each check gives sentences, one for each violation; none is a balanced book.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mock_api.job import StatusChange
from mock_api.requestlog import LoggedRequest
from mock_api.specs import JobState
from tests.chaos.facts import Fallen, Life, Run
from tests.chaos.jobs import Expected
from tests.chaos.plan import BlowKind

WORKER = "worker1@example.com"
_TERMINAL = {JobState.finished, JobState.error}
_ENGINE_ENDS = {BlowKind.RESTART_ENGINE, BlowKind.KILL_ENGINE}
_HOST_TROUBLE = {*_ENGINE_ENDS, BlowKind.REMOVE_CONTAINER, BlowKind.FILL_DISK, BlowKind.FREEZE_ENGINE}
_EDGE_S = 3.0
"""An end that is so near to the engine's own may have been lost with it."""
_IN_FLIGHT_S = 2.0
"""Requests of parallel transfers may be on their way when the 404 arrives."""


class Account(StrEnum):
    """How a job ended, for the table."""

    FINISHED = "finished"
    FAILED = "error, its own"
    KILLED = "error 137, killed by somebody"
    DELETED = "deleted by its user"
    RETURNED = "given back with a reason"
    TAKEN = "given to another worker by the API"
    CLAIM_LOST = "claim's answer lost, run elsewhere after the API's time-out"
    NEVER_OURS = "never ours"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class JobBook:
    """All that is known of one job. `claimed_at`: unix seconds of this machine's clock."""

    job_id: str
    name: str
    expected: Expected
    history: tuple[StatusChange, ...]
    details: str
    runs: tuple[Run, ...]
    requests: tuple[LoggedRequest, ...]
    outputs: Mapping[str, str]
    mails: int
    deleted: bool
    claimed_at: float | None = None

    @property
    def said(self) -> list[StatusChange]:
        """What our worker said of it, claims left out."""
        return [one for one in self.history if one.account == WORKER and one.status is not JobState.pulled]


@dataclass(frozen=True, slots=True)
class StormBook:
    """What fell, and how the agent fared."""

    fallen: tuple[Fallen, ...]
    lives: tuple[Life, ...]
    claims: tuple[LoggedRequest, ...] = ()
    taken_away: frozenset[str] = field(default_factory=frozenset)

    def has(self, kinds: Iterable[BlowKind], began_at: float, ended_at: float, target: str = "") -> bool:
        """Whether such a blow was on between these times (and hit that, if it says what it hit)."""
        return any(
            one.kind in set(kinds) and one.overlaps(began_at, ended_at) and one.target in {"", target}
            for one in self.fallen
        )

    def hit(self, kind: BlowKind, target: str) -> bool:
        """Whether a blow of this kind hit that."""
        return any(one.kind is kind and one.target == target for one in self.fallen)


def account_of(book: JobBook, storm: StormBook) -> Account:
    """How it ended, as the history tells it."""
    words = {one.status for one in book.said}
    if book.deleted and not _verdicts(book):
        return Account.DELETED
    if JobState.queued in words:
        return Account.RETURNED
    if words & _TERMINAL:
        if JobState.finished in words:
            return Account.FINISHED
        last = book.runs[-1].container if book.runs else ""
        return Account.KILLED if storm.hit(BlowKind.KILL_CONTAINER, last) else Account.FAILED
    if book.job_id in storm.taken_away:
        return Account.TAKEN
    if words:
        return Account.LOST
    return Account.CLAIM_LOST if book.claimed_at is not None else Account.NEVER_OURS


def check_job(book: JobBook, storm: StormBook) -> list[str]:
    """A sentence for each violation."""
    found = [*_check_verdict(book, storm), *_check_runs(book, storm), *_check_silence(book, storm)]
    return [f"job {book.job_id} ({book.name}): {sentence}" for sentence in found]


def _verdicts(book: JobBook) -> list[StatusChange]:
    return [one for one in book.history if one.status in _TERMINAL]


def _check_verdict(book: JobBook, storm: StormBook) -> Iterator[str]:
    verdicts = _verdicts(book)
    if book.mails != len(verdicts) or len(verdicts) > 1:
        yield f"{len(verdicts)} verdicts and {book.mails} mails"
    yield from _check_last_word(book)
    match account_of(book, storm):
        case Account.DELETED:
            return
        case Account.FINISHED | Account.FAILED | Account.KILLED:
            yield from _check_own_verdict(book, storm, verdicts[0].status)
        case Account.RETURNED:
            yield from _check_return(book, storm)
        case Account.TAKEN | Account.CLAIM_LOST | Account.NEVER_OURS | Account.LOST as account:
            yield from _check_elsewhere(book, storm, account)
    if not verdicts:
        yield f"has no verdict; its last word was {book.history[-1].status}"


def _check_elsewhere(book: JobBook, storm: StormBook, account: Account) -> Iterator[str]:
    """Another worker had to do it."""
    if account is Account.CLAIM_LOST and not _was_claim_lost(book, storm):
        yield "was claimed and never spoken of, though nothing kept the agent from it"
    if account is Account.NEVER_OURS:
        yield "was never claimed by the agent"
    if account is Account.LOST:
        yield f"was left at {book.said[-1].status}: lost"


def _check_last_word(book: JobBook) -> Iterator[str]:
    last_words = [at for at, one in enumerate(book.said) if one.status in {*_TERMINAL, JobState.queued}]
    if last_words and last_words[0] != len(book.said) - 1:
        yield f"said after its verdict: {', '.join(one.status for one in book.said[last_words[0] + 1 :])}"


def _check_own_verdict(book: JobBook, storm: StormBook, status: JobState) -> Iterator[str]:
    if not book.runs:
        yield f"{status} ({_head(book)}), though it never ran"
        return
    last, expected = book.runs[-1], book.expected
    was_killed = storm.hit(BlowKind.KILL_CONTAINER, last.container)
    if was_killed and status is JobState.error and _is_kill(book):
        return
    if last.ended_at is None and not _ends_without_mark(book):
        yield f"{status} ({_head(book)}), though its last run did not come to its end"
        return
    right = JobState.error if expected.code else JobState.finished
    if status is not right or not book.details.startswith(_reasons(book, storm)):
        yield f"{status} ({_head(book)}) in place of {right} ({expected.reason})"
        return
    yield from _check_outputs(book)


def _is_kill(book: JobBook) -> bool:
    return book.details.startswith(("exit code 137", "killed"))


def _ends_without_mark(book: JobBook) -> bool:
    """Out of memory may take the shell with it, the marks' own."""
    return book.expected.code == 137 and _is_kill(book)


def _reasons(book: JobBook, storm: StormBook) -> tuple[str, ...]:
    """What the reason may begin with: that the memory was short is lost with the agent that watched."""
    run = book.runs[-1]
    until = (run.ended_at or run.began_at + 60) + _EDGE_S
    watched = not any(
        life.how and run.began_at - _EDGE_S <= (life.ended_at or 0) <= until for life in storm.lives
    )
    watched = watched and not storm.has({*_ENGINE_ENDS, BlowKind.FREEZE_AGENT}, run.began_at, until)
    if book.expected.code == 137 and not watched:
        return (book.expected.reason, "exit code 137")
    return (book.expected.reason,)


def _check_outputs(book: JobBook) -> Iterator[str]:
    wanted = book.expected.outputs
    if missing := sorted(wanted.keys() - book.outputs.keys()):
        yield f"{len(missing)} outputs missing, such as {missing[0]}"
    if more := sorted(book.outputs.keys() - wanted.keys()):
        yield f"{len(more)} outputs too many, such as {more[0]}"
    if bad := sorted(
        path for path in wanted.keys() & book.outputs.keys() if wanted[path] != book.outputs[path]
    ):
        yield f"{len(bad)} outputs are not what the job wrote, such as {bad[0]}"


def _check_return(book: JobBook, storm: StormBook) -> Iterator[str]:
    if not book.details:
        yield "given back without a reason"
    released = storm.hit(BlowKind.RELEASE, book.job_id)
    since = book.claimed_at or 0.0
    if not released and not storm.has(_HOST_TROUBLE, since, float("inf"), _container_of(book)):
        yield f"given back ({_head(book)}), though nothing was wrong with the machine"


def _container_of(book: JobBook) -> str:
    return book.runs[-1].container if book.runs else ""


def _was_claim_lost(book: JobBook, storm: StormBook) -> bool:
    """The answer was struck, or the agent died before it had written the job down."""
    at = book.claimed_at or 0.0
    is_struck = any(one.fault and abs(one.at - at) < 1.0 for one in storm.claims)
    died = any(life.ended_at and at - 1.0 <= life.ended_at <= at + 15.0 for life in storm.lives)
    return is_struck or died or storm.has({BlowKind.FILL_DISK}, at - 1.0, at + 60.0)


def _check_runs(book: JobBook, storm: StormBook) -> Iterator[str]:
    """Each run but the last one must have a reason to be followed by another."""
    for run, following in zip(book.runs, book.runs[1:], strict=False):
        was_removed = storm.hit(BlowKind.REMOVE_CONTAINER, run.container)
        if run.ended_at is None:
            is_excused = was_removed or storm.has(
                {*_ENGINE_ENDS, BlowKind.FILL_DISK}, run.began_at - _EDGE_S, following.began_at
            )
            if not is_excused:
                yield "began again though nothing had ended its container"
        elif (
            not was_removed
            and not storm.has(_ENGINE_ENDS, run.ended_at - _EDGE_S, run.ended_at + _EDGE_S)
            and not storm.has({BlowKind.FILL_DISK}, run.began_at, following.began_at)
        ):
            yield f"ran to its end, and again {following.began_at - run.ended_at:.1f} s later"


def _check_silence(book: JobBook, storm: StormBook) -> Iterator[str]:
    """Nothing after a 404, nothing but a question after a verdict."""
    ours = [one for one in book.requests if one.account == WORKER]
    gone = next((one for one in ours if _is_gone(one)), None)
    if gone is not None:
        for one in ours:
            if one.at > gone.at + _IN_FLIGHT_S and not _may_ask_anew(one, gone, storm):
                yield f"after a 404: {one.method} {one.target[:80]}"
    heard = [at for at, one in enumerate(ours) if _is_verdict(one) and one.status == 204]
    if heard:
        for one in ours[heard[0] + 1 :]:
            if one.method != "GET" or not one.path.endswith("/status"):
                yield f"after its verdict: {one.method} {one.target[:80]}"


def _is_gone(request: LoggedRequest) -> bool:
    return request.status == 404 and request.fault is None and request.path.endswith("/status")


def _is_verdict(request: LoggedRequest) -> bool:
    return request.method == "PUT" and re.search("status=(finished|error|queued)", request.query) is not None


def _may_ask_anew(request: LoggedRequest, gone: LoggedRequest, storm: StormBook) -> bool:
    """A later life that did not know it yet asks for the job's state, and no more."""
    has_died = any(life.ended_at and gone.at <= life.ended_at <= request.at for life in storm.lives)
    return has_died and request.path.endswith("/status")


def _head(book: JobBook) -> str:
    return book.details.partition("\n")[0][:120]


def check_leftovers(leftovers: Mapping[str, Sequence[str]]) -> list[str]:
    """`leftovers`: what was found of each kind."""
    return [f"left over, {kind}: {', '.join(found)}" for kind, found in leftovers.items() if found]


def check_lives(lives: Iterable[Life]) -> list[str]:
    """The agent ends when it is told to, and not by itself."""
    return [f"the agent ended {life.how}" for life in lives if life.how and life.how.startswith("by itself")]
