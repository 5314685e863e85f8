"""The journal keeps what it was given, and refuses what cannot be."""

import sqlite3
from dataclasses import replace

import pytest

from agent.adapters.journal import SCHEMA_VERSION, SqliteJournal
from agent.core.errors import ConfigError, DiskTrouble
from agent.core.intake import parse_job
from agent.core.lifecycle import LEGAL
from agent.core.models import Outcome, Phase, Record, Verdict

SPEC = parse_job(
    "7",
    {
        "app": {"cmd": ["a", "b"], "env": {"K": "V"}},
        "handler": {"image_url": "i", "files_up": {"log": "log"}},
    },
).spec
RECORD = Record(7, Phase.STAGING_IN, SPEC, 0, 1000.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.db"


@pytest.fixture
def journal(path):
    journal = SqliteJournal(path)
    yield journal
    journal.close()


def test_a_record_comes_back_as_it_was(journal, path):
    """Spec, outcome and notes survive the process."""
    full = replace(
        RECORD,
        container_started=True,
        attempts=2,
        outcome=Outcome(Verdict.ERROR, "exit code 3", 3, "tail"),
        notes=("a", "b"),
    )
    journal.save(full)
    journal.save(Record(8, Phase.REPORTING, None, 1, 999.0))
    journal.close()
    again = SqliteJournal(path)
    assert again.active() == [Record(8, Phase.REPORTING, None, 1, 999.0), full]
    assert again.agent_id == journal.agent_id
    again.close()


@pytest.mark.parametrize("before", list(Phase))
@pytest.mark.parametrize("after", list(Phase))
def test_the_database_refuses_illegal_phases(journal, before, after):
    """Exactly the transitions of core.lifecycle pass, whatever the code above asks for."""
    journal.save(replace(RECORD, phase=before))
    if after is before or after in LEGAL[before]:
        journal.save(replace(RECORD, phase=after))
        assert journal.active()[0].phase is after
    else:
        with pytest.raises(ValueError, match="illegal phase"):
            journal.save(replace(RECORD, phase=after))
        assert journal.active()[0].phase is before


def test_uploads_are_remembered_until_the_job_is_closed(journal):
    """A job that comes back under the same id begins with no file uploaded."""
    journal.save(RECORD)
    journal.mark_uploaded(7, "a")
    journal.mark_uploaded(7, "a")
    journal.mark_uploaded(7, "b")
    assert journal.uploaded(7) == {"a", "b"}
    journal.close_job(replace(RECORD, phase=Phase.DONE, outcome=Outcome(Verdict.FINISHED)), 2000.0)
    journal.close_job(replace(RECORD, phase=Phase.DONE, outcome=Outcome(Verdict.FINISHED)), 2001.0)
    assert journal.active() == []
    assert journal.uploaded(7) == frozenset()
    journal.save(RECORD)
    assert journal.uploaded(7) == frozenset()


def test_history_has_each_job_once(journal, path):
    """Closing again after a crash adds nothing."""
    journal.save(RECORD)
    for ended_at in (2000.0, 2001.0):
        journal.close_job(replace(RECORD, outcome=Outcome(Verdict.ERROR, "why", 3)), ended_at)
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT job_id, verdict, reason, exit_code, ended_at FROM history").fetchall()
    db.close()
    assert rows == [(7, "error", "why", 3, 2000.0)]


def test_an_unreadable_database_is_moved_aside(path, caplog):
    """Rubbish in its place does not keep the agent from starting, and is kept for a look."""
    path.write_bytes(b"this is no database" * 1000)
    journal = SqliteJournal(path)
    assert journal.active() == []
    journal.close()
    assert journal.agent_id
    aside = [one for one in path.parent.iterdir() if "unreadable" in one.name]
    assert [one.read_bytes()[:19] for one in aside] == [b"this is no database"]
    assert "unreadable" in caplog.text


def test_a_lost_journal_keeps_the_agents_id(path):
    """The containers of before carry it on their labels: they must be recognised."""
    journal = SqliteJournal(path)
    journal.close()
    path.unlink()
    again = SqliteJournal(path)
    again.close()
    assert again.agent_id == journal.agent_id


def test_a_newer_schema_is_refused_and_left_alone(path):
    """A downgrade does not eat jobs; it says what to do."""
    SqliteJournal(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(ConfigError, match="newer decode-agent"):
        SqliteJournal(path)
    assert path.exists()


def test_a_folder_that_is_missing_is_trouble(tmp_path):
    """No traceback of sqlite's own."""
    with pytest.raises(DiskTrouble, match="cannot open"):
        SqliteJournal(tmp_path / "no" / "agent.db")
