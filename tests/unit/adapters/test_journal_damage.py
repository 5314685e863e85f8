"""A journal that the disk, a power cut or another version has changed: no job is taken for what it is not."""

import json
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters import journal_file
from agent.adapters.journal import SqliteJournal
from agent.core.errors import ConfigError, DiskTrouble
from agent.core.intake import parse_job
from agent.core.lifecycle import LEGAL
from agent.core.models import Outcome, Phase, Record, Verdict
from agent.core.status import Mode

FIXTURES = Path(__file__).parents[2] / "fixtures"
VERSION_AT = range(60, 64)  # of the file: user_version, which alone may make it a newer agent's


def spec(job_id):
    return parse_job(
        str(job_id),
        {
            "app": {"env": {"K": "v" * 500}},
            "handler": {"image_url": f"fit:{job_id}", "files_up": {"log": "l"}},
        },
    ).spec


def record(job_id, phase=Phase.RUNNING):
    return Record(job_id, phase, spec(job_id), job_id % 2, 1000.0 + job_id, phase is not Phase.STAGING_IN, 1)


RECORDS = [record(job_id, list(Phase)[job_id % 4]) for job_id in range(30, 50)]


@pytest.fixture
def disk():
    """A folder in memory if there is one: these tests open hundreds of journals."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as path:
        yield Path(path)


@pytest.fixture
def whole(disk):
    """A journal with twenty jobs, uploads and a history, closed."""
    (disk / "whole").mkdir()
    path = disk / "whole" / "agent.db"
    with closing(SqliteJournal(path, 0)) as journal:
        for number in range(30):
            journal.save(record(number))
            journal.close_job(
                replace(record(number), outcome=Outcome(Verdict.FINISHED)), 2000.0, "log\n" * 200
            )
        for one in RECORDS:
            journal.save(one)
            journal.mark_uploaded(one.job_id, f"log:{one.job_id}:12:99")
        journal.save_mode(Mode.PAUSED)
    return path


@contextmanager
def opened(path):
    with closing(SqliteJournal(path, 0)) as journal:
        yield journal


def aside_of(path):
    return sorted(one.name for one in path.parent.glob("*.unreadable-*"))


def copy_of(whole, disk, name):
    folder = disk / name
    shutil.copytree(whole.parent, folder)
    return folder / whole.name


def assert_nothing_is_made_up(path, where):
    """Each job is read as it was, or known to be lost; the journal serves."""
    before = {one.job_id: one for one in RECORDS}
    with opened(path) as journal:
        read = {one.job_id: one for one in journal.active()}
        lost = set(journal.lost())
        journal.history(100)
        for job_id, one in read.items():
            assert one == before.get(job_id), where
        assert read.keys() | lost >= before.keys() or aside_of(path), where
        assert not read.keys() & lost, where
        journal.save(replace(record(99), phase=Phase.STAGING_IN))
        journal.save(record(99))
        assert 99 in {one.job_id for one in journal.active()}, where
    return len(read)


def test_any_byte_may_change(whole, disk, tell):
    """Of the header, of the tables' definitions, of records, of what no one reads."""
    content = whole.read_bytes()
    chance = random.Random(20_26)
    places = sorted({*range(100), *(chance.randrange(len(content)) for _ in range(300))} - {*VERSION_AT})
    read = moved = 0
    for at in places:
        path = copy_of(whole, disk, str(at))
        damaged = bytearray(content)
        damaged[at] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        read += assert_nothing_is_made_up(path, f"byte {at}")
        moved += bool(aside_of(path))
        shutil.rmtree(path.parent)
    jobs = len(places) * len(RECORDS)
    tell(f"journal: {len(places)} bytes changed one by one, {moved} moved aside, {read} of {jobs} jobs read")
    assert moved > 10
    assert read > len(places) * len(RECORDS) / 2


