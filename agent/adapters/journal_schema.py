"""The tables of the journal, and the way from an older schema to the newest; docs/state.md describes them."""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from agent.core.errors import ConfigError
from agent.core.lifecycle import LEGAL
from agent.core.status import PastJob

SCHEMA_VERSION = 2
ID_LIMIT = 10**18

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
# The log comes last: SQLite does not read the pages of a long last column that nobody asks for.
_SCHEMA_2 = """
ALTER TABLE history ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE history ADD COLUMN slot INTEGER;
ALTER TABLE history ADD COLUMN log_tail TEXT;
CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), mode TEXT NOT NULL);
"""
# What older agents live with, so that a rollback still opens the journal.
_ADDITIONS = """
CREATE TABLE IF NOT EXISTS lost (job_id INTEGER PRIMARY KEY, record TEXT NOT NULL, found_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS agent (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
"""
_ADDED = {"lost", "agent"}
_TOO_NEW = 1000  # no agent ever writes such a version: the header is damaged


class Damaged(Exception):
    """The database is there and cannot be read."""


def check_ours(db: sqlite3.Connection) -> None:
    """Raise `Damaged` if the version in the header cannot be that of what is there."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    has_tables = bool(_tables_of(db))
    if not 0 <= version <= _TOO_NEW or (version == 0 and has_tables):
        raise Damaged(f"it says that its schema is {version}")


def check_pages(db: sqlite3.Connection) -> None:
    """Raise `Damaged` if the pages of the database, or an index and its table, do not fit together."""
    found = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise Damaged(str(found and found[0]))


def check_tables(db: sqlite3.Connection) -> None:
    """Raise `Damaged` if a definition is not what `migrate` makes it; a header may forbid writing.

    A flipped bit in the name of a column or in a condition would otherwise show when it is used.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        migrate(new, Path(":memory:"))
        wanted = _definitions_in(new)
    if odd := wanted - _definitions_in(db):
        raise Damaged(f"the definition of {min(odd)[0]} is not what it was")
    db.execute("DELETE FROM lost WHERE job_id < 0")


def _definitions_in(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Names and texts, without what versions of SQLite may write in one way or the other."""
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(str(name), re.sub(r"[\s\"'`]", "", str(sql)).lower()) for name, sql in rows}


def _tables_of(db: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def check_schema(db: sqlite3.Connection, path: Path) -> int:
    """The schema of the database; `ConfigError` if only a newer agent can read it."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path} was written by a newer decode-agent (schema {version}, this one knows"
            f" {SCHEMA_VERSION}): install that version again"
        )
    return version


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the database to the newest schema, in one transaction; whoever is told of an error closes it."""
    version = check_schema(db, path)
    known = set(db.execute("SELECT before, after FROM transitions")) if version else set()
    new = {(before.value, after.value) for before, legal in LEGAL.items() for after in legal} - known
    if version == SCHEMA_VERSION and not new and _tables_of(db) >= _ADDED:
        return
    db.execute("BEGIN IMMEDIATE")
    if version < 1:
        _run(db, _SCHEMA_1)
    if version < SCHEMA_VERSION:
        _run(db, _SCHEMA_2)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    _run(db, _ADDITIONS)
    db.executemany("INSERT INTO transitions VALUES (?, ?)", sorted(new))  # an older agent lives with more
    db.execute("COMMIT")


def _run(db: sqlite3.Connection, script: str) -> None:
    """Like `executescript`, which would commit what was begun."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""


def past_jobs(db: sqlite3.Connection, version: int, limit: int) -> list[PastJob]:
    """The newest entries of the history, the last first."""
    image = "image" if version >= 2 else "''"  # noqa: PLR2004  the schema that began to keep it
    query = (
        f"SELECT job_id, verdict, reason, exit_code, {image}, claimed_at, ended_at"  # noqa: S608  not from outside
        " FROM history ORDER BY entry DESC LIMIT ?"
    )
    return [PastJob(*row) for row in db.execute(query, (max(0, limit),)) if _is_past_job(row)]


def _is_past_job(row: tuple[object, ...]) -> bool:
    """SQLite keeps values of any type in any column; a broken disk makes use of that."""
    job_id, verdict, reason, code, image, claimed_at, ended_at = row
    return (
        isinstance(job_id, int)
        and all(isinstance(text, str) for text in (verdict, reason, image))
        and isinstance(code, int | None)
        and isinstance(claimed_at, float)
        and isinstance(ended_at, float)
    )


def past_log(db: sqlite3.Connection, version: int, job_id: int) -> str | None:
    """The end of the log of the last job of that id; None: not kept, or no such job."""
    if version < 2:  # noqa: PLR2004  the schema that began to keep them
        return None
    query = "SELECT log_tail FROM history WHERE job_id = ? ORDER BY entry DESC LIMIT 1"
    row = db.execute(query, (job_id,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def note_lost(db: sqlite3.Connection, texts: Mapping[int, str], now: float) -> None:
    """These jobs were in the journal and cannot be read; `texts`: what their rows hold, by job id."""
    rows = [(job_id, text, now) for job_id, text in texts.items()]
    db.executemany("INSERT OR REPLACE INTO lost VALUES (?, ?, ?)", rows)


def save_mode(db: sqlite3.Connection, mode: str) -> None:
    """What the owner asked for last."""
    db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (mode,))
