"""May I take a job, and if not, why not."""

from dataclasses import dataclass
from enum import StrEnum

from agent.core.status import Mode


class Gate(StrEnum):
    """What can keep the agent from taking a job."""

    MODE = "mode"  # the machine's owner said so
    ONE_JOB = "one job"  # `run --once` has had its job
    ENGINE = "engine"  # a claimed job could not run
    DISK = "disk"  # the journal cannot be read
    LEFTOVERS = "leftovers"  # a container from before may still hold the GPU
    ROOM = "room"  # the disk is nearly full
    RESTING = "resting"  # too many jobs in a row failed by this machine's fault


TROUBLES = frozenset({Gate.ENGINE, Gate.DISK, Gate.ROOM, Gate.RESTING})
"""Those that are nobody's wish: the agent is degraded while one is closed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a job could be claimed. The troubles are empty where all is well.

    `left_over`, `lack_of_room`, `resting`: sentences; the last only if every free slot rests.
    """

    leftovers_unknown: bool
    engine_trouble: str
    took_its_one_job: bool
    mode: Mode = Mode.TAKING
    disk_trouble: str = ""
    lack_of_room: str = ""
    resting: str = ""
    left_over: str = ""


def closed_gates(facts: Facts) -> dict[Gate, str]:
    """A sentence for each reason not to take a job now; empty: take one."""
    gates = (
        (Gate.MODE, sentence_of(facts.mode)),
        (Gate.ONE_JOB, "one job was asked for and taken" if facts.took_its_one_job else ""),
        (Gate.DISK, f"the disk does not serve: {facts.disk_trouble}" if facts.disk_trouble else ""),
        (Gate.ENGINE, f"Docker does not answer: {facts.engine_trouble}" if facts.engine_trouble else ""),
        (
            Gate.LEFTOVERS,
            "containers from before are not looked through yet"
            if facts.leftovers_unknown
            else facts.left_over,
        ),
        (Gate.ROOM, facts.lack_of_room),
        (Gate.RESTING, facts.resting),
    )
    return {gate: reason for gate, reason in gates if reason}


def sentence_of(mode: Mode) -> str:
    """Why no job is taken in this mode; empty if jobs are taken."""
    match mode:
        case Mode.TAKING:
            return ""
        case Mode.PAUSED:
            return "paused by this machine's owner (resume with: decode-agent resume)"
        case Mode.DRAINING:
            return "drained by this machine's owner (resume with: decode-agent resume)"
        case Mode.LEAVING:
            return "the agent ends when the jobs under way are done"
