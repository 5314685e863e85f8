"""The folder of one job on this machine; fulfils `ports.JobFolder`.

<base>/<job id>/              0700, so that nobody else on the machine gets in
    files/                    0777: what the container sees as /files, whoever its image runs as
    parts/<digest>.part       downloads that are not complete; .json: what they belong to
    container.log
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from agent.adapters.job_folder_part import LocalPart
from agent.adapters.job_folder_tree import (
    SHARED,
    Cursor,
    OddFile,
    disk_errors,
    disk_trouble,
    follow,
    kind_of,
    open_regular,
    remove_folder,
)
from agent.core.errors import DiskTrouble, JobFailed
from agent.core.models import OutputFile, OutputListing
from agent.core.paths import shown

# A file needs some 300 bytes of memory and two requests; a path of thousands of parts needs 8 bytes for each.
MAX_FILES = 500_000
MAX_PARTS = 20_000_000
_MAX_SENTENCES = 100
_REMOVALS = 3


class LocalJobFolder:
    """`base` is trusted and may have to be made; what lies in `files` is not trusted."""

    def __init__(self, base: Path, job_id: int) -> None:
        self._base = base.absolute()
        self._top = self._base / str(job_id)
        self._files = self._top / "files"

    @property
    def mount(self) -> str:
        """Absolute path on the host of what the container sees as /files."""
        return str(self._files)

    @property
    def log(self) -> Path:
        """Where the container's log is kept, outside of what the container sees."""
        return self._top / "container.log"

    def create(self) -> None:
        """Make the folder, private to the agent; harmless if it is there."""
        with disk_errors(self._top):
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder, mode in (self._top, 0o700), (self._files, SHARED), (self._top / "parts", 0o700):
                folder.mkdir(mode=mode, exist_ok=True)
                folder.chmod(mode)  # whatever the umask is

    def make(self, path: tuple[str, ...]) -> None:
        """Make a folder inside, with its parents; `JobFailed` if a file or a link is in the way."""
        with disk_errors(path), _nothing_in_the_way("files_up", path), Cursor(self._files) as cursor:
            for name in path:
                cursor.make(name)

    def has(self, path: tuple[str, ...]) -> bool:
        """Whether this input is complete: it gets its final name only then."""
        with (
            disk_errors(path),
            suppress(FileNotFoundError, NotADirectoryError),
            Cursor(self._files) as cursor,
        ):
            for name in path[:-1]:
                cursor.down(name)
            return stat.S_ISREG(os.lstat(path[-1], dir_fd=cursor.fd).st_mode)
        return False

    def part(self, path: tuple[str, ...]) -> LocalPart:
        """The input at `path`, to be written; what an earlier attempt got is kept where it can be trusted."""
        return LocalPart(self._top / "parts", path, lambda source: self._settle(source, path))

    def _settle(self, source: Path, path: tuple[str, ...]) -> None:
        """Move a complete download to its final place, for good."""
        with disk_errors(path), _nothing_in_the_way("files_down", path), Cursor(self._files) as cursor:
            for name in path[:-1]:
                cursor.make(name)
            os.rename(source, path[-1], dst_dir_fd=cursor.fd)
            os.fsync(cursor.fd)

    def list_outputs(self, path: tuple[str, ...]) -> OutputListing:
        """Every regular file at or below `path`, sorted; nothing there is an empty listing.

        A link to a regular file inside the folder is listed as that file; every other link, and what is
        neither file nor folder, is skipped with a sentence. `JobFailed` for more than can be uploaded.
        """
        listing = _Listing()
        with disk_errors(path), suppress(FileNotFoundError), Cursor(self._files) as cursor:
            try:
                for name in path[:-1]:
                    cursor.down(name)
            except NotADirectoryError:
                listing.skip((*cursor.path, name), kind_of(os.lstat(name, dir_fd=cursor.fd).st_mode))
            else:
                listing.add_below(cursor, path[-1])
        return listing.result()

    def open_output(self, file: OutputFile) -> BinaryIO:
        """Open it for reading, following no folder's link; `JobFailed` if it is no regular file any more."""
        with disk_errors(file.path):
            try:
                with Cursor(self._files) as cursor:
                    for name in file.path[:-1]:
                        cursor.down(name)
                    fd = open_regular(cursor, follow(cursor, file.path[-1]))
                return os.fdopen(fd, "rb", buffering=0)
            except OddFile as odd:
                raise JobFailed(f"output {shown(file.path)} has become {odd} since it was found") from odd
            except (FileNotFoundError, NotADirectoryError) as error:
                raise JobFailed(f"output {shown(file.path)} has vanished since it was found") from error

    def remove(self) -> None:
        """Remove the folder with all that is in it; harmless if it is gone."""
        for _ in range(_REMOVALS):  # somebody may still be writing to it, or removing it as well
            with disk_errors(self._top), suppress(FileNotFoundError), Cursor(self._base) as cursor:
                remove_folder(cursor, self._top.name)
            if not os.path.lexists(self._top):
                return
        raise DiskTrouble(f"{shown(str(self._top))}: cannot be removed: something keeps writing to it")


