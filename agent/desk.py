"""What the control socket asks: answered from what other threads know, or handed to the main thread."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from agent.core.container import container_name
from agent.core.errors import DiskTrouble, HostTrouble
from agent.core.status import AgentStatus, Mode, PastJob, Released
from agent.core.stopping import Stop
from agent.daemon import Daemon
from agent.ports import Engine, Journal

T = TypeVar("T")

RECENT_MAX = 5
ANSWER_S = 60.0
"""So long the main thread may be in the middle of a question to the API or to Docker."""


class Desk:
    """Fulfils `ports_host.Controls` for a daemon that runs; every method may be called from any thread."""

    def __init__(self, daemon: Daemon, journal: Journal, engine: Engine, answer_s: float = ANSWER_S) -> None:
        self._daemon = daemon
        self._journal = journal
        self._engine = engine
        self._answer_s = answer_s

    def status(self) -> AgentStatus:
        """What it is doing now. A journal that cannot be read has no recent jobs."""
        try:
            recent = tuple(self._journal.history(RECENT_MAX))
        except DiskTrouble:
            recent = ()
        return replace(self._daemon.status(), recent=recent)

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first. Raises `DiskTrouble`."""
        return self._journal.history(limit)

    def read_log(self, job_id: int, *, follow: bool, stop: Stop) -> Iterator[bytes]:
        """The log of a job under way, or the end of a past one's.

        Raises `LookupError` if there is none (yet), `HostTrouble`, `Stopped`.
        """
        if self._daemon.works_on(job_id):
            if self._engine.look(container_name(job_id)) is None:
                raise LookupError(f"job {job_id} has no log: its container does not run yet")
            yield from self._engine.read_log(container_name(job_id), follow=follow, stop=stop)
            return
        text = self._journal.past_log(job_id)
        if text is None:
            raise LookupError(f"no log of a job {job_id} is known here")
        yield text.encode("utf-8", "replace")

    def steer(self, mode: Mode) -> None:
        """The owner asks for this. Raises `DiskTrouble`: nothing has changed."""
        self._daemon.owner.steer(mode)
        if mode is Mode.TAKING:
            self._daemon.try_resting()

    def release(self, job_ids: tuple[int, ...], reason: str) -> Released:
        """Give these jobs back to the queue, all if none is named, and take no further one.

        Raises `LookupError` if one is not under way, `DiskTrouble`: nothing has changed.
        """
        daemon = self._daemon
        if unknown := [job_id for job_id in job_ids if not daemon.works_on(job_id)]:
            raise LookupError(f"job {unknown[0]} is not under way")
        if daemon.owner.mode is Mode.TAKING:  # one that drains or leaves goes on with that
            self.steer(Mode.PAUSED)
        if not job_ids:
            daemon.release_claimed(reason)  # before who is under way is asked
        chosen = job_ids or daemon.job_ids()
        given_back = tuple(job_id for job_id in chosen if daemon.release(job_id, reason))
        return Released(given_back, tuple(job_id for job_id in chosen if job_id not in given_back))

    def reload(self) -> tuple[str, ...]:
        """Read the settings again; a sentence for each change.

        Raises `ConfigError`: all stays as it was; `HostTrouble` if the agent is too busy, or ends.
        """
        return self._answer_of(self._daemon.wishes.hand(self._daemon.reload))

    def _answer_of(self, wish: "Future[T]") -> T:
        try:
            return wish.result(self._answer_s)
        except TimeoutError:
            if not wish.cancel():  # it is being done now
                return wish.result(self._answer_s)
            text = "the agent waits for an answer from outside; nothing has changed, try again"
            raise HostTrouble(text) from None
