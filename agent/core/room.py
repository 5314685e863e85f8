"""Is there room for one more job: on the disks of the state, of the jobs' files and of Docker's data."""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.core.amounts import size_of

_GIB = 1024**3
_MARGIN = 0.1
_MARGIN_MAX_BYTES = _GIB


@dataclass(frozen=True, slots=True)
class Room:
    """What a disk has left. `use`: what the agent or Docker keeps at `path`; `device`: which disk it is."""

    use: str
    path: str
    device: int
    free_bytes: int


def reopening_at(min_free_bytes: int) -> int:
    """So much must be free until jobs are taken again: a little more, so that the gate does not flap."""
    return min_free_bytes + min(int(_MARGIN * min_free_bytes), _MARGIN_MAX_BYTES)


def lack_of_room(rooms: Iterable[Room], min_free_bytes: int, *, was_lacking: bool) -> str:
    """Why no job is taken, by the fullest of the disks; empty if there is room on each."""
    needed_bytes = reopening_at(min_free_bytes) if was_lacking else min_free_bytes
    rooms = tuple(rooms)
    low = [room for room in rooms if room.free_bytes < needed_bytes]
    if not low:
        return ""
    fullest = min(low, key=lambda room: room.free_bytes)
    uses = [room.use for room in rooms if room.device == fullest.device]
    limit = f"MIN_FREE_DISK_GIB={min_free_bytes / _GIB:g}"
    if fullest.free_bytes >= min_free_bytes:
        limit = f"{limit}, jobs are taken again from {size_of(needed_bytes)} on"
    return f"only {size_of(fullest.free_bytes)} are free on {fullest.path} ({' and '.join(uses)}; {limit})"
