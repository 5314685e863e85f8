"""What one job is doing: told by its own threads, read by the main thread and the control socket.

Every note is also a sign of life of the job's thread.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, time

from agent.core.health import SignOfLife
from agent.core.models import Record, Slot
from agent.core.status import JobStatus, Trouble
from agent.ports import Progress, Task


class Track:
    """One job's; fulfils `ports.Progress` by passing on to another one what moves.

    `allowed_silence_s`: how long the job's thread may do something without a note.
    """

    def __init__(self, record: Record, slot: Slot, shown: Progress, allowed_silence_s: float) -> None:
        self._record = record
        self._slot = slot
        self._shown = shown
        self._allowed_silence_s = allowed_silence_s
        self._lock = threading.Lock()
        self._moving: list[_Moving] = []
        self._trouble: Trouble | None = None
        self._is_freed = False
        self._phase_since = time()
        self._seen_at = monotonic()

    def note(self) -> None:
        """The job's thread is alive."""
        self._seen_at = monotonic()

    def follow(self, record: Record) -> None:
        """This is the job's record now."""
        self.note()
        if record.phase is not self._record.phase:
            self._phase_since = time()
            self._trouble = None
        self._record = record

    def began_at(self, at: float) -> None:
        """What the phase is about began then (unix seconds, 0.0: unknown), not when it was taken up here."""
        if at:
            self._phase_since = at

    def hinder(self, text: str, since: float | None = None) -> None:
        """Something is in the way, since then (unix seconds) or the first word of it, until `clear`."""
        self.note()
        with self._lock:
            if since is None:
                since = self._trouble.since if self._trouble else time()
            self._trouble = Trouble(text, since)

    def freed(self) -> None:
        """Its container is gone for good."""
        self.note()
        self._is_freed = True

    def clear(self) -> None:
        """Nothing is in the way any more."""
        self.note()
        self._trouble = None

    @contextmanager
    def task(self, label: str, total_bytes: int | None) -> Iterator[Task]:
        """Something moves until the block ends."""
        self.note()
        with self._shown.task(label, total_bytes) as shown:
            moving = _Moving(self, label, total_bytes, shown)
            with self._lock:
                self._moving.append(moving)
            try:
                yield moving
            finally:
                with self._lock:
                    self._moving.remove(moving)
                self.note()

    def sign(self) -> SignOfLife:
        """When the job's thread was last heard of."""
        doing = f"in phase {self._record.phase}"
        return SignOfLife(f"job-{self._record.job_id}", self._seen_at, self._allowed_silence_s, doing)

    def status(self) -> JobStatus:
        """How far the job is."""
        record = self._record
        with self._lock:
            moving = list(self._moving)
        totals = [one.total_bytes for one in moving if one.total_bytes is not None]
        return JobStatus(
            record.job_id,
            record.phase,
            self._slot.id,
            tuple(gpu.model for gpu in self._slot.gpus),
            record.spec.handler.image_url if record.spec else "",
            record.claimed_at,
            self._phase_since,
            doing=_label_of(moving),
            done_bytes=sum(one.done_bytes for one in moving),
            total_bytes=sum(totals) if moving and len(totals) == len(moving) else None,
            trouble=self._trouble,
            is_freed=self._is_freed,
        )


class _Moving:
    """One file or image under way."""

    def __init__(self, track: Track, label: str, total_bytes: int | None, shown: Task) -> None:
        self.label = label
        self.total_bytes = total_bytes
        self.done_bytes = 0
        self._track = track
        self._shown = shown

    def advance(self, size_bytes: int) -> None:
        """So many bytes more (or less)."""
        self.done_bytes += size_bytes
        if size_bytes > 0:
            self._track.clear()
        else:
            self._track.note()
        self._shown.advance(size_bytes)


def _label_of(moving: list[_Moving]) -> str:
    if not moving:
        return ""
    more = f" and {len(moving) - 1} more" if len(moving) > 1 else ""
    return f"{moving[0].label}{more}"
