"""A file that only takes room: given up when the disk is full, so that what must be written down can be."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from time import monotonic

log = logging.getLogger(__name__)

BALLAST_BYTES = 8 << 20
_ROOM_FACTOR = 4
_AGAIN_S = 60.0


class Ballast:
    """Not for use by several threads at once. Raises nothing: without it there is only less reserve."""

    def __init__(self, path: Path, size_bytes: int = BALLAST_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._next_try_at = 0.0
        self._is_there = path.exists()

    def drop(self) -> bool:
        """Give its room away; False if there is none to give."""
        self._next_try_at = monotonic() + _AGAIN_S
        with suppress(OSError):
            self._path.unlink()
            self._is_there = False
            log.warning("The disk of %s is full: using the room kept for this.", self._path.parent)
            return True
        return False

    def restore(self) -> None:
        """Take the room again if much more than that is free; looks at the disk once in a minute at most."""
        if self._is_there or monotonic() < self._next_try_at:
            return
        self._next_try_at = monotonic() + _AGAIN_S
        try:
            if shutil.disk_usage(self._path.parent).free < _ROOM_FACTOR * self._size_bytes:
                return
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size_bytes)
            self._is_there = True
        except OSError:
            with suppress(OSError):
                self._path.unlink()
