"""The journal read by somebody else than its agent, which may be down; nothing in it is changed."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from agent.adapters import journal_schema as schema
from agent.core.errors import DiskTrouble
from agent.core.status import PastJob

T = TypeVar("T")


def read_history(path: Path, limit: int) -> list[PastJob]:
    """The jobs that are over, the last first. Raises `DiskTrouble`, `ConfigError` if it is too new."""
    return _read(path, lambda db, version: schema.past_jobs(db, version, limit))


def read_past_log(path: Path, job_id: int) -> str | None:
    """The end of the log of a job that is over; None: not known. Raises as `read_history` does."""
    return _read(path, lambda db, version: schema.past_log(db, version, job_id))


def _read(path: Path, ask: Callable[[sqlite3.Connection, int], T]) -> T:
    """SQLite gives the files it needs beside the database to the database's owner, also as root."""
    try:
        where = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=10, isolation_level=None)) as db:
            return ask(db, schema.check_schema(db, path))
    except sqlite3.Error as error:
        raise DiskTrouble(f"cannot read {path}: {error}") from error
