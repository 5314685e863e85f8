"""What to do with what is found: a record and no container, a container and no record."""

from collections.abc import Collection, Iterable
from enum import Enum

from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.models import Record

MAX_ATTEMPTS = 3
"""How often a container that vanished is started anew before the job is reported as failed."""


class Find(Enum):
    """What to do about the container of a job in phase RUNNING."""

    START = "start"  # there is none and never was one, or it never ran
    ADOPT = "adopt"  # it runs, or it has ended and nobody has read how
    AGAIN = "again"  # it ran and vanished: somebody removed it, so the job starts anew
    GIVE_UP = "give up"  # it vanished too often


def find_for(record: Record, fact: ContainerFact | None) -> Find:
    """Decide by the journal (did it ever run?) and by the engine (what is there now?)."""
    if fact is not None:
        return Find.START if fact.status is ContainerStatus.CREATED else Find.ADOPT
    if not record.container_started:
        return Find.START
    return Find.AGAIN if record.attempts < MAX_ATTEMPTS else Find.GIVE_UP


def orphans_of(
    facts: Iterable[ContainerFact], agent_id: str, recorded: Collection[int]
) -> tuple[ContainerFact, ...]:
    """Containers of this agent whose job is in no record: left over from a lost journal, to be removed."""
    return tuple(fact for fact in facts if fact.agent_id == agent_id and fact.job_id not in recorded)
