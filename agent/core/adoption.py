"""What a container's label says of its job, for an agent that lost its journal, and what becomes of both."""

import json
from collections.abc import Iterable
from enum import Enum
from typing import Any

from agent.core.container import container_name
from agent.core.engine_models import ContainerFact, ContainerStatus, EngineLife
from agent.core.intake import parse_job
from agent.core.models import Job, Phase, Record, Word

NOTE_MAX_CHARS = 256 * 1024
"""A job with a longer spec is given back if the journal is lost."""

_VERSION = 1
_LATEST = 1e11  # unix seconds of a far future


class Fate(Enum):
    """What to do about a job of ours that no record knows."""

    ADOPT = "adopt"  # it is ours and its container tells how to go on
    GIVE_BACK = "give back"  # it is ours, and nobody knows how to go on
    REMOVE = "remove"  # not ours any more, or its verdict was said


def note_of(record: Record) -> str:
    """What the container of this job says of it; empty if that is too much for a label."""
    if record.spec is None:
        return ""
    spec = record.spec.model_dump(mode="json", exclude_none=True)
    note = {"v": _VERSION, "slot": record.slot, "claimed_at": record.claimed_at, "spec": spec}
    if record.life is not None:
        note["life"] = [record.life.boot, record.life.start]
    text = json.dumps(note, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= NOTE_MAX_CHARS else ""


def record_from(fact: ContainerFact) -> Record | None:
    """The record of the container's job as its label tells it; None where that cannot be believed.

    Labels are input from outside: an image may bring its own, and anybody on the machine can set them.
    """
    if fact.job_id is None or len(fact.job_note) > NOTE_MAX_CHARS:
        return None
    try:
        note = json.loads(fact.job_note)
        version, slot, claimed_at, spec = note["v"], note["slot"], note["claimed_at"], note["spec"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if version != _VERSION or not (isinstance(slot, int) and slot >= 0 and _is_time(claimed_at)):
        return None
    job = parse_job(str(fact.job_id), spec)
    if not isinstance(job, Job):
        return None
    has_run = fact.status is not ContainerStatus.CREATED
    return Record(
        job.id,
        Phase.RUNNING,
        job.spec,
        slot,
        float(claimed_at),
        container_started=has_run,
        attempts=1,
        life=_life_in(note),
    )


def _life_in(note: dict[str, Any]) -> EngineLife | None:
    """That of the engine when the container was started; from names that are wrong nothing follows."""
    match note.get("life"):
        case [str(boot), str(start)]:
            return EngineLife(boot, start)
        case _:
            return None


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < _LATEST


def fate_of(word: Word | None, *, can_be_adopted: bool) -> Fate:
    """Decide by what the API calls the job; None: it is not ours any more (404).

    The verdict may have been said before the journal was lost, and a keep-alive after it would bring the job
    back to life: so the API is asked before anything is told to it. A job that is `queued` timed out, and
    is ours until somebody else claims it.
    """
    match word:
        case None | Word.FINISHED | Word.ERROR:
            return Fate.REMOVE
        case Word.QUEUED:
            return Fate.ADOPT if can_be_adopted else Fate.REMOVE
        case Word.PULLED | Word.PREPROCESSING | Word.RUNNING | Word.POSTPROCESSING:
            return Fate.ADOPT if can_be_adopted else Fate.GIVE_BACK


def containers_of(facts: Iterable[ContainerFact], agent_id: str) -> list[ContainerFact]:
    """Those that this agent made for jobs.

    By their names too: an image made of a job's container (`docker commit`) hands on its labels.
    """
    return [
        fact
        for fact in facts
        if fact.agent_id == agent_id and fact.job_id is not None and fact.name == container_name(fact.job_id)
    ]


def may_hold_the_gpu(facts: Iterable[ContainerFact]) -> bool:
    """Whether one of the containers runs, or is stopped in the middle of it."""
    return any(fact.status in {ContainerStatus.RUNNING, ContainerStatus.PAUSED} for fact in facts)
