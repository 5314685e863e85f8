"""What is written down of a storm while it blows; times are unix seconds."""

from dataclasses import dataclass

from tests.chaos.plan import BlowKind


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job's command. `ended_at` None: it never came to its last line.

    `container` is the short id of the container, which is its host name.
    """

    container: str
    began_at: float
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """One process of the agent. `how` it ended; None: it lives."""

    began_at: float
    ended_at: float | None = None
    how: str | None = None


@dataclass(frozen=True, slots=True)
class Fallen:
    """A blow that has fallen. `ended_at` None: it has not been taken back.

    `target`: what it hit, a short container id or the queue's id of a job; empty: all there is.
    """

    kind: BlowKind
    began_at: float
    ended_at: float | None = None
    target: str = ""

    def overlaps(self, began_at: float, ended_at: float) -> bool:
        """Whether it was on at some time between these two."""
        return self.began_at <= ended_at and (self.ended_at is None or self.ended_at >= began_at)
