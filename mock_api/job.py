"""A job seen from outside: what a worker offers for it, how it stands, what its user was told."""

from dataclasses import dataclass
from typing import Any

from mock_api.specs import JobState

TERMINAL = frozenset({JobState.finished, JobState.error})


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker says of itself in ``GET /jobs``; memory in MiB."""

    memory: int
    cpu_cores: int = 1
    gpu_mem: int = 0
    gpu_model: str | None = None
    gpu_archi: str | None = None
    groups: tuple[str, ...] = ()
    limit: int = 1
    older_than_s: int = 0


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One entry of a job's history: every PUT, claim and time-out. ``account`` None: the server's doing."""

    at: float
    status: JobState
    account: str | None
    runtime_details: str | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail to the user: the API sends one for every ``finished`` or ``error``."""

    at: float
    job_id: str
    status: JobState


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its user and the tests see it; a copy, taken at one moment.

    ``in_queue`` is whether the queue still has its row, ``deleted`` whether its user deleted it: the row goes
    with the first PUT after that. ``accounts`` are those that claimed it, in order.
    """

    id: str
    status: JobState
    owner: str | None
    accounts: tuple[str, ...]
    runtime_details: str
    history: tuple[StatusChange, ...]
    retries: int
    deleted: bool
    in_queue: bool
    spec: dict[str, Any]
    paths_upload: dict[str, str]

    @property
    def statuses(self) -> list[str]:
        """The words of the history without repetition of the same one in a row."""
        words = [str(change.status) for change in self.history]
        return [word for at, word in enumerate(words) if at == 0 or words[at - 1] != word]

    @property
    def is_over(self) -> bool:
        """Whether the user would call it done: finished, error or deleted."""
        return self.deleted or self.status in TERMINAL
