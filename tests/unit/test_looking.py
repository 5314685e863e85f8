"""When a job is looked for, as far as disks and what is left over have a say."""

from agent.core.adoption import note_of
from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.errors import ApiTrouble
from agent.core.intake import parse_job
from agent.core.models import Phase, Record, Word
from agent.core.room import Room
from agent.core.status import health_of
from agent.leftovers import AGAIN_S, SWEEP_EVERY_S
from tests.fakes.engine import Script
from tests.unit.world import let_jobs_end, spec

GIB = 1024**3
RECORD = Record(9, Phase.RUNNING, parse_job("9", spec()).spec, 0, 1000.0, container_started=True, attempts=1)


def room(free_gib):
    return (Room("jobs", "/jobs", 1, int(free_gib * GIB)),)


def texts(daemon):
    return [gate.text for gate in daemon.status().gates]


def leave_container(world):
    world.engine.scripts[9] = Script(None)
    world.engine._facts["decode-job-9"] = ContainerFact(
        "decode-job-9", ContainerStatus.RUNNING, 9, world.engine.agent_id, 1000.0, job_note=note_of(RECORD)
    )
    world.api.states[9] = Word.RUNNING


def test_a_disk_without_room_closes_the_gate_until_there_is_more(make, world, caplog):
    """Degraded, said once; open again by itself, a little above the limit."""
    daemon = make(min_free_bytes=10 * GIB)
    for now, free_gib in ((100.0, 3.2), (200.0, 9.9), (300.0, 10.5)):
        world.rooms = room(free_gib)
        daemon.tick(now)
        assert texts(daemon)[0].startswith("only ")
        assert health_of(daemon.status()).value == "degraded"
    assert world.api.states == {}
    world.rooms = room(11)
    daemon.tick(400.0)
    assert texts(daemon) == []
    assert list(world.api.states) == [7]
    assert "only 3.2 GiB are free on /jobs (jobs; MIN_FREE_DISK_GIB=10)" in caplog.text


def test_a_disk_that_gets_full_is_searched_for_what_is_left_over(make, world):
    """At the next look, not ten minutes later."""
    world.api.queue.clear()
    daemon = make(min_free_bytes=10 * GIB, leftover_grace_s=50.0)
    folder = world.path / "jobs" / "9"
    folder.mkdir(parents=True)
    world.rooms = room(20)
    daemon.tick(100.0)
    world.rooms = room(5)
    daemon.tick(140.0)
    assert folder.exists()
    daemon.tick(180.0)
    assert not folder.exists()


def test_a_job_is_adopted_before_another_is_taken(make, world):
    """It has the slot that its label names; the queue is asked when it is done."""
    leave_container(world)
    daemon = make()
    daemon.tick(100.0)
    assert daemon.job_ids() == (9,)
    assert world.api.states == {9: Word.RUNNING}
    world.engine.finish("decode-job-9", 0)
    let_jobs_end(daemon)
    assert [word for word, _ in world.api.verdicts(9)] == [Word.FINISHED]
    daemon.tick(100.1)
    assert 7 in world.api.states


def test_busy_slots_do_not_keep_a_job_from_being_adopted(make, world, journal):
    """Its container runs, whether its slot is taken or not: somebody has to keep it alive at the API."""
    world.engine.scripts[7] = Script(None)
    daemon = make()
    assert daemon.tick(100.0) == 100.0 + SWEEP_EVERY_S
    leave_container(world)
    daemon.tick(100.0 + SWEEP_EVERY_S)
    assert sorted(daemon.job_ids()) == [7, 9]
    assert {record.job_id for record in journal.active()} >= {9}


def test_an_api_that_is_away_is_shown_with_the_container(make, world, monkeypatch):
    """The gate names it; asked again soon, even by a busy machine."""
    leave_container(world)
    with monkeypatch.context() as patch:

        def fail(_):
            raise ApiTrouble("the API is away")

        patch.setattr(world.api, "status", fail)
        daemon = make()
        daemon.tick(100.0)
        expected = "the container decode-job-9 from before is left as it is: the API is away"
        assert texts(daemon) == [expected]
        assert world.api.states == {9: Word.RUNNING}
    daemon.tick(100.0 + AGAIN_S)
    daemon.tick(200.0)
    assert daemon.job_ids() == (9,)


def test_until_idle_waits_for_an_adopted_job(make, world):
    """An empty queue is not the end of it."""
    world.api.queue.clear()
    leave_container(world)
    daemon = make(until_idle=True)
    assert daemon.tick(100.0) is not None
    world.engine.finish("decode-job-9", 0)
    let_jobs_end(daemon)
    assert daemon.tick(200.0) is None
    assert [word for word, _ in world.api.verdicts(9)] == [Word.FINISHED]


def test_a_grace_of_nothing_removes_at_once(make, world):
    """LEFTOVER_GRACE=0."""
    folder = world.path / "jobs" / "9"
    folder.mkdir(parents=True)
    make(leftover_grace_s=0.0).tick(100.0)
    assert not folder.exists()
