"""What no record knows: the API is asked first, nothing that may be somebody's is touched."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from agent.core.adoption import note_of
from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.errors import ApiTrouble, DiskTrouble, EngineTrouble, Unkillable
from agent.core.intake import parse_job
from agent.core.models import Phase, Record, Word
from agent.leftovers import AGAIN_S, LOST_FOR_S, SWEEP_EVERY_S, Leftovers
from tests.unit.world import spec

NAME = "decode-job-9"
RECORD = Record(9, Phase.RUNNING, parse_job("9", spec()).spec, 0, 1000.0, container_started=True, attempts=1)
RUNNING, EXITED = ContainerStatus.RUNNING, ContainerStatus.EXITED


@pytest.fixture
def tools(world, journal):
    return world.tools(journal)


@pytest.fixture
def adopted():
    return []


@pytest.fixture
def leftovers(tools, adopted):
    return Leftovers(tools, adopted.append)


def leave_container(world, note=None, *, status=RUNNING, job_id=9, agent_id=None, name=NAME):
    """A container whose record is gone."""
    note = note_of(RECORD) if note is None else note
    owner = world.engine.agent_id if agent_id is None else agent_id
    world.engine._facts[name] = ContainerFact(name, status, job_id, owner, 1000.0, job_note=note)


def leave_folder(world, name="9"):
    folder = world.path / "jobs" / name
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "a").write_text("a")
    return folder


def is_there(world, name=NAME):
    return world.engine.look(name) is not None


@pytest.mark.parametrize(
    "word", [Word.PULLED, Word.PREPROCESSING, Word.RUNNING, Word.POSTPROCESSING, Word.QUEUED]
)
def test_a_job_goes_on_by_the_label_of_its_container(world, journal, leftovers, adopted, word):
    """Saved before anybody works on it; nothing is said to the API here."""
    leave_container(world)
    world.api.states[9] = word
    assert leftovers.sweep(100.0, (), 0.0) == 1
    assert adopted == journal.active() == [RECORD]
    assert world.api.said == []
    assert is_there(world)
    assert leftovers.sweep(200.0, (9,), 0.0) == 0
    assert adopted == [RECORD]


@pytest.mark.parametrize("word", [Word.FINISHED, Word.ERROR])
def test_a_verdict_that_was_said_is_never_followed_by_anything(world, journal, leftovers, adopted, word):
    """`running` after `finished` would bring the job back to life: its container goes, in silence."""
    leave_container(world, status=EXITED)
    world.api.states[9] = word
    leftovers.sweep(100.0, (), 600.0)
    assert not is_there(world)
    assert (world.api.said, adopted, journal.active()) == ([], [], [])


def test_a_deleted_job_is_cleaned_up_in_silence(world, leftovers):
    """404: not ours any more."""
    leave_container(world)
    world.api.deleted.add(9)
    leftovers.sweep(100.0, (), 600.0)
    assert not is_there(world)
    assert (world.api.said, world.api.refused) == ([], [])


def test_a_label_that_tells_nothing_gives_the_job_back(world, leftovers, adopted):
    """Somebody else may run it; told before the container goes, so that a crash in between loses nothing."""
    leave_container(world, note="?")
    world.api.states[9] = Word.RUNNING
    leftovers.sweep(100.0, (), 600.0)
    assert not is_there(world)
    assert world.api.said == [(9, Word.QUEUED, "the worker lost its record of the job")]
    assert adopted == []


def test_it_is_not_given_back_twice(world, leftovers):
    """After a crash between the two the API calls it queued."""
    leave_container(world, note="?")
    world.api.states[9] = Word.QUEUED
    leftovers.sweep(100.0, (), 600.0)
    assert not is_there(world)
    assert world.api.said == []


def fail(monkeypatch, thing, method, error):
    def raise_it(*_, **__):
        raise error

    monkeypatch.setattr(thing, method, raise_it)


@pytest.mark.parametrize(
    ("status", "is_in_the_way"), [(RUNNING, True), (ContainerStatus.PAUSED, True), (EXITED, False)]
)
def test_an_api_that_is_away_decides_nothing(
    world, leftovers, adopted, monkeypatch, caplog, status, is_in_the_way
):
    """The container stays and is asked about soon again; it is in the way as long as it may hold the GPU."""
    leave_container(world, status=status)
    world.api.states[9] = Word.RUNNING
    with monkeypatch.context() as patch:
        fail(patch, world.api, "status", ApiTrouble("the API is away"))
        for now in (100.0, 111.0):
            leftovers.sweep(now, (), 0.0)
            assert leftovers.due_at == now + AGAIN_S
        assert is_there(world)
        expected = f"the container {NAME} from before is left as it is: the API is away"
        assert leftovers.in_the_way == (expected if is_in_the_way else "")
    assert caplog.text.count("is left as it is") == 1
    leftovers.sweep(122.0, (), 0.0)
    assert adopted == [replace(RECORD, container_started=True)]
    assert leftovers.in_the_way == ""
    assert leftovers.due_at == 122.0 + SWEEP_EVERY_S


def test_one_that_cannot_be_killed_keeps_no_other(world, leftovers, monkeypatch):
    """It is in the way; the rest is dealt with."""
    leave_container(world)
    leave_container(world, job_id=10, name="decode-job-10")
    world.api.deleted |= {9, 10}
    remove = world.engine.remove

    def stuck(name):
        if name == NAME:
            raise Unkillable("it hangs in the kernel")
        remove(name)

    monkeypatch.setattr(world.engine, "remove", stuck)
    leftovers.sweep(100.0, (), 0.0)
    assert not is_there(world, "decode-job-10")
    assert "hangs in the kernel" in leftovers.in_the_way


def test_containers_that_are_not_left_over_are_left_alone(world, journal, leftovers):
    """Another agent's, one of a recorded job, one of a job under way; nobody is asked about them."""
    journal.save(replace(RECORD, job_id=10))
    leave_container(world, agent_id="them")
    leave_container(world, job_id=10, name="decode-job-10")
    leave_container(world, job_id=11, name="decode-job-11")
    leftovers.sweep(100.0, (11,), 0.0)
    assert len(world.engine.list_ours()) == 3
    assert world.api.said == []


