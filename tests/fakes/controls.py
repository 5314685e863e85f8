"""A running agent as the control socket sees it, told what to answer."""

import threading
from collections.abc import Iterator

from agent.core.models import Phase
from agent.core.status import AgentStatus, JobStatus, Mode, PastJob, Released, Trouble
from agent.core.stopping import Stop

STATUS = AgentStatus(
    version="1.0",
    pid=812,
    started_at=1_700_000_000.0,
    api_url="https://api.example.org",
    account="lab@example.org",
    mode=Mode.TAKING,
    slots=2,
    jobs=(
        JobStatus(
            job_id=7,
            phase=Phase.STAGING_IN,
            slot=0,
            gpus=("NVIDIA A100",),
            image="decode/fit:1",
            claimed_at=1_700_000_100.0,
            phase_since=1_700_000_100.5,
            doing="data/in.csv",
            done_bytes=10,
            total_bytes=100,
            trouble=Trouble("the storage answers 503", 1_700_000_200.0),
        ),
    ),
    gates=(Trouble("Docker does not answer", 1_700_000_300.0),),
    troubles=(Trouble("Docker does not answer", 1_700_000_300.0),),
    api_heard_at=1_700_000_400.0,
    next_look_at=None,
    free_bytes=212_000_000_000,
    recent=(PastJob(6, "error", "exit code 3", 3, "decode/fit:1", 1_699_990_000.0, 1_699_999_000.0),),
)


class FakeControls:
    """Fulfils `ports.Controls`.

    Settings: `now` (what `status` says), `past`, `logs` by job id, `changes` of a reload, `error` (raised by
    every method), `released`. `block`: status waits for it. What happened: `modes`, `releases`, `limits`,
    `stops` of logs under way.
    A followed log goes on with what `more` is given, until `end`.
    """

    def __init__(self) -> None:
        self.now = STATUS
        self.past: list[PastJob] = list(STATUS.recent)
        self.logs: dict[int, list[bytes]] = {}
        self.changes: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.late_error: Exception | None = None
        self.block = threading.Event()
        self.block.set()
        self.modes: list[Mode] = []
        self.released = Released((7,), ())
        self.releases: list[tuple[tuple[int, ...], str]] = []
        self.limits: list[int] = []
        self.stops: list[Stop] = []
        self._more: list[bytes] = []
        self._is_ended = False
        self._changed = threading.Condition(threading.RLock())

    def more(self, piece: bytes) -> None:
        """The container of every followed log writes this."""
        with self._changed:
            self._more.append(piece)
            self._changed.notify_all()

    def end(self) -> None:
        """The container of every followed log ends."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def status(self) -> AgentStatus:
        """What it is doing now."""
        self._fail()
        self.block.wait()
        return self.now

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first."""
        self._fail()
        self.limits.append(limit)
        return self.past[:limit]

    def read_log(self, job_id: int, *, follow: bool, stop: Stop) -> Iterator[bytes]:
        """The log of a job under way, or the end of a past one's."""
        self._fail()
        if job_id not in self.logs:
            raise LookupError(f"no log of job {job_id} is known")
        yield from self.logs[job_id]
        if self.late_error:
            raise self.late_error
        if follow:
            self.stops.append(stop)
            with stop.attach(self._notify):
                yield from self._follow(stop)

    def _follow(self, stop: Stop) -> Iterator[bytes]:
        told = 0
        while True:
            with self._changed:
                while len(self._more) == told and not self._is_ended:
                    stop.check()
                    self._changed.wait(60)
                pieces, told = self._more[told:], len(self._more)
            yield from pieces
            if self._is_ended:
                return

    def steer(self, mode: Mode) -> None:
        """The owner asks for this."""
        self._fail()
        self.modes.append(mode)

    def release(self, job_ids: tuple[int, ...], reason: str) -> Released:
        """Give these jobs back to the queue."""
        self._fail()
        self.releases.append((job_ids, reason))
        return self.released

    def reload(self) -> tuple[str, ...]:
        """Read the settings again; a sentence for each change."""
        self._fail()
        return self.changes

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
