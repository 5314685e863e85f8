"""The journal: SQLite at <STATE_DIR>/agent.db, so that every job outlives the agent.

WAL with `synchronous=FULL`: what `save` returned from survives a power cut. The database itself refuses
a phase that may not follow the one before. docs/state.md describes the tables.
"""

import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from agent.core.errors import ConfigError, DiskTrouble
from agent.core.lifecycle import LEGAL
from agent.core.models import Record

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_RECORD = TypeAdapter(Record)
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_SCHEMA_1 = """
CREATE TABLE transitions (before TEXT NOT NULL, after TEXT NOT NULL, PRIMARY KEY (before, after));
CREATE TABLE jobs (job_id INTEGER PRIMARY KEY, phase TEXT NOT NULL, claimed_at REAL NOT NULL,
                   record TEXT NOT NULL);
CREATE TABLE uploads (job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE, upload_key TEXT NOT NULL,
                      PRIMARY KEY (job_id, upload_key)) WITHOUT ROWID;
CREATE TABLE history (entry INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, verdict TEXT NOT NULL,
                      reason TEXT NOT NULL, exit_code INTEGER, claimed_at REAL NOT NULL,
                      ended_at REAL NOT NULL);
CREATE TRIGGER only_legal_phases BEFORE UPDATE OF phase ON jobs
WHEN OLD.phase <> NEW.phase
 AND NOT EXISTS (SELECT 1 FROM transitions WHERE before = OLD.phase AND after = NEW.phase)
BEGIN SELECT RAISE(ABORT, 'illegal phase'); END;
"""


class SqliteJournal:
    """Fulfils `ports.Journal`; one connection, used by every thread under a lock.

    Raises `DiskTrouble` when the disk does not take a record, `ConfigError` when a newer agent wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in _BROKEN:
                raise DiskTrouble(f"cannot open {path}: {error}") from error
            self._move_aside(error)
            self._db = self._open()
        self.agent_id = _read_or_make_id(path.with_name("agent-id"))

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            self._migrate(db)
            db.execute("SELECT count(*) FROM jobs").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f"{self._path} was written by a newer decode-agent (schema {version}, this one knows"
                f" {SCHEMA_VERSION}): install that version again"
            )
        if version == SCHEMA_VERSION:
            return
        rows = [(before.value, after.value) for before, legal in LEGAL.items() for after in legal]
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA_1}")
        db.executemany("INSERT INTO transitions VALUES (?, ?)", rows)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self._path.with_name(f"{self._path.name}.unreadable-{time.time_ns()}")
        self._path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        log.error("The journal %s is unreadable (%s); moved it to %s.", self._path, error, aside)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.IntegrityError as error:
                raise ValueError(f"the journal refused it: {error}") from error
            except sqlite3.Error as error:
                raise DiskTrouble(f"cannot write {self._path}: {error}") from error

    def save(self, record: Record) -> None:
        """Insert or replace; `ValueError` for a phase that may not follow the saved one."""
        text = _RECORD.dump_json(record).decode()
        with self._transaction() as db:
            db.execute(
                "INSERT INTO jobs VALUES (?, ?, ?, ?) ON CONFLICT (job_id) DO UPDATE"
                " SET phase = excluded.phase, record = excluded.record",
                (record.job_id, record.phase.value, record.claimed_at, text),
            )

    def active(self) -> list[Record]:
        """Every job that is not removed yet, oldest first."""
        with self._transaction() as db:
            rows = db.execute("SELECT record FROM jobs ORDER BY claimed_at, job_id").fetchall()
        return [_RECORD.validate_json(text) for (text,) in rows]

    def mark_uploaded(self, job_id: int, upload_key: str) -> None:
        """This file has arrived."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO uploads VALUES (?, ?)", (job_id, upload_key))

    def uploaded(self, job_id: int) -> frozenset[str]:
        """The keys of all files of the job that have arrived."""
        with self._transaction() as db:
            rows = db.execute("SELECT upload_key FROM uploads WHERE job_id = ?", (job_id,)).fetchall()
        return frozenset(key for (key,) in rows)

    def close_job(self, record: Record, ended_at: float) -> None:
        """Move the job to the history; harmless if it is there already."""
        outcome = record.outcome
        verdict, reason, code = (
            (outcome.verdict.value, outcome.reason, outcome.exit_code) if outcome else ("gone", "", None)
        )
        with self._transaction() as db:
            if db.execute("DELETE FROM jobs WHERE job_id = ?", (record.job_id,)).rowcount:
                db.execute(
                    "INSERT INTO history (job_id, verdict, reason, exit_code, claimed_at, ended_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (record.job_id, verdict, reason, code, record.claimed_at, ended_at),
                )

    def close(self) -> None:
        """Close the database; nothing can be saved after it."""
        with self._lock:
            self._db.close()


def _read_or_make_id(path: Path) -> str:
    """The agent's id; in a file of its own, so that a lost journal does not orphan its containers."""
    try:
        if path.exists() and (known := path.read_text(encoding="ascii").strip()):
            return known
        made = str(uuid.uuid4())
        draft = path.with_name(f"{path.name}.new")
        with draft.open("w", encoding="ascii") as file:
            file.write(f"{made}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DiskTrouble(f"cannot keep the agent's id in {path}: {error}") from error
    return made
