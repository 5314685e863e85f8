"""The journal's database: opened, moved aside when it is broken, written to although the disk is full."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from agent.adapters import journal_schema as schema
from agent.adapters.journal_ballast import Ballast
from agent.core.errors import DiskTrouble
from agent.core.status import Mode

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT_ASIDE = 3
_PARTS = ("", "-wal", "-shm")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SURROUNDINGS = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM),
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH),
}
"""What says nothing about the database, only about the disk and the machine around it."""

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
"""How a full disk looks, depending on which of the files could not grow."""


class JournalFile:
    """One connection, used by every thread under a lock.

    Raises `DiskTrouble` when the disk does not serve, `ConfigError` when a newer agent wrote it. A database
    that cannot be read is moved aside and a new one begun, which knows the ids of the jobs that were in it
    where these could still be read.
    """

    def __init__(self, path: Path, ballast: Ballast) -> None:
        self._path = path
        self._ballast = ballast
        self._lock = threading.Lock()
        try:
            self._db: sqlite3.Connection | None = self._opened()
        except sqlite3.Error as error:
            raise DiskTrouble(f"cannot open {path}: {error}") from error
        self._ballast.restore()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do it in a transaction of its own. `ValueError` for what the database refuses."""
        with self._lock:
            try:
                db = self._db = self._db or self._opened()
                done = self._with_room(lambda: _transact(db, work))
            except sqlite3.IntegrityError as error:
                raise ValueError(f"the journal refused it: {error}") from error
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if isinstance(error, UnicodeDecodeError) or _code_of(error) in _DAMAGED:
                    self._begin_anew(error)
                raise DiskTrouble(f"cannot write {self._path}: {error}") from error
            self._ballast.restore()
            return done

    def close(self) -> None:
        """Close the database; nothing can be saved after it."""
        with self._lock:
            if self._db is not None:
                self._db.close()

    def _with_room(self, act: Callable[[], T]) -> T:
        """Do it, and again with the ballast's room if there is too little."""
        try:
            return act()
        except sqlite3.Error as error:
            if _code_of(error) not in _NO_ROOM or not self._ballast.drop():
                raise
        return act()

    def _begin_anew(self, why: Exception) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None  # until there is a new one
        self._db = self._after_damage(why)

    def _opened(self) -> sqlite3.Connection:
        if self._has_only_a_wal():  # SQLite would delete it
            return self._after_damage("its main file is gone")
        try:
            return self._with_room(self._connect)
        except schema.Damaged as damage:
            return self._after_damage(damage)

    def _after_damage(self, why: object) -> sqlite3.Connection:
        aside = self._move_aside(why)
        lost, mode = _ids_in(aside), _mode_in(aside)
        db = self._with_room(self._connect)
        if mode in set(Mode):
            _transact(db, lambda db: schema.save_mode(db, mode))
        if lost:
            _transact(db, lambda db: schema.note_lost(db, dict.fromkeys(lost, ""), time.time()))
            log.error("Lost with the journal: jobs %s.", ", ".join(map(str, sorted(lost))))
        return db

    def _has_only_a_wal(self) -> bool:
        wal = self._path.with_name(f"{self._path.name}-wal")
        return _size_of(self._path) == 0 and _size_of(wal) > 0

    def _connect(self) -> sqlite3.Connection:
        """Raises `Damaged` for a database that cannot be read, `sqlite3.Error` for all else."""
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        db.text_factory = lambda text: text.decode("utf-8", "replace")  # one odd byte must not hide the rest
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        is_migrating = False
        try:
            schema.check_ours(db)
            is_migrating = schema.check_schema(db, self._path) != schema.SCHEMA_VERSION
            schema.check_pages(db)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            schema.migrate(db, self._path)
            _transact(db, schema.check_tables)
        except UnicodeDecodeError as error:  # Python's, of SQLite's text about it
            raise schema.Damaged("it holds names that are no text") from error
        except sqlite3.Error as error:
            if self._is_damage(error, is_migrating=is_migrating):
                raise schema.Damaged(str(error)) from error
            raise

    def _is_damage(self, error: sqlite3.Error, *, is_migrating: bool) -> bool:
        code = _code_of(error)
        if code == sqlite3.SQLITE_READONLY:  # by its own header, where the disk would take it
            return os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)
        return code in _DAMAGED or (not is_migrating and code not in _SURROUNDINGS)

    def _move_aside(self, why: object) -> Path:
        aside = self._path.with_name(f"{self._path.name}.unreadable-{time.time_ns()}")
        try:
            for part in _PARTS:
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + part).rename(aside.with_name(aside.name + part))
        except OSError as error:
            raise DiskTrouble(f"cannot move {self._path} aside: {error}") from error
        log.error("The journal %s is unreadable (%s); moved it to %s.", self._path, why, aside)
        self._forget_old_ones()
        return aside

    def _forget_old_ones(self) -> None:
        """A disk that breaks again and again must not fill up with what it broke."""
        found = [
            one for one in self._path.parent.glob(f"{self._path.name}.unreadable-*") if "-wal" not in one.name
        ]
        old = sorted(one for one in found if "-shm" not in one.name)[:-KEPT_ASIDE]
        for one in old:
            for part in _PARTS:
                with suppress(OSError):
                    one.with_name(one.name + part).unlink()


def _transact(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        done = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself takes back what did not fit
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise
    return done


def _code_of(error: sqlite3.Error) -> int:
    """SQLite's primary code; what Python itself complains of has none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _ids_in(broken: Path) -> frozenset[int]:
    """The jobs' ids that can still be read, from both ends up to the damage."""
    found: set[int] = set()
    for order in ("ASC", "DESC"):
        query = f"SELECT job_id FROM jobs ORDER BY job_id {order}"  # noqa: S608  not from outside
        found.update(row[0] for row in _rows_in(broken, query) if isinstance(row[0], int))
    return frozenset(job_id for job_id in found if 0 <= job_id < schema.ID_LIMIT)


def _mode_in(broken: Path) -> str:
    return next((str(row[0]) for row in _rows_in(broken, "SELECT mode FROM owner")), "")


def _rows_in(broken: Path, query: str) -> Iterator[tuple[object, ...]]:
    """What a damaged database answers until it fails."""
    with (
        suppress(sqlite3.Error, UnicodeDecodeError),
        closing(sqlite3.connect(f"file:{quote(str(broken.absolute()))}?mode=ro", uri=True)) as db,
    ):
        yield from db.execute(query)