@contextmanager
def _nothing_in_the_way(field: str, path: tuple[str, ...]) -> Iterator[None]:
    try:
        yield
    except (NotADirectoryError, IsADirectoryError) as error:
        raise JobFailed(
            f"{field}: {shown(path)}: something else is in its place in the job's folder"
        ) from error


class _Listing:
    """What was found so far."""

    def __init__(self) -> None:
        self._files: list[OutputFile] = []
        self._parts = 0
        self._sentences: list[str] = []
        self._skipped = 0

    def result(self) -> OutputListing:
        more = self._skipped - len(self._sentences)
        tail = [f"{more} more are left out for such reasons"] if more else []
        return OutputListing(
            tuple(sorted(self._files, key=lambda file: file.path)), (*self._sentences, *tail)
        )

    def skip(self, path: tuple[str, ...], what: str) -> None:
        self._skipped += 1
        if len(self._sentences) < _MAX_SENTENCES:
            self._sentences.append(f"{shown(path)} is {what}: left out")

    def add_below(self, cursor: Cursor, root: str) -> None:
        """Add a file, or a folder with all that is in it; not recursive, a job may nest thousands."""
        pending = [[root] if self._is_folder(cursor, cursor.path, root) else []]
        while pending:
            if not pending[-1]:
                pending.pop()
                if pending:
                    cursor.up()
                continue
            name = pending[-1].pop()
            try:
                cursor.down(name)
            except (FileNotFoundError, NotADirectoryError):
                self.skip((*cursor.path, name), "no folder any more since it was found")
                continue
            except OSError as error:
                raise disk_trouble(error, (*cursor.path, name)) from error
            here = cursor.path
            with os.scandir(cursor.fd) as entries:
                names = sorted(entry.name for entry in entries)
            pending.append([name for name in names if self._is_folder(cursor, here, name)][::-1])

    def _is_folder(self, cursor: Cursor, here: tuple[str, ...], name: str) -> bool:
        """Add or skip one entry, or say that it is a folder."""
        try:
            info = os.lstat(name, dir_fd=cursor.fd)
            if stat.S_ISLNK(info.st_mode):
                info = _stat_of_target(cursor, name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OddFile as odd:
            self.skip((*here, name), str(odd))
            return False
        if stat.S_ISDIR(info.st_mode):
            return True
        if stat.S_ISREG(info.st_mode):
            self._add(OutputFile((*here, name), info.st_size, info.st_mtime_ns))
        else:
            self.skip((*here, name), kind_of(info.st_mode))
        return False

    def _add(self, file: OutputFile) -> None:
        self._files.append(file)
        self._parts += len(file.path)
        if len(self._files) > MAX_FILES or self._parts > MAX_PARTS:
            raise JobFailed(
                f"files_up: {shown(file.path[:1])} holds more than {MAX_FILES:,} files or too deep ones"
            )


def _stat_of_target(cursor: Cursor, name: str) -> os.stat_result:
    with cursor.clone() as other:
        target = follow(other, name)
        return os.lstat(target, dir_fd=other.fd)
