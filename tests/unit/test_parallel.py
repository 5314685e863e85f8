"""Several files at once, each tried again."""

import threading
from collections import Counter

import pytest

from agent import parallel as module
from agent.core.errors import ApiTrouble, JobFailed, Stopped, StorageTrouble
from agent.core.retry import Backoff, is_inputs_own_fault
from agent.core.stopping import Stop
from agent.parallel import Parallel
from tests.fakes.waiting import LONG_S, wait_until


def parallel(
    *, width=4, budget_s=60.0, stop=None, may_be_final=lambda _: False, on_server_error=lambda: None
):
    return Parallel(width, budget_s, Backoff(0.001, 0.001), stop or Stop(), may_be_final, on_server_error)


def test_every_item_is_done_once_and_several_at_a_time():
    """Four at a time means four at a time."""
    meeting = threading.Barrier(4, timeout=30)
    done = []

    def act(item):
        if item < 4:
            meeting.wait()
        done.append(item)

    parallel()(act, range(50))
    assert sorted(done) == list(range(50))


def test_trouble_is_tried_again():
    """Three 500s, then it works."""
    tries = []

    def act(item):
        tries.append(item)
        if len(tries) < 4:
            raise StorageTrouble("500", status=500)

    parallel()(act, ["a"])
    assert tries == ["a"] * 4


def test_trouble_is_raised_after_the_budget():
    """The runner then waits longer and begins the phase again."""

    def act(_):
        raise StorageTrouble("away")

    with pytest.raises(StorageTrouble, match="away"):
        parallel(budget_s=0.0)(act, ["a"])


def test_an_inputs_own_fault_fails_the_job_after_the_budget():
    """A directory in place of a file answers 500 for ever."""

    def act(_):
        raise StorageTrouble("input 'x': answers 500", status=500)

    with pytest.raises(JobFailed, match="input 'x'"):
        parallel(budget_s=0.0, may_be_final=is_inputs_own_fault)(act, ["a"])


def test_the_first_failure_ends_the_others():
    """Nobody waits for 10 GB that are of no use any more."""
    stop = Stop()
    began = threading.Event()

    def act(item):
        if item == "bad":
            assert began.wait(30)
            raise JobFailed("why")
        began.set()
        stop.wait(30)
        stop.check()

    with pytest.raises(JobFailed, match="why"):
        parallel(stop=stop)(act, ["good", "bad"])


def test_a_stop_ends_it():
    """Also between two tries."""
    stop = Stop()

    def act(_):
        stop.set()
        raise StorageTrouble("away")

    with pytest.raises(Stopped):
        parallel(stop=stop)(act, ["a"])


def test_server_errors_of_the_api_are_told():
    """So that the job's state can be asked for: a deleted job answers 500."""
    told = []

    def act(_):
        if not told:
            raise ApiTrouble("500", status=500)

    parallel(on_server_error=lambda: told.append(1))(act, ["a"])
    assert told == [1]


@pytest.fixture
def clock(monkeypatch):
    """Stands still unless a test moves it."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(module, "monotonic", lambda: Clock.now)
    return Clock


def refuse(item):
    raise StorageTrouble(f"input {item}: answers 500", status=500)


def test_what_is_refused_for_all_is_an_outage(clock):
    """Every input answers 500: the storage is broken, not the job, and all is well when it works again."""
    meeting = threading.Barrier(2, timeout=LONG_S)
    tries = Counter()

    def act(item):
        tries[item] += 1
        if tries[item] == 2:  # the first answer is noted by now
            meeting.wait()
            clock.now = 100.0
        if tries[item] < 4:
            refuse(item)
        meeting.wait()

    parallel(width=2, may_be_final=is_inputs_own_fault)(act, ["a", "b"])
    assert tries == {"a": 4, "b": 4}


def test_an_outage_that_does_not_end_fails_the_job(clock):
    """Two folders are the only inputs: nobody waits for ever."""
    meeting = threading.Barrier(2, timeout=LONG_S)
    tries = Counter()

    def act(item):
        tries[item] += 1
        if tries[item] == 2:
            meeting.wait()
            clock.now = 1000.0
        refuse(item)

    with pytest.raises(JobFailed, match="answers 500"):
        parallel(width=2, may_be_final=is_inputs_own_fault)(act, ["a", "b"])


def test_what_is_refused_while_others_come_is_the_jobs_fault(clock):
    """Two folders among the inputs of a storage that works."""
    tries = Counter()
    came = threading.Event()

    def act(item):
        tries[item] += 1
        if item == "good":
            wait_until(lambda: tries["a"] > 1 and tries["b"] > 1)
            clock.now = 10.0
        elif item == "next":  # the thread of the good one goes on once that is noted
            came.set()
        else:
            if tries[item] > 1:
                assert came.wait(LONG_S)
                clock.now = 1000.0
            refuse(item)

    with pytest.raises(JobFailed, match=r"input (a|b): answers 500"):
        parallel(width=3, may_be_final=is_inputs_own_fault)(act, ["a", "b", "good", "next"])


def test_one_bad_answer_after_a_long_download_fails_no_job(clock):
    """Only a file that is refused for the whole budget does not come."""
    troubles = [StorageTrouble("cut off"), StorageTrouble("500", status=500)]

    def act(_):
        if troubles:
            clock.now += 50.0
            raise troubles.pop(0)

    parallel(may_be_final=is_inputs_own_fault)(act, ["a"])
    assert not troubles