@pytest.mark.parametrize(("job_id", "name"), [(None, NAME), (9, "analysis"), (10, NAME)])
def test_a_container_that_only_has_our_labels_is_not_ours(world, leftovers, job_id, name):
    """Somebody works with an image made of a job's container (`docker commit`): it has the labels too."""
    leave_container(world, job_id=job_id, name=name)
    world.api.deleted |= {9, 10}
    leftovers.sweep(100.0, (), 0.0)
    assert is_there(world, name)
    assert leftovers.in_the_way == ""


def test_an_engine_that_is_away_is_asked_again_soon(world, leftovers):
    """The caller closes its gate."""
    world.engine.is_away = True
    with pytest.raises(EngineTrouble):
        leftovers.sweep(100.0, (), 0.0)
    assert leftovers.due_at == 100.0 + AGAIN_S


# Rows


def test_a_lost_row_without_a_container_gives_the_job_back(world, journal, leftovers):
    """Nothing of it is left here to go on with."""
    journal.save(RECORD)
    break_rows(world)
    world.api.states[9] = Word.PREPROCESSING
    leftovers.sweep(100.0, (), 0.0)
    assert world.api.said == [(9, Word.QUEUED, "the worker lost its record of the job")]
    assert (journal.active(), journal.lost()) == ([], {})


def break_rows(world):
    with closing(sqlite3.connect(world.path / "agent.db")) as db:
        db.execute("UPDATE jobs SET record = '{'")
        db.commit()


@pytest.mark.parametrize("word", [Word.FINISHED, Word.ERROR, Word.QUEUED, None])
def test_a_lost_row_of_a_job_that_is_over_is_forgotten(world, journal, leftovers, word):
    """In silence."""
    journal.save(RECORD)
    break_rows(world)
    world.api.states[9] = word
    if word is None:
        world.api.deleted.add(9)
    leftovers.sweep(100.0, (), 0.0)
    assert (world.api.said, world.api.refused, journal.lost()) == ([], [], {})


