"""The journal on a disk that is really full: what must be written down is, and nothing is lost."""

import os
import shutil
import subprocess
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from agent.adapters.journal import SqliteJournal
from agent.adapters.journal_ballast import Ballast
from agent.core.errors import DiskTrouble
from agent.core.intake import parse_job
from agent.core.models import Outcome, Phase, Record, Verdict

MIB = 1 << 20
SPEC = parse_job("7", {"app": {"env": {"K": "v" * 2000}}, "handler": {"image_url": "i"}}).spec
LIFE = (Phase.STAGING_IN, Phase.RUNNING, Phase.STAGING_OUT, Phase.REPORTING, Phase.DONE)


def record(job_id, phase=Phase.STAGING_IN):
    return Record(job_id, phase, SPEC, 0, 1000.0 + job_id)


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MiB in memory."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("mounting needs root")
        pytest.skip("mounting needs root")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk):
    """Somebody else takes all that is left."""
    for size_bytes in (65536, 4096):
        with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * size_bytes)
    assert shutil.disk_usage(disk).free == 0


def save_many(journal):
    for job_id in range(2, 5000):
        journal.save(record(job_id))


def test_whole_jobs_are_kept_on_a_full_disk(disk, caplog):
    """The ballast gives way: forty jobs live through every phase, and their history is there afterwards."""
    with closing(SqliteJournal(disk / "agent.db", 2 * MIB)) as journal:
        assert (disk / "agent.ballast").stat().st_blocks * 512 >= 2 * MIB
        fill(disk)
        for job_id in range(40):
            for phase in LIFE:
                journal.save(record(job_id, phase))
            journal.mark_uploaded(job_id, "log:a:1:2")
            done = replace(record(job_id, Phase.DONE), outcome=Outcome(Verdict.FINISHED))
            journal.close_job(done, 2000.0, "log\n" * 100)
        assert len(journal.history(100)) == 40
    assert not (disk / "agent.ballast").exists()
    assert caplog.text.count("is full: using the room kept for this") == 1
    with closing(SqliteJournal(disk / "agent.db", 2 * MIB)) as again:
        assert len(again.history(100)) == 40


def test_without_ballast_it_is_trouble_and_goes_on_when_there_is_room(disk):
    """What was saved before stays, what was refused can be saved later; the phases are still watched over."""
    with closing(SqliteJournal(disk / "agent.db", 0)) as journal:
        journal.save(record(1))
        (disk / "agent.ballast").unlink(missing_ok=True)
        fill(disk)
        with pytest.raises(DiskTrouble, match="cannot write"):
            save_many(journal)
        saved = len(journal.active())
        assert [one.job_id for one in journal.active()] == list(range(1, saved + 1))
        (disk / "filler").unlink()
        journal.save(record(saved + 1))
        journal.save(record(1, Phase.REPORTING))
        with pytest.raises(ValueError, match="illegal phase"):
            journal.save(record(1, Phase.STAGING_IN))
        assert len(journal.active()) == saved + 1


def test_it_opens_on_a_full_disk(disk):
    """An agent that was killed there comes back: what it needs to open its journal the ballast has."""
    with closing(SqliteJournal(disk / "agent.db", 2 * MIB)) as journal:
        journal.save(record(1))
    fill(disk)
    with closing(SqliteJournal(disk / "agent.db", 2 * MIB)) as journal:
        assert journal.active() == [record(1)]
        journal.save(record(1, Phase.RUNNING))


def test_the_ballast_comes_back_when_there_is_room(disk, monkeypatch):
    """Looked after once in a minute; not while it would take most of what is left."""
    now = [100.0]
    monkeypatch.setattr("agent.adapters.journal_ballast.monotonic", lambda: now[0])
    path = disk / "agent.ballast"
    ballast = Ballast(path, 2 * MIB)
    ballast.restore()
    assert path.exists()
    fill(disk)
    assert ballast.drop()
    assert not ballast.drop()
    for wait_s, is_free, is_back in ((30.0, True, False), (31.0, False, False), (61.0, True, True)):
        now[0] += wait_s
        if is_free:
            (disk / "filler").unlink(missing_ok=True)
        else:
            fill(disk)
        ballast.restore()
        assert path.exists() is is_back
    assert path.stat().st_blocks * 512 >= 2 * MIB


def test_a_ballast_that_cannot_be_made_is_left_out(tmp_path, monkeypatch):
    """Not every file system can reserve."""

    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with closing(SqliteJournal(tmp_path / "agent.db")) as journal:
        journal.save(record(1))
    assert not (tmp_path / "agent.ballast").exists()