@pytest.mark.parametrize("fill", [b"", b"\0", b"\xff"], ids=["cut off", "zeros", "ones"])
def test_any_page_may_be_gone(whole, disk, fill):
    """What a power cut leaves of a disk that lied about its cache."""
    content = whole.read_bytes()
    for page in range(0 if fill else 4096, len(content), 4096):
        path = copy_of(whole, disk, str(page))
        after = content[page + 4096 :] if fill else b""
        path.write_bytes(content[:page] + fill * 4096 + after)
        assert_nothing_is_made_up(path, f"page at {page}")
        shutil.rmtree(path.parent)


@pytest.fixture
def unsettled(whole, disk):
    """The files of a journal whose agent was killed: the last changes are in the WAL only."""
    with opened(whole) as journal:
        for one in RECORDS:
            if one.phase is Phase.RUNNING:
                journal.save(replace(one, phase=Phase.STAGING_OUT))
        return copy_of(whole, disk, "unsettled")


def test_a_wal_may_be_damaged_anywhere(unsettled, disk):
    """SQLite leaves out the changes from there on: every record is one that was saved once."""
    name = f"{unsettled.name}-wal"
    content = unsettled.with_name(name).read_bytes()
    assert len(content) > 20_000
    once = {(one.job_id, phase) for one in RECORDS for phase in (one.phase, Phase.STAGING_OUT)}
    for at in random.Random(7).sample(range(len(content)), 40):
        for cut in (True, False):
            path = copy_of(unsettled, disk, f"{at}-{cut}")
            damaged = content[:at] + (b"" if cut else bytes([content[at] ^ 0x10]) + content[at + 1 :])
            path.with_name(name).write_bytes(damaged)
            with opened(path) as journal:
                assert {(one.job_id, one.phase) for one in journal.active()} <= once
                assert len(journal.active()) == len(RECORDS)
            shutil.rmtree(path.parent)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize(
    "content", [b"rubbish" * 10_000, b"", b"\0" * 40_000], ids=["rubbish", "empty", "zeros"]
)
def test_a_file_beside_it_may_be_rubbish(unsettled, suffix, content):
    """Both are made anew."""
    unsettled.with_name(unsettled.name + suffix).write_bytes(content)
    with opened(unsettled) as journal:
        assert len(journal.active()) == len(RECORDS)


def test_a_wal_of_another_journal_makes_up_no_job(unsettled, disk):
    """Put together by hand or by a backup: pages of both."""
    (disk / "other").mkdir()
    other = disk / "other" / "agent.db"
    with opened(other) as journal:
        journal.save(record(1))
        shutil.copy(f"{other}-wal", f"{unsettled}-wal")
    Path(f"{unsettled}-shm").unlink()
    with opened(unsettled) as journal:
        known = {one.job_id: one for one in (*RECORDS, record(1))}
        assert all(one == known[one.job_id] for one in journal.active())


def test_a_wal_without_its_database_is_kept(unsettled, caplog):
    """SQLite would delete it; somebody may still make something of it."""
    unsettled.unlink()
    with opened(unsettled) as journal:
        assert journal.active() == []
    assert any(name.endswith("-wal") for name in aside_of(unsettled))
    assert "its main file is gone" in caplog.text


def test_a_database_that_is_gone_is_told(whole, caplog):
    """The agent's id is there: it has worked here before."""
    whole.write_bytes(b"")
    with opened(whole) as journal:
        assert journal.active() == []
    assert "of before is gone" in caplog.text


