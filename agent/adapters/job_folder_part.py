"""A download on its way: the bytes, and beside them what they belong to."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from agent.adapters.job_folder_tree import disk_errors, disk_trouble

_WRITE_BACK_BYTES = 8 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LocalPart:
    """Fulfils `ports.PartFile`.

    The validator is written down before the bytes that it stands for. After a reboot only as many bytes
    count as were flushed when the part was closed: a file system may come back from a power cut with the
    right size and zeros inside.
    """

    def __init__(self, folder: Path, path: tuple[str, ...], settle: Callable[[Path], None]) -> None:
        self._label = path
        digest = hashlib.sha256("/".join(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._bytes, self._note = folder / f"{digest}.part", folder / f"{digest}.json"
        self._settle = settle
        self._written_back = 0
        with disk_errors(path):
            folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._bytes, flags, 0o666)
            try:
                self._validator, trusted = self._read_note()
                self._size = min(os.fstat(self._fd).st_size, trusted)
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            except BaseException:
                self.close()
                raise

    @property
    def size_bytes(self) -> int:
        """How many bytes are here already."""
        return self._size

    @property
    def validator(self) -> str:
        """The ETag of the content that they belong to; empty: they cannot be resumed."""
        return self._validator

    def restart(self, validator: str) -> None:
        """Throw away what is there; what follows belongs to `validator`."""
        with disk_errors(self._label):
            if self._note.exists():
                # Old note and new bytes must not meet, not even after a power cut.
                self._note.unlink()
                os.ftruncate(self._fd, 0)
                os.fsync(self._fd)
                _flush_folder(self._note.parent)
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._size = self._written_back = 0
            self._validator = validator
            if validator:
                self._write_note(flushed=0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append."""
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, memoryview(data)[done:])
        except OSError as error:
            raise disk_trouble(error, self._label) from error
        self._size += len(data)
        if self._size - self._written_back >= _WRITE_BACK_BYTES:
            self._write_back()

    def finish(self) -> None:
        """Flush to the disk and put it at its final place, atomically."""
        with disk_errors(self._label):
            os.fchmod(self._fd, 0o666)  # the container's user, whoever it is, may change its inputs
            os.fsync(self._fd)
        self._settle(self._bytes)
        self.close()
        with disk_errors(self._label):
            self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Keep what is there, in a state that can be trusted after a reboot."""
        try:
            if self._fd >= 0 and self._size and self._validator:
                with suppress(OSError):  # it is a hint, and the disk may be what is wrong
                    os.fsync(self._fd)
                    self._write_note(flushed=self._size)
        finally:
            self.close()

    def _write_back(self) -> None:
        # Starts writing these pages without waiting (the call is advice, but that is what Linux does), so
        # that the final fsync, or one at a stop, has little left to do.
        os.posix_fadvise(
            self._fd, self._written_back, self._size - self._written_back, os.POSIX_FADV_DONTNEED
        )
        self._written_back = self._size

    def _read_note(self) -> tuple[str, int]:
        """The validator and how many bytes of it can be trusted at most."""
        try:
            note = json.loads(self._note.read_bytes())
            validator, boot, flushed = note["validator"], note["boot"], note["flushed"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return "", 0
        if not (isinstance(validator, str) and isinstance(flushed, int) and flushed >= 0):
            return "", 0
        return validator, os.fstat(self._fd).st_size if boot == _boot_id() else flushed

    def _write_note(self, flushed: int) -> None:
        note = {"validator": self._validator, "boot": _boot_id(), "flushed": flushed}
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(note))
        fresh.replace(self._note)


def _boot_id() -> str:
    """What tells this boot from every other; a new value each time where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return os.urandom(8).hex()


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
