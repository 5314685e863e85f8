"""What to do with what the container engine has of a job: a record and no container, a container and none."""

from collections.abc import Collection, Iterable
from enum import Enum

from agent.core.container import container_name
from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.errors import DiskTrouble, EngineTrouble, HostTrouble, NameTaken, Unkillable
from agent.core.models import Phase, Record, Verdict

MAX_ATTEMPTS = 3
"""How often a job's container is started here before the job is given back."""


class Found(Enum):
    """What the engine has under the name of the job's container."""

    NONE = "none"  # there is none, and none was ever seen running
    VANISHED = "vanished"  # it was seen running, and somebody removed it
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    FOREIGN = "foreign"  # the name is ours, the label of the job is not
    OTHER_AGENT = "other agent"  # another agent of this machine made it


class Move(Enum):
    """What is done about it, before or as the phase's own work."""

    GO_ON = "go on"  # nothing is in the way
    REMOVE = "remove"  # it never ran or is not needed any more
    WIPE = "wipe"  # an attempt before has left it: it goes, and the folder it wrote to with it
    END = "end"  # it must not write any more, its log is still wanted
    START = "start"
    ADOPT = "adopt"
    AGAIN = "again"  # the machine lost it: from the start, or back to the queue
    BLOCKED = "blocked"  # it is somebody else's and never touched: the owner has to help


_FOUND = {
    ContainerStatus.CREATED: Found.CREATED,
    ContainerStatus.RUNNING: Found.RUNNING,
    ContainerStatus.PAUSED: Found.PAUSED,
    ContainerStatus.EXITED: Found.EXITED,
}
_AT_THE_END = {
    Found.NONE: Move.GO_ON,
    Found.VANISHED: Move.GO_ON,
    Found.CREATED: Move.REMOVE,
    Found.RUNNING: Move.REMOVE,
    Found.PAUSED: Move.REMOVE,
    Found.EXITED: Move.REMOVE,
    Found.FOREIGN: Move.GO_ON,
    Found.OTHER_AGENT: Move.GO_ON,
}
RETURNING = _AT_THE_END
"""The row of a job that is given back, in REPORTING: its container goes before anybody else begins."""

MOVES: dict[Phase, dict[Found, Move]] = {
    Phase.STAGING_IN: {
        Found.NONE: Move.GO_ON,
        Found.VANISHED: Move.WIPE,
        Found.CREATED: Move.REMOVE,
        Found.RUNNING: Move.WIPE,
        Found.PAUSED: Move.WIPE,
        Found.EXITED: Move.WIPE,
        Found.FOREIGN: Move.BLOCKED,
        Found.OTHER_AGENT: Move.BLOCKED,
    },
    Phase.RUNNING: {
        Found.NONE: Move.START,
        Found.VANISHED: Move.AGAIN,
        Found.CREATED: Move.START,
        Found.RUNNING: Move.ADOPT,
        Found.PAUSED: Move.ADOPT,
        Found.EXITED: Move.ADOPT,
        Found.FOREIGN: Move.BLOCKED,
        Found.OTHER_AGENT: Move.BLOCKED,
    },
    Phase.STAGING_OUT: {
        Found.NONE: Move.GO_ON,
        Found.VANISHED: Move.GO_ON,
        Found.CREATED: Move.GO_ON,
        Found.RUNNING: Move.END,
        Found.PAUSED: Move.END,
        Found.EXITED: Move.GO_ON,
        Found.FOREIGN: Move.GO_ON,
        Found.OTHER_AGENT: Move.GO_ON,
    },
    Phase.REPORTING: dict.fromkeys(Found, Move.GO_ON),
    Phase.DONE: _AT_THE_END,
}
"""The move for every pair of phase and find."""


def found_of(record: Record, fact: ContainerFact | None, agent_id: str) -> Found:
    """What the engine's answer about the container's name means for this record."""
    if fact is None:
        return Found.VANISHED if record.container_started else Found.NONE
    if fact.job_id is None or container_name(fact.job_id) != fact.name:
        return Found.FOREIGN
    return _FOUND[fact.status] if fact.agent_id == agent_id else Found.OTHER_AGENT


def move_for(record: Record, found: Found) -> Move:
    """What to do; an exited container is read, never started again."""
    is_returning = record.outcome is not None and record.outcome.verdict is Verdict.RETURNED
    if record.phase is Phase.REPORTING and is_returning:
        return RETURNING[found]
    return MOVES[record.phase][found]


def kept_since(record: Record, trouble: HostTrouble, since: float | None, now: float) -> float | None:
    """Since when this machine's own trouble has kept the job from its container's start; None: it does not.

    `since`: what was said after the trouble before this one; `now`: monotonic seconds. An API or a storage
    that is away is so for every worker.
    """
    is_before_start = record.phase is Phase.STAGING_IN or (
        record.phase is Phase.RUNNING and (not record.container_started or isinstance(trouble, NameTaken))
    )
    if not is_before_start or not isinstance(trouble, EngineTrouble | DiskTrouble):
        return None
    return now if since is None else since


def is_patience_spent(since: float | None, now: float, patience_s: float) -> bool:
    """Whether the job has been kept from its start for too long: another machine may do better."""
    return since is not None and now - since >= patience_s


def may_return_before_removal(record: Record, trouble: EngineTrouble) -> bool:
    """Whether a job may be given back although its container could not be removed.

    If none was ever seen running, or if nothing ends it: its outputs go nowhere, and it is removed when that
    works. A job that is kept back meanwhile would be given away by the API all the same.
    """
    return not record.container_started or isinstance(trouble, Unkillable)


def orphans_of(
    facts: Iterable[ContainerFact], agent_id: str, recorded: Collection[int]
) -> tuple[ContainerFact, ...]:
    """Containers of this agent whose job is in no record: left over from a lost journal, to be removed."""
    return tuple(fact for fact in facts if fact.agent_id == agent_id and fact.job_id not in recorded)
