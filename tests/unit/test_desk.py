"""What the control socket asks of a running agent."""

import threading
from contextlib import contextmanager

import pytest

from agent.core.errors import ConfigError, DiskTrouble, EngineTrouble, HostTrouble
from agent.core.models import Outcome, Phase, Record, Slot, Verdict, Word
from agent.core.status import Mode, Released
from agent.core.stopping import Stop
from agent.desk import Desk
from agent.looking import Options
from agent.station import Renewed
from tests.fakes.engine import Script
from tests.fakes.waiting import LONG_S, wait_until
from tests.unit.world import SLOT, let_jobs_end, spec

NAME = "decode-job-7"


@pytest.fixture
def daemon(make):
    return make()


@pytest.fixture
def desk(daemon, world, journal):
    return Desk(daemon, journal, world.engine)


@pytest.fixture
def running(world, daemon):
    """Job 7 runs and has logged."""
    world.engine.scripts[7] = Script(None, log=b"epoch 1\n")
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts[NAME])


@contextmanager
def serving(daemon):
    """The main thread does what others want of it."""
    over = threading.Event()

    def serve():
        while not over.wait(0.01):
            daemon.wishes.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    over.set()
    thread.join(60)


def fail(*_):
    raise DiskTrouble("the disk is broken")


def close(journal, job_id, log_tail=""):
    record = Record(job_id, Phase.DONE, None, 0, 1000.0, outcome=Outcome(Verdict.ERROR, "exit code 3", 3))
    journal.save(record)
    journal.close_job(record, 2000.0 + job_id, log_tail)


@pytest.mark.usefixtures("running")
def test_status_has_the_last_outcomes(desk, journal):
    """What runs and what ran, without waiting for the main thread."""
    for job_id in range(10, 20):
        close(journal, job_id)
    status = desk.status()
    assert [job.job_id for job in status.jobs] == [7]
    assert [past.job_id for past in status.recent] == [19, 18, 17, 16, 15]


def test_status_survives_a_broken_disk(desk, journal, monkeypatch):
    """The rest is still true."""
    monkeypatch.setattr(journal, "history", fail)
    assert desk.status().recent == ()


def test_history_tells_of_a_broken_disk(desk, journal, monkeypatch):
    """There, nothing else was asked for."""
    close(journal, 5)
    assert [past.reason for past in desk.history(3)] == ["exit code 3"]
    monkeypatch.setattr(journal, "history", fail)
    with pytest.raises(DiskTrouble):
        desk.history(3)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("follow", [False, True])
def test_the_log_of_a_job_under_way_comes_from_the_engine(desk, world, follow):
    """Followed, until its container ends."""
    pieces = desk.read_log(7, follow=follow, stop=Stop())
    assert next(pieces) == b"epoch 1\n"
    if follow:
        world.engine.finish(NAME, 0)
    assert list(pieces) == []


def test_a_job_whose_container_does_not_run_yet_has_no_log(desk, daemon, world):
    """Its inputs are still on their way."""
    world.engine.is_registry_away = True
    world.engine.images = set()
    daemon.tick(100.0)
    with pytest.raises(LookupError, match="job 7 has no log: its container does not run yet"):
        next(desk.read_log(7, follow=True, stop=Stop()))


def test_the_log_of_a_past_job_comes_from_the_journal(desk, journal):
    """Its end, as far as it was kept."""
    close(journal, 5, "last words\n")
    assert list(desk.read_log(5, follow=True, stop=Stop())) == [b"last words\n"]


def test_an_unknown_job_has_no_log(desk):
    """It is said which."""
    with pytest.raises(LookupError, match="no log of a job 99"):
        list(desk.read_log(99, follow=False, stop=Stop()))


@pytest.mark.usefixtures("running")
def test_an_engine_that_is_away_is_told(desk, world):
    """Not taken for a job without a log."""
    world.engine.is_away = True
    with pytest.raises(EngineTrouble):
        next(desk.read_log(7, follow=False, stop=Stop()))
    world.engine.is_away = False


def test_the_owner_steers(desk, journal):
    """At once and for good, whatever the main thread is waiting for."""
    desk.steer(Mode.PAUSED)
    assert journal.mode() is Mode.PAUSED
    assert desk.status().mode is Mode.PAUSED


def test_a_reload_is_done_by_the_main_thread(desk, daemon, world):
    """Who asked hears what changed."""
    world.renewed = Renewed(Options(5.0), world.policy, (SLOT,), 30.0, ("TIMEOUT_JOB is 5 now (was 30)",))
    with serving(daemon):
        assert desk.reload() == ("TIMEOUT_JOB is 5 now (was 30)",)


def test_bad_settings_are_told_to_who_asked(desk, daemon, monkeypatch):
    """With all the lines."""

    def refuse():
        raise ConfigError("TIMEOUT_JOB=x is not allowed")

    monkeypatch.setattr(daemon, "reload", refuse)
    with serving(daemon), pytest.raises(ConfigError, match="TIMEOUT_JOB=x"):
        desk.reload()


