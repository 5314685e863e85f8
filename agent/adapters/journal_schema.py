"""The tables of the journal, and the way from an older schema to the newest; docs/state.md describes them."""

import sqlite3
from pathlib import Path

from agent.core.errors import ConfigError
from agent.core.lifecycle import LEGAL
from agent.core.status import PastJob

SCHEMA_VERSION = 2

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
    if version == SCHEMA_VERSION and not new:
        return
    db.execute("BEGIN IMMEDIATE")
    if version < 1:
        _run(db, _SCHEMA_1)
    if version < SCHEMA_VERSION:
        _run(db, _SCHEMA_2)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
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
    return [PastJob(*row) for row in db.execute(query, (max(0, limit),))]


def past_log(db: sqlite3.Connection, version: int, job_id: int) -> str | None:
    """The end of the log of the last job of that id; None: not kept, or no such job."""
    if version < 2:  # noqa: PLR2004  the schema that began to keep them
        return None
    query = "SELECT log_tail FROM history WHERE job_id = ? ORDER BY entry DESC LIMIT 1"
    row = db.execute(query, (job_id,)).fetchone()
    return None if row is None or row[0] is None else str(row[0])
