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

from agent.adapters import journal_schema as schema
from agent.core.errors import DiskTrouble
from agent.core.models import Record
from agent.core.status import Mode, PastJob

log = logging.getLogger(__name__)

HISTORY_ENTRIES = 10_000
HISTORY_LOGS = 200
LOG_TAIL_BYTES = 64 * 1024
_RECORD = TypeAdapter(Record)
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


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
            schema.migrate(db, self._path)
            db.execute("SELECT count(*) FROM jobs").fetchone()
        except BaseException:
            db.close()
            raise
        return db

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

    def close_job(self, record: Record, ended_at: float, log_tail: str = "") -> None:
        """Move the job to the history with the last 64 KiB of its log; harmless if it is there already.

        The history keeps the newest 10,000 jobs, and the logs of the newest 200.
        """
        outcome, spec = record.outcome, record.spec
        verdict, reason, code = (
            (outcome.verdict.value, outcome.reason, outcome.exit_code) if outcome else ("gone", "", None)
        )
        image = spec.handler.image_url if spec else ""
        times = (record.claimed_at, ended_at)
        row = (record.job_id, verdict, reason, code, *times, image, record.slot, _end_of(log_tail))
        with self._transaction() as db:
            if db.execute("DELETE FROM jobs WHERE job_id = ?", (record.job_id,)).rowcount:
                newest = db.execute(
                    "INSERT INTO history (job_id, verdict, reason, exit_code, claimed_at, ended_at, image,"
                    " slot, log_tail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                ).lastrowid
                _prune(db, newest or 0)

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first."""
        with self._transaction() as db:
            return schema.past_jobs(db, schema.SCHEMA_VERSION, limit)

    def past_log(self, job_id: int) -> str | None:
        """The end of the log of a job that is over; None: not known."""
        with self._transaction() as db:
            return schema.past_log(db, schema.SCHEMA_VERSION, job_id)

    def mode(self) -> Mode:
        """What the owner asked for last; TAKING if nothing yet."""
        with self._transaction() as db:
            row = db.execute("SELECT mode FROM owner").fetchone()
        return Mode(row[0]) if row else Mode.TAKING

    def save_mode(self, mode: Mode) -> None:
        """The owner asks for this now."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (mode.value,))

    def close(self) -> None:
        """Close the database; nothing can be saved after it."""
        with self._lock:
            self._db.close()


def _prune(db: sqlite3.Connection, newest: int) -> None:
    """Entries are numbered without gaps, for only the oldest are ever deleted."""
    db.execute("DELETE FROM history WHERE entry <= ?", (newest - HISTORY_ENTRIES,))
    db.execute(
        "UPDATE history SET log_tail = NULL WHERE entry <= ? AND log_tail IS NOT NULL",
        (newest - HISTORY_LOGS,),
    )


def _end_of(text: str) -> str:
    """The last 64 KiB, from a whole character on; half a surrogate pair would be refused."""
    return text.encode("utf-8", "replace")[-LOG_TAIL_BYTES:].decode("utf-8", "ignore")


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
