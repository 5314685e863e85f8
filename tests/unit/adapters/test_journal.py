"""The journal keeps what it was given, and refuses what cannot be."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters import journal as journal_module
from agent.adapters.journal import SqliteJournal
from agent.adapters.journal_reading import read_history, read_past_log
from agent.adapters.journal_schema import SCHEMA_VERSION
from agent.core.errors import ConfigError, DiskTrouble
from agent.core.intake import parse_job
from agent.core.lifecycle import LEGAL
from agent.core.models import Outcome, Phase, Record, Verdict
from agent.core.status import Mode, PastJob

SPEC = parse_job(
    "7",
    {
        "app": {"cmd": ["a", "b"], "env": {"K": "V"}},
        "handler": {"image_url": "i", "files_up": {"log": "log"}},
    },
).spec
RECORD = Record(7, Phase.STAGING_IN, SPEC, 0, 1000.0)
SCHEMA_1 = Path(__file__).parents[2] / "fixtures" / "journal-1.sql"
PAST_1 = [
    PastJob(4, "gone", "", None, "", 1004.0, 2004.5),
    PastJob(3, "gone", "", None, "", 1003.0, 2003.5),
    PastJob(
        2,
        "error",
        "exit code 3: \N{LEFT SINGLE QUOTATION MARK}Ünfit\N{RIGHT SINGLE QUOTATION MARK}",
        3,
        "",
        1002.0,
        2002.5,
    ),
    PastJob(1, "finished", "", 0, "", 1001.0, 2001.5),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.db"


@pytest.fixture
def journal(path):
    journal = SqliteJournal(path)
    yield journal
    journal.close()


@pytest.fixture
def old(path):
    """A journal that schema 1's agent left behind."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_1.read_text())
    return path


def close(journal, job_id, **how):
    """A whole life of a job."""
    record = replace(RECORD, job_id=job_id)
    journal.save(record)
    journal.close_job(replace(record, outcome=Outcome(Verdict.FINISHED, "", 0)), 2000.0 + job_id, **how)


def schema_of(path):
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT type, name, tbl_name FROM sqlite_schema ORDER BY name").fetchall()
        columns = {
            name: db.execute(f"PRAGMA table_info({name})").fetchall()
            for kind, name, _ in rows
            if kind == "table"
        }
        steps = db.execute("SELECT * FROM transitions ORDER BY 1, 2").fetchall()
        return rows, columns, steps, db.execute("PRAGMA user_version").fetchone()


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


def test_a_journal_of_schema_1_goes_on(old):
    """Its active jobs are as they were and may go on, its history is there, its files stay uploaded."""
    with closing(SqliteJournal(old)) as journal:
        assert [(one.job_id, one.phase, one.attempts) for one in journal.active()] == [
            (6, Phase.STAGING_OUT, 1),
            (5, Phase.RUNNING, 1),
            (7, Phase.REPORTING, 0),
        ]
        first, second, third = journal.active()
        assert second.spec.app.env == {"K": "Wert ä"}
        assert first.outcome == Outcome(Verdict.ERROR, "killed", 137, "x")
        assert journal.uploaded(6) == {"log:a/b.txt:12:99"}
        assert journal.history(10) == PAST_1
        assert journal.past_log(2) is None
        assert journal.mode() is Mode.TAKING
        journal.save(replace(first, phase=Phase.REPORTING))
        with pytest.raises(ValueError, match="illegal phase"):
            journal.save(replace(third, phase=Phase.RUNNING))
        journal.close_job(second, 3000.0, "its log")
        assert journal.history(1) == [PastJob(5, "gone", "", None, "decode/fit:5", 1500.25, 3000.0)]
    with closing(SqliteJournal(old)) as again:
        assert again.past_log(5) == "its log"


def test_a_migrated_journal_is_like_a_new_one(old, tmp_path):
    """Both ways lead to the same tables."""
    SqliteJournal(old).close()
    (tmp_path / "new").mkdir()
    SqliteJournal(tmp_path / "new" / "agent.db").close()
    assert schema_of(old) == schema_of(tmp_path / "new" / "agent.db")


def test_a_migration_that_fails_leaves_the_old_schema(old, monkeypatch):
    """All of it or nothing: a full disk in the middle leaves what the next start can migrate."""
    before = schema_of(old)
    with monkeypatch.context() as patch:
        patch.setattr("agent.adapters.journal_schema._SCHEMA_2", "ALTER TABLE history ADD COLUMN image;\nX;")
        with pytest.raises(DiskTrouble, match="cannot open"):
            SqliteJournal(old)
    assert schema_of(old) == before
    with closing(SqliteJournal(old)) as journal:
        assert len(journal.active()) == 3


