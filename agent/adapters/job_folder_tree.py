"""A folder whose content may be hostile, walked by descriptors: no link is followed, nothing odd is opened.

One descriptor is held however deep the folders go, since a job may nest thousands of them.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from agent.core.errors import DiskTrouble
from agent.core.paths import shown

SHARED = 0o777  # of what a container's user, whoever it is, must be able to write to
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # of Linux, path_resolution(7)
_MAX_STEPS = 1000  # a link's text has up to 2,000 parts, and a job may leave many links
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
}

_Identity = tuple[int, int]


class OddFile(Exception):
    """Not a regular file inside the folder; the text says what it is instead, as `a FIFO`."""


@contextmanager
def disk_errors(what: Path | tuple[str, ...]) -> Iterator[None]:
    """Turn an `OSError` of the disk into `DiskTrouble`."""
    try:
        yield
    except OSError as error:
        raise disk_trouble(error, what) from error


def disk_trouble(error: OSError, what: Path | tuple[str, ...]) -> DiskTrouble:
    """The error of this path, in words that a person can act on."""
    return DiskTrouble(f"{shown(str(what) if isinstance(what, Path) else what)}: {_advice(error)}")


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "no space left on the disk: free some, or set PATH_HOST_BASE to a larger disk"
        case errno.EROFS:
            return "the disk is read-only: a fault may have made it so, see dmesg"
        case errno.EIO:
            return "the disk reports an input/output error: see dmesg and smartctl"
        case errno.EACCES | errno.EPERM:
            return (
                "no permission: the agent must own it (run it as root), and it must not be immutable (chattr)"
            )
        case errno.EMFILE | errno.ENFILE:
            return "too many open files: raise LimitNOFILE"
        case errno.EINVAL:  # of readlink: it was a link a moment ago
            return "changed while it was read"
        case _:
            return error.strerror or type(error).__name__


class Cursor:
    """One open folder at or below a root; moves down and up. Raises `OSError`.

    `NotADirectoryError` where a link or a file is in the place of a folder, `ESTALE` where a folder was
    moved away meanwhile.
    """

    def __init__(self, root: Path, fd: int = -1, trail: Sequence[tuple[str, _Identity]] = ()) -> None:
        self._root = root
        self._fd = os.open(root, _FOLDER) if fd < 0 else fd
        self._trail = list(trail)

    @property
    def fd(self) -> int:
        """The descriptor of the folder where the cursor is."""
        return self._fd

    @property
    def path(self) -> tuple[str, ...]:
        """Where the cursor is, below the root."""
        return tuple(name for name, _ in self._trail)

    @property
    def depth(self) -> int:
        """How far below the root the cursor is."""
        return len(self._trail)

    def down(self, name: str) -> None:
        """Into a folder."""
        here = _identity(self._fd)
        self._hold(_open_folder(name, self._fd))
        self._trail.append((name, here))

    def up(self) -> None:
        """Out of the folder, to where the cursor came from and nowhere else."""
        self._hold(os.open("..", _FOLDER, dir_fd=self._fd))
        _, above = self._trail.pop()
        if _identity(self._fd) != above:
            raise OSError(errno.ESTALE, "changed while it was read")

    def top(self) -> None:
        """Back to the root."""
        self._hold(os.open(self._root, _FOLDER))
        self._trail.clear()

    def make(self, name: str) -> None:
        """Into a folder that is made if there is none, writable for any user an image may run as."""
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=self._fd)
        self.down(name)
        if stat.S_IMODE(os.fstat(self._fd).st_mode) != SHARED:  # the umask took something away
            os.fchmod(self._fd, SHARED)

    def delete(self, name: str, delete: Callable[..., None] = os.unlink) -> None:
        """Remove an entry; harmless if it is gone. Raises `DiskTrouble`."""
        try:
            try:
                delete(name, dir_fd=self._fd)
            except PermissionError:
                if not self._trail:
                    raise
                os.fchmod(self._fd, 0o700)  # an agent that is not root may own a folder that its job locked
                delete(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise disk_trouble(error, self._root.joinpath(*self.path, name)) from error

    def clone(self) -> "Cursor":
        """Another cursor at the same place."""
        return Cursor(self._root, os.dup(self._fd), self._trail)

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _hold(self, fd: int) -> None:
        self.close()
        self._fd = fd


def _identity(fd: int) -> _Identity:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


def _open_folder(name: str, dir_fd: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=dir_fd)
    except PermissionError:
        # An agent that is not root may own a folder that its job has locked.
        with _handle(name, dir_fd) as handle:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                raise
            _by_handle(handle).chmod(0o700)
        return os.open(name, _FOLDER, dir_fd=dir_fd)


@contextmanager
def _handle(name: str, dir_fd: int) -> Iterator[int]:
    """A handle that neither opens what it names nor follows it."""
    handle = os.open(name, _HANDLE, dir_fd=dir_fd)
    try:
        yield handle
    finally:
        os.close(handle)


def _by_handle(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}")


def kind_of(mode: int) -> str:
    """What a file of that mode is called."""
    return _KINDS.get(stat.S_IFMT(mode), "something odd")


def open_regular(cursor: Cursor, name: str) -> int:
    """A descriptor for reading a regular file; raises `OddFile` for all else, without opening it."""
    with _handle(name, cursor.fd) as handle:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OddFile(kind_of(mode))
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(_by_handle(handle), flags)
        except PermissionError:
            _by_handle(handle).chmod(0o600)
            return os.open(_by_handle(handle), flags)


def follow(cursor: Cursor, name: str) -> str:
    """Move to where the entry `name` leads, link by link inside the root; returns the file's name there.

    Links are read as the container saw them, so `/files` is the root. Raises `OddFile` for what leads
    outside, to nothing or to anything but a regular file.
    """
    todo, links = [name], 0
    for _ in range(_MAX_STEPS):
        part = todo.pop() if todo else "."
        if part == "..":
            if cursor.depth == 0:
                raise OddFile("a link that leads outside of the job's folder")
            cursor.up()
            continue
        mode = _mode_of(part, cursor)
        if stat.S_ISLNK(mode):
            links += 1
            todo += _parts_of_link(os.readlink(part, dir_fd=cursor.fd), cursor)
        elif stat.S_ISDIR(mode) and todo:
            if part != ".":
                cursor.down(part)
        elif todo:
            raise OddFile("a link that leads nowhere")
        elif stat.S_ISREG(mode):
            return part
        else:
            raise OddFile(f"a link to {kind_of(mode)}" if links else kind_of(mode))
        if links > _MAX_LINKS:
            break
    raise OddFile("a link that goes through too many others")


def _mode_of(name: str, cursor: Cursor) -> int:
    try:
        return os.lstat(name, dir_fd=cursor.fd).st_mode
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENAMETOOLONG}:  # a link's text may be any
            raise
        raise OddFile("a link that leads nowhere") from None


def _parts_of_link(target: str, cursor: Cursor) -> list[str]:
    """The parts of a link's text, the next one last; an absolute one takes the cursor to the root."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if target.startswith("/"):
        if parts[:1] != ["files"]:
            raise OddFile("a link that leads outside of the job's folder")
        del parts[0]
        cursor.top()
    if target.endswith(("/", "/.")) or not parts:
        parts.append(".")
    return parts[::-1]


def remove_folder(cursor: Cursor, root: str) -> None:
    """Remove a folder with all that is in it; what somebody puts there meanwhile may stay.

    Raises `DiskTrouble` for what cannot be removed, `OSError` if it is moved away meanwhile.
    """
    pending = [[root]]  # of each level the folders that are still there
    while pending:
        if not pending[-1]:
            pending.pop()
            if pending:
                cursor.up()
                cursor.delete(pending[-1].pop(), os.rmdir)
            continue
        try:
            cursor.down(pending[-1][-1])
        except FileNotFoundError:
            pending[-1].pop()
        except NotADirectoryError:
            cursor.delete(pending[-1].pop())
        else:
            pending.append(_remove_files(cursor))


def _remove_files(cursor: Cursor) -> list[str]:
    """Remove all that is no folder; returns the folders."""
    with os.scandir(cursor.fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            cursor.delete(name)
    return [name for name, is_folder in found if is_folder]