def test_the_jobs_of_a_broken_journal_are_known(whole, caplog):
    """As far as their ids can be read; what the owner asked for last holds."""
    content = bytearray(whole.read_bytes())
    with closing(sqlite3.connect(whole)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'history'").fetchone()
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    whole.write_bytes(content)
    with opened(whole) as journal:
        assert journal.active() == []
        assert journal.lost().keys() == {one.job_id for one in RECORDS}
        assert journal.mode() is Mode.PAUSED
        journal.save(RECORDS[0])
        journal.forget(RECORDS[1].job_id)
        assert journal.lost().keys() == {one.job_id for one in RECORDS[2:]}
    assert "Lost with the journal: jobs 30, 31, " in caplog.text


def test_only_the_newest_broken_ones_are_kept(whole):
    """A disk that breaks again and again must not fill up with them."""
    for _ in range(journal_file.KEPT_ASIDE + 2):
        whole.write_bytes(b"rubbish" * 1000)
        with opened(whole):
            pass
    assert len(aside_of(whole)) == journal_file.KEPT_ASIDE


def break_row(path, job_id, text):
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE jobs SET record = ? WHERE job_id = ?", (text, job_id))
        db.commit()


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", b"\xff\xfe", '{"job_id": 31, "phase": "DREAMING"}', 7],
    ids=["empty", "half", "null", "list", "bytes", "a newer word", "number"],
)
def test_one_row_that_cannot_be_read_loses_no_other(whole, caplog, text):
    """It is told once, kept aside with what it holds, and adopting the job puts it back in its place."""
    break_row(whole, 31, text)
    with opened(whole) as journal:
        for _ in range(2):
            assert journal.active() == [one for one in RECORDS if one.job_id != 31]
        assert list(journal.lost()) == [31]
        assert caplog.text.count("row of job 31 cannot be read") == 1
        journal.save(record(31))
        assert journal.lost() == {}
        assert journal.active() == sorted(
            [*RECORDS[:1], record(31), *RECORDS[2:]], key=lambda one: one.claimed_at
        )


def test_a_row_of_a_newer_agent_is_not_shown_in_the_log(whole, caplog):
    """It may hold what a job keeps secret."""
    break_row(whole, 31, '{"job_id": 31, "phase": "DREAMING", "spec": {"app": {"env": {"TOKEN": "hush"}}}}')
    with opened(whole) as journal:
        journal.active()
    assert "hush" not in caplog.text


def test_columns_that_were_changed_are_mended(whole, caplog):
    """The record with its check sum is believed; the phases that may follow are those of the record."""
    with closing(sqlite3.connect(whole)) as db:
        (trigger,) = db.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger'").fetchone()
        db.execute("DROP TRIGGER only_legal_phases")
        db.execute("UPDATE jobs SET phase = 'DONE' WHERE job_id = 30")
        db.execute("UPDATE jobs SET job_id = 131 WHERE job_id = 31")
        db.execute(trigger)
        db.commit()
    with opened(whole) as journal:
        assert journal.active() == RECORDS
    with closing(sqlite3.connect(whole)) as db:
        rows = db.execute("SELECT job_id, phase FROM jobs ORDER BY 1 LIMIT 2").fetchall()
    assert rows == [(one.job_id, one.phase) for one in RECORDS[:2]]
    assert caplog.text.count("is mended") == 2


def test_a_word_of_the_owner_that_nobody_knows_is_trouble(whole):
    """And no end of the agent."""
    with closing(sqlite3.connect(whole)) as db:
        db.execute("UPDATE owner SET mode = 'dreaming'")
        db.commit()
    with opened(whole) as journal, pytest.raises(DiskTrouble, match="odd word"):
        journal.mode()


@pytest.mark.parametrize("change", [("job_id", "jpb_id"), ("one = 1", "one = 3"), ("NEW.phase", "NFW.phase")])
def test_a_definition_that_was_changed_is_damage(whole, change):
    """It would show when it is used: at a save, in the middle of a job."""
    assert change[0].encode() in whole.read_bytes()
    whole.write_bytes(whole.read_bytes().replace(*(text.encode() for text in change)))
    with opened(whole) as journal:
        assert aside_of(whole)
        journal.save(record(99))


@pytest.mark.parametrize("version", [0, 1001, -1])
def test_a_version_that_cannot_be_is_damage(whole, version):
    """No agent would ever get out of refusing it."""
    with closing(sqlite3.connect(whole)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with opened(whole):
        assert aside_of(whole)


@pytest.mark.parametrize("version", [3, 1000])
def test_a_newer_version_is_not(whole, version):
    """Its jobs wait for that agent to be installed again."""
    with closing(sqlite3.connect(whole)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ConfigError):
        SqliteJournal(whole)
    assert not aside_of(whole)


def test_damage_under_way_costs_one_attempt(whole, caplog):
    """The jobs under way are saved again as they go on; until then they are known to be lost."""
    with opened(whole) as journal:
        with closing(sqlite3.connect(whole)) as db:
            db.execute("UPDATE owner SET mode = 'taking'")
            db.commit()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with whole.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (whole.stat().st_size - 4096))
        with pytest.raises(DiskTrouble, match="malformed"):
            journal.save(replace(RECORDS[0], notes=("x",)))
        journal.save(replace(RECORDS[0], notes=("x",)))
        journal.mark_uploaded(31, "of a job that is not here")
        assert journal.active() == [replace(RECORDS[0], notes=("x",))]
        assert len(aside_of(whole)) >= 1
    assert "unreadable" in caplog.text