def test_a_lost_row_waits_for_the_api_but_not_for_ever(world, journal, leftovers, monkeypatch):
    """After an hour of silence the job has long been given away."""
    journal.save(RECORD)
    break_rows(world)
    fail(monkeypatch, world.api, "status", ApiTrouble("500", status=500))
    folder = leave_folder(world)
    leftovers.sweep(100.0, (), 0.0)
    (found_at,) = journal.lost().values()
    assert folder.exists()
    monkeypatch.setattr("agent.leftovers.time", lambda: found_at + LOST_FOR_S)
    for now in (200.0, 300.0):
        leftovers.sweep(now, (), 0.0)
    assert journal.lost() == {}
    assert not folder.exists()


def test_a_lost_row_with_a_container_goes_on(world, journal, leftovers, adopted):
    """Its folder is not left over either."""
    journal.save(RECORD)
    break_rows(world)
    leave_container(world)
    folder = leave_folder(world)
    world.api.states[9] = Word.RUNNING
    leftovers.sweep(100.0, (), 0.0)
    assert adopted == journal.active() == [RECORD]
    assert journal.lost() == {}
    assert folder.exists()


def test_a_journal_that_cannot_take_it_adopts_nothing(world, leftovers, adopted, journal, monkeypatch):
    """What is not written down is not begun."""
    leave_container(world)
    world.api.states[9] = Word.RUNNING
    fail(monkeypatch, journal, "save", DiskTrouble("full"))
    with pytest.raises(DiskTrouble):
        leftovers.sweep(100.0, (), 0.0)
    assert adopted == []
    assert is_there(world)


# Folders


def test_a_folder_that_nobody_knows_gets_its_grace(world, leftovers):
    """Counted from when it was seen first; it may be of a disk that was just mounted."""
    folder = leave_folder(world)
    leftovers.sweep(100.0, (), 600.0)
    leftovers.sweep(699.0, (), 600.0)
    assert folder.exists()
    leftovers.sweep(700.0, (), 600.0)
    assert not folder.exists()


def test_a_folder_that_was_somebodys_meanwhile_gets_its_grace_anew(world, leftovers):
    """The job came back and went again."""
    folder = leave_folder(world)
    leftovers.sweep(100.0, (), 600.0)
    leftovers.sweep(400.0, (9,), 600.0)
    leftovers.sweep(800.0, (), 600.0)
    assert folder.exists()


def test_folders_that_are_not_left_over_are_left_alone(world, journal, leftovers):
    """A recorded job's, one of a job under way, one with a container (whoever's), odd names, files, links."""
    journal.save(replace(RECORD, job_id=10))
    world.engine.add_foreign("decode-job-12", 12, "them")
    world.engine.add_foreign("decode-job-13")
    outside = world.path / "outside"
    outside.mkdir()
    kept = [leave_folder(world, name) for name in ("10", "11", "12", "13", "007", "x9", "9.old", "-9", "٩")]
    link, file = world.path / "jobs" / "14", world.path / "jobs" / "15"
    link.symlink_to(outside)
    file.write_text("")
    gone = leave_folder(world)
    leftovers.sweep(100.0, (11,), 0.0)
    assert all(one.exists() for one in (*kept, link, file, outside))
    assert not gone.exists()


def test_a_folder_that_cannot_be_removed_is_said_once(world, leftovers, monkeypatch, caplog):
    """And is no reason to take no job."""
    folder = leave_folder(world)
    fail(monkeypatch, shutil, "rmtree", AssertionError)  # nobody follows what a job left with it
    with monkeypatch.context() as patch:
        patch.setattr(
            "agent.adapters.job_folder.LocalJobFolder.remove",
            lambda _: (_ for _ in ()).throw(DiskTrouble("stuck")),
        )
        for now in (100.0, 800.0, 1500.0):
            leftovers.sweep(now, (), 0.0)
    assert caplog.text.count("stuck") == 1
    assert leftovers.in_the_way == ""
    leftovers.sweep(2200.0, (), 0.0)
    assert not folder.exists()


def test_alive_is_told_before_each_long_question(world, tools, adopted):
    """A machine full of leftovers is no reason for the watchdog."""
    told = []
    for number in range(20, 25):
        leave_container(world, job_id=number, name=f"decode-job-{number}")
        world.api.deleted.add(number)
        leave_folder(world, f"{number + 10}")
    Leftovers(tools, adopted.append, lambda: told.append(1)).sweep(100.0, (), 0.0)
    assert len(told) == 10
