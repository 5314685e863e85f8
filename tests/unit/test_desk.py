"""What the control socket asks of a running agent."""

import threading
from contextlib import contextmanager

import pytest

from agent.core.errors import ConfigError, DiskTrouble, EngineTrouble, HostTrouble
from agent.core.models import Outcome, Phase, Record, Verdict
from agent.core.status import Mode
from agent.core.stopping import Stop
from agent.desk import Desk
from agent.looking import Options
from agent.station import Renewed
from tests.fakes.engine import Script
from tests.fakes.waiting import wait_until
from tests.unit.world import SLOT

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