@pytest.mark.parametrize("text", ["", "\0" * 37, "not an id\n", "ä"])
def test_a_damaged_id_is_known_from_the_journal(whole, text):
    """The containers of before carry it."""
    path = whole.with_name("agent-id")
    known = path.read_text()
    path.write_text(text)
    with opened(whole) as journal:
        assert f"{journal.agent_id}\n" == known
    assert path.read_text() == known


@pytest.fixture(params=["journal-2.sql", "journal-2-additions.sql"])
def older(request, tmp_path):
    path = tmp_path / "agent.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((FIXTURES / request.param).read_text())
    return path


def test_a_released_journal_opens_and_its_jobs_go_on(older):
    """Every phase goes where it may go now, the history and the owner's word are there."""
    with opened(older) as journal:
        records = journal.active()
        assert {one.phase for one in records} == set(Phase)
        assert {one.spec and one.spec.app.env["K"] for one in records} == {"Wert ä", None}
        staged = next(one for one in records if one.phase is Phase.STAGING_OUT)
        assert staged.outcome == Outcome(Verdict.ERROR, "killed", 137, "x")
        assert staged.notes == ("a note",)
        assert journal.uploaded(staged.job_id) == {"log:a/b.txt:12:99"}
        verdicts = {one.verdict for one in journal.history(10)}
        assert verdicts >= {"finished", "error", "gone"}
        assert journal.past_log(2) == "log of 2\n"
        assert journal.mode() is Mode.PAUSED
        for one in records:
            for phase in LEGAL[one.phase]:
                journal.save(replace(one, phase=phase))
                break
        for one in records:
            journal.close_job(one, 3000.0)
        assert journal.active() == []


def test_what_today_adds_is_read_back():
    """An end that the agent brought about, the engine's life, a job given back, a lost one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.db"
        with closing(sqlite3.connect(path)) as db:
            db.executescript((FIXTURES / "journal-2-additions.sql").read_text())
        with opened(path) as journal:
            records = {one.job_id: one for one in journal.active()}
            assert records[7].ending == "its time is over"
            assert records[6].life.boot == "boot"
            assert records[11].outcome == Outcome(Verdict.RETURNED, "the disk is full")
            assert journal.lost() == {99: 1700.5}
            assert journal.agent_id == "3e3a2a1e-6f4b-4d2c-9a53-0f6f5d1c2b7a"


def test_an_older_agent_lives_with_what_today_adds(whole):
    """A rollback: same version, its statements fit, and what it wrote is read again after the next update."""
    fields = {"job_id": 50, "phase": "RUNNING", "spec": None, "slot": 0, "claimed_at": 1.0}
    fields |= {"container_started": True, "attempts": 1, "outcome": None, "notes": []}
    plain = json.dumps(fields, separators=(",", ":"))
    with closing(sqlite3.connect(whole)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        db.execute("INSERT INTO jobs VALUES (50, 'RUNNING', 1.0, ?)", (plain,))
        db.execute("INSERT INTO uploads VALUES (50, 'key')")
        db.execute(
            "UPDATE jobs SET phase = 'STAGING_OUT', record = ? WHERE job_id = 50",
            (plain.replace("RUNNING", "STAGING_OUT"),),
        )
        db.execute("INSERT OR REPLACE INTO owner VALUES (1, 'taking')")
        db.execute("DELETE FROM jobs WHERE job_id = 31")
        db.commit()
    with opened(whole) as journal:
        assert journal.active() == [
            Record(50, Phase.STAGING_OUT, None, 0, 1.0, True, 1),
            *(one for one in RECORDS if one.job_id != 31),
        ]