def test_a_busy_main_thread_is_not_waited_for_for_ever(daemon, world, journal):
    """And what was given up is not done behind one's back."""
    desk = Desk(daemon, journal, world.engine, answer_s=0.05)
    with pytest.raises(HostTrouble, match="nothing has changed"):
        desk.reload()
    daemon.wishes.serve()  # world.renewed is None: it would fail


@pytest.fixture
def uploading(world, daemon, monkeypatch):
    """Job 7 has ended and its outputs are on their way; `set` lets them arrive."""
    arrived = threading.Event()
    world.engine.scripts[7] = Script(0, writes={"output/a": b"a"})
    push = world.api.upload_request
    monkeypatch.setattr(world.api, "upload_request", lambda *args: (arrived.wait(LONG_S), push(*args))[1])
    daemon.tick(100.0)
    wait_until(lambda: daemon.status().jobs and daemon.status().jobs[0].phase is Phase.STAGING_OUT)
    yield arrived
    arrived.set()


def given_back(world, job_id):
    """The reason each time that it was."""
    return [why for one, word, why in world.api.said if one == job_id and word is Word.QUEUED]


@pytest.mark.usefixtures("running")
def test_a_release_gives_jobs_back_and_pauses(desk, daemon, world, journal, monkeypatch):
    """Their containers are gone before the API hears of it; nothing more is taken, also after a restart."""
    say, was_there = world.api.say, []

    def note(job_id, word, details=""):
        if word is Word.QUEUED:
            was_there.append(world.engine.look(NAME))
        say(job_id, word, details)

    monkeypatch.setattr(world.api, "say", note)
    assert desk.release((), "a demo") == Released((7,), ())
    let_jobs_end(daemon)
    assert given_back(world, 7) == ["a demo"]
    assert world.api.verdicts(7) == []
    assert was_there == [None]
    assert journal.active() == []
    assert journal.mode() is Mode.PAUSED
    world.api.queue["8"] = spec()
    daemon.tick(200.0)
    assert list(world.api.queue) == ["8"]


@pytest.mark.usefixtures("running")
def test_only_the_named_job_is_given_back(desk, daemon, world):
    """The other one runs on."""
    world.engine.scripts[8] = Script(None)
    world.api.queue["8"] = spec()
    daemon._slots = (SLOT, Slot(1, 1024, 2))
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts["decode-job-8"])
    assert desk.release((8,), "x") == Released((8,), ())
    wait_until(lambda: not daemon._crew._ended.empty())
    daemon.tick(101.0)
    assert daemon.job_ids() == (7,)


@pytest.mark.usefixtures("running")
def test_one_wrong_name_and_nothing_happens(desk, daemon):
    """Neither to the job that is under way nor to the mode."""
    with pytest.raises(LookupError, match="job 9 is not under way"):
        desk.release((7, 9), "x")
    assert daemon.owner.mode is Mode.TAKING
    assert daemon.job_ids() == (7,)


def test_a_job_that_has_ended_is_left_to_upload(desk, daemon, world, uploading):
    """Its work is done: it is delivered."""
    assert desk.release((), "x") == Released((), (7,))
    uploading.set()
    let_jobs_end(daemon)
    assert world.api.verdicts(7) == [(Word.FINISHED, "")]


def test_what_is_being_claimed_at_that_moment_is_given_back_too(desk, daemon, world, monkeypatch):
    """The answer with the job is on its way while the owner says that all have to go."""
    world.engine.scripts[7] = Script(None)
    claim = world.api.claim
    released = []

    def claim_late(*args):
        claimed = claim(*args)
        released.append(desk.release((), "a demo"))
        return claimed

    monkeypatch.setattr(world.api, "claim", claim_late)
    daemon.tick(100.0)
    assert released == [Released((), ())]
    let_jobs_end(daemon)
    assert given_back(world, 7) == ["a demo"]
    desk.steer(Mode.TAKING)
    monkeypatch.undo()
    world.api.queue["8"] = spec()
    daemon.tick(200.0)
    let_jobs_end(daemon)
    assert world.api.verdicts(8) == [(Word.FINISHED, "")]


@pytest.mark.parametrize("mode", [Mode.DRAINING, Mode.LEAVING])
def test_a_release_does_not_take_back_a_drain(desk, daemon, mode):
    """It hurries it."""
    desk.steer(mode)
    desk.release((), "x")
    assert daemon.owner.mode is mode


def test_resume_tries_what_rests(desk, daemon):
    """The owner has mended something."""
    for _ in range(3):
        daemon._tools.attempted(SLOT, "the GPU is lost")
    at = daemon._rests._rests[0].test_at
    desk.steer(Mode.PAUSED)
    assert daemon._rests._rests[0].test_at == at
    desk.steer(Mode.TAKING)
    assert daemon._rests._rests[0].test_at < at
