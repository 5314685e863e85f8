"""What the agent needs of the machine it serves, and what people on it need of the agent, as Protocols."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from agent.core.models import Slot
from agent.core.status import AgentStatus, Mode, PastJob, Released
from agent.core.stopping import Stop


class ServiceManager(Protocol):
    """Who started the agent and watches over it: systemd, or nobody. Raises nothing."""

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""

    @property
    def watchdog_s(self) -> float | None:
        """So often at least `alive` has to be said; None: nobody waits for it."""

    def ready(self) -> None:
        """The start, or a reload, is over."""

    def status(self, line: str) -> None:
        """One line of truth for `systemctl status`."""

    def alive(self) -> None:
        """Every thread gets on."""

    def reloading(self) -> None:
        """The settings are being read again."""

    def stopping(self) -> None:
        """The end has begun; it cannot be taken back."""

    def extend(self, seconds: float) -> None:
        """The start or the end under way needs so long from now on."""


class Controls(Protocol):
    """What the control socket may ask of a running agent; every method may be called from any thread."""

    def status(self) -> AgentStatus:
        """What it is doing now."""

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first. Raises `DiskTrouble`."""

    def read_log(self, job_id: int, *, follow: bool, stop: Stop) -> Iterator[bytes]:
        """The log of a job under way, or the end of a past one's.

        Raises `LookupError`, `HostTrouble`, `Stopped`.
        """

    def steer(self, mode: Mode) -> None:
        """The owner asks for this. Raises `DiskTrouble`."""

    def release(self, job_ids: tuple[int, ...], reason: str) -> Released:
        """Give these jobs back to the queue, all of them if none is named.

        No further job is taken until `steer`. Raises `LookupError` for a job that is not under way, then
        nothing is given back; `DiskTrouble`.
        """

    def reload(self) -> tuple[str, ...]:
        """Read the settings again; a sentence for each change. Raises `ConfigError`: all stays as it was."""


class SelfTest(Protocol):
    """Proves that a slot can run a job's container."""

    def __call__(self, slot: Slot, /) -> None:
        """Run one and remove it, bounded in time. Raises `HostTrouble` with what is wrong."""


class Inhibitor(Protocol):
    """Asks the machine to wait with its shutdown."""

    def __call__(self, why: str, /) -> AbstractContextManager[None]:
        """Ask for it until the block ends; the machine decides how long it waits. Raises nothing."""