def test_the_history_tells_image_and_log(journal):
    """The last first; the log as the container wrote it."""
    close(journal, 1, log_tail="\x1b[31mred\x1b[0m\x00\n")
    close(journal, 2)
    assert journal.history(10) == [
        PastJob(2, "finished", "", 0, "i", 1000.0, 2002.0),
        PastJob(1, "finished", "", 0, "i", 1000.0, 2001.0),
    ]
    assert journal.history(1)[0].job_id == 2
    assert journal.history(0) == journal.history(-1) == []
    assert journal.past_log(1) == "\x1b[31mred\x1b[0m\x00\n"
    assert journal.past_log(2) == ""
    assert journal.past_log(3) is None


def test_a_job_that_came_twice_shows_its_last_log(journal):
    """A queue id may come back after its job was closed."""
    close(journal, 1, log_tail="first")
    close(journal, 1, log_tail="second")
    assert journal.past_log(1) == "second"
    assert [one.job_id for one in journal.history(10)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 70_000, "x" * 65_536),
        ("ä" * 40_000, "ä" * 32_768),
        ("ä" + "x" * 65_535, "x" * 65_535),  # half a character would not be text
        ("\ud800 half a pair", "? half a pair"),
    ],
)
def test_a_log_is_cut_to_its_end(journal, text, kept):
    """64 KiB, whole characters."""
    close(journal, 1, log_tail=text)
    assert journal.past_log(1) == kept


def test_the_history_is_pruned(journal, monkeypatch):
    """The oldest go, the logs of others sooner than their lines; the counting goes on after a start."""
    monkeypatch.setattr(journal_module, "HISTORY_ENTRIES", 5)
    monkeypatch.setattr(journal_module, "HISTORY_LOGS", 2)
    for job_id in range(1, 9):
        close(journal, job_id, log_tail=f"log {job_id}")
    assert [one.job_id for one in journal.history(100)] == [8, 7, 6, 5, 4]
    assert [journal.past_log(job_id) for job_id in (8, 7, 6, 3)] == ["log 8", "log 7", None, None]


def test_the_owners_wish_outlives_the_process(journal, path):
    """TAKING until something else was asked for."""
    assert journal.mode() is Mode.TAKING
    for mode in (Mode.PAUSED, Mode.LEAVING):
        journal.save_mode(mode)
        assert journal.mode() is mode
    with closing(SqliteJournal(path)) as again:
        assert again.mode() is Mode.LEAVING


def test_somebody_else_may_read_it(journal, path):
    """While its agent has it open, after it was closed and after it was killed; nothing is changed."""
    close(journal, 1, log_tail="its log")
    assert read_history(path, 10) == journal.history(10)
    assert read_past_log(path, 1) == "its log"
    journal.close()
    before = path.read_bytes()
    assert [one.job_id for one in read_history(path, 10)] == [1]
    assert read_past_log(path, 2) is None
    assert path.read_bytes() == before


def test_a_journal_of_schema_1_can_be_read(old):
    """After an upgrade, before the first start; it stays what it is."""
    assert read_history(old, 10) == PAST_1
    assert read_past_log(old, 2) is None
    assert schema_of(old)[3] == (1,)


def test_what_cannot_be_read_is_said(path):
    """No file, no database, a newer schema."""
    with pytest.raises(DiskTrouble, match=f"cannot read {path}"):
        read_history(path, 1)
    assert not path.exists()
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(DiskTrouble, match=f"cannot read {path}"):
        read_history(path, 1)
    path.unlink()
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(ConfigError, match="newer decode-agent"):
        read_history(path, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_reads_and_its_owner_can_still_write(path):
    """What SQLite makes beside the database belongs to the database's owner, whoever reads it."""
    with closing(SqliteJournal(path)) as journal:
        close(journal, 1)
    nobody = 65534
    os.chown(path, nobody, nobody)
    os.chown(path.parent, nobody, nobody)
    assert [one.job_id for one in read_history(path, 10)] == [1]
    beside = [one for one in path.parent.iterdir() if one.name.startswith("agent.db")]
    assert {one.stat().st_uid for one in beside} == {nobody}
