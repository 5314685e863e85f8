"""The journal: SQLite at <STATE_DIR>/agent.db, so that every job outlives the agent.

WAL with `synchronous=FULL`: what `save` returned from survives a power cut. The database itself refuses
a phase that may not follow the one before. docs/state.md describes the tables.
"""

import logging
import os
import sqlite3
import time
import uuid
from pathlib import Path

from agent.adapters import journal_schema as schema
from agent.adapters.journal_ballast import BALLAST_BYTES, Ballast
from agent.adapters.journal_file import JournalFile
from agent.adapters.journal_rows import record_from, text_of
from agent.core.errors import DiskTrouble
from agent.core.models import Record
from agent.core.status import Mode, PastJob

log = logging.getLogger(__name__)

HISTORY_ENTRIES = 10_000
HISTORY_LOGS = 200
LOG_TAIL_BYTES = 64 * 1024
_ID_FILE = "agent-id"
_BALLAST_FILE = "agent.ballast"


class SqliteJournal:
    """Fulfils `ports.Journal`; used by every thread.

    Raises `DiskTrouble` when the disk does not take a record, `ConfigError` when a newer agent wrote it.
    """

    def __init__(self, path: Path, ballast_bytes: int = BALLAST_BYTES) -> None:
        self._path = path
        was_here = _has_content(path.with_name(_ID_FILE)) and not _has_content(path)
        self._file = JournalFile(path, Ballast(path.with_name(_BALLAST_FILE), ballast_bytes))
        if was_here:
            log.error("The journal %s of before is gone: its jobs are known by their containers only.", path)
        try:
            self.agent_id = self._known_id()
        except BaseException:
            self.close()
            raise

    def _known_id(self) -> str:
        """The agent's id: by its own file, which outlives a broken journal, else by the journal."""
        path = self._path.with_name(_ID_FILE)
        known = _id_in(path)
        kept = self._file.run(lambda db: db.execute("SELECT id FROM agent").fetchone())
        agent_id = known or (_checked_id(str(kept[0])) if kept else "") or str(uuid.uuid4())
        if agent_id != known:
            _write_id(path, agent_id)
        if kept is None or kept[0] != agent_id:
            self._file.run(lambda db: db.execute("INSERT OR REPLACE INTO agent VALUES (1, ?)", (agent_id,)))
        return agent_id

    def save(self, record: Record) -> None:
        """Insert or replace; `ValueError` for a phase that may not follow the saved one."""
        row = (record.job_id, record.phase.value, record.claimed_at, text_of(record))

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO jobs VALUES (?, ?, ?, ?) ON CONFLICT (job_id) DO UPDATE"
                " SET phase = excluded.phase, record = excluded.record",
                row,
            )
            db.execute("DELETE FROM lost WHERE job_id = ?", (record.job_id,))

        self._file.run(work)

    def active(self) -> list[Record]:
        """Every job that is not removed yet, oldest first; one that cannot be read is `lost` from now on."""
        return self._file.run(self._read_rows)

    def _read_rows(self, db: sqlite3.Connection) -> list[Record]:
        records: list[Record] = []
        lost: dict[int, str] = {}
        for job_id, phase, text in db.execute("SELECT job_id, phase, record FROM jobs").fetchall():
            try:
                record = record_from(job_id, str(phase), str(text))
            except ValueError as error:
                lost[job_id] = str(text)
                log.error("The journal's row of job %s cannot be read: %s.", job_id, _first_line(error))  # noqa: TRY400  a sentence, no traceback
                continue
            records.append(record)
            if (record.job_id, record.phase.value) != (job_id, phase):
                _write_again(db, job_id, record, str(text))
        if lost:
            schema.note_lost(db, lost, time.time())
            db.executemany("DELETE FROM jobs WHERE job_id = ?", [(job_id,) for job_id in lost])
        return sorted(records, key=lambda record: (record.claimed_at, record.job_id))

    def lost(self) -> dict[int, float]:
        """The jobs that were here and cannot be read, and since when that is known (unix seconds)."""
        return self._file.run(lambda db: dict(db.execute("SELECT job_id, found_at FROM lost").fetchall()))

    def forget(self, job_id: int) -> None:
        """Nothing more has to be done about a lost job."""
        self._file.run(lambda db: db.execute("DELETE FROM lost WHERE job_id = ?", (job_id,)))

    def mark_uploaded(self, job_id: int, upload_key: str) -> None:
        """This file has arrived; a job that is not here has nothing marked."""
        self._file.run(
            lambda db: db.execute(
                "INSERT OR IGNORE INTO uploads SELECT job_id, ? FROM jobs WHERE job_id = ?",
                (upload_key, job_id),
            )
        )

    def uploaded(self, job_id: int) -> frozenset[str]:
        """The keys of all files of the job that have arrived."""
        query = "SELECT upload_key FROM uploads WHERE job_id = ?"
        return frozenset(self._file.run(lambda db: [str(key) for (key,) in db.execute(query, (job_id,))]))

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

        def work(db: sqlite3.Connection) -> None:
            if db.execute("DELETE FROM jobs WHERE job_id = ?", (record.job_id,)).rowcount:
                newest = db.execute(
                    "INSERT INTO history (job_id, verdict, reason, exit_code, claimed_at, ended_at, image,"
                    " slot, log_tail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                ).lastrowid
                _prune(db, newest or 0)

        self._file.run(work)

    def history(self, limit: int) -> list[PastJob]:
        """The jobs that are over, the last first."""
        return self._file.run(lambda db: schema.past_jobs(db, schema.SCHEMA_VERSION, limit))

    def past_log(self, job_id: int) -> str | None:
        """The end of the log of a job that is over; None: not known."""
        return self._file.run(lambda db: schema.past_log(db, schema.SCHEMA_VERSION, job_id))

    def mode(self) -> Mode:
        """What the owner asked for last; TAKING if nothing yet. `DiskTrouble` if it cannot be read."""
        row = self._file.run(lambda db: db.execute("SELECT mode FROM owner").fetchone())
        try:
            return Mode(row[0]) if row else Mode.TAKING
        except ValueError:
            raise DiskTrouble(f"{self._path} holds an odd word for it: {str(row[0])[:40]!r}") from None

    def save_mode(self, mode: Mode) -> None:
        """The owner asks for this now."""
        self._file.run(lambda db: schema.save_mode(db, mode.value))

    def close(self) -> None:
        """Close the database; nothing can be saved after it."""
        self._file.close()


def _write_again(db: sqlite3.Connection, job_id: int, record: Record, text: str) -> None:
    """Put right the columns beside a record that is whole."""
    log.error("The journal's row of job %d was damaged and is mended.", record.job_id)
    db.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))
    row = (record.job_id, record.phase.value, record.claimed_at, text)
    db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)", row)


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


def _first_line(error: ValueError) -> str:
    """Without what pydantic cites of the input, which may be a secret."""
    return str(error).partition("\n")[0]


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _checked_id(text: str) -> str:
    """The id, or nothing if it is none."""
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        return ""


def _id_in(path: Path) -> str:
    """The id that the file holds; empty if it holds none. Raises `DiskTrouble`."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DiskTrouble(f"cannot read the agent's id in {path}: {error.strerror}") from error
    if not (known := _checked_id(text)):
        log.error("%s does not hold an agent's id any more.", path)
    return known


def _write_id(path: Path, agent_id: str) -> None:
    try:
        draft = path.with_name(f"{path.name}.new")
        with draft.open("w", encoding="ascii") as file:
            file.write(f"{agent_id}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise DiskTrouble(f"cannot keep the agent's id in {path}: {error.strerror}") from error
