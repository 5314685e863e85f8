"""Slots that rest: which stop, how they are tried, how they come back."""

import threading

import pytest

from agent.core.errors import HostTrouble
from agent.core.gates import Gate
from agent.core.models import Slot
from agent.core.retry import Backoff
from agent.core.status import Health, health_of, line_of
from agent.leftovers import SWEEP_EVERY_S
from agent.resting import Rests
from tests.fakes.engine import Script
from tests.fakes.waiting import SOON_S, wait_until
from tests.unit.world import SLOT, let_jobs_end, spec

OTHER = Slot(1, 1024, 2)
WHY = "slot 0 rests: 3 attempts in a row failed by this machine's fault, the last: the GPU is lost"


def fail_on(slot, times, daemon):
    """This machine fails attempts on the slot."""
    for _ in range(times):
        daemon._tools.attempted(slot, "the GPU is lost")


def refuse(_slot):
    raise HostTrouble("no container gets a GPU")


def test_a_slot_that_fails_job_after_job_takes_no_more(make, world, caplog):
    """It says why, in the log and the status; nothing is claimed; the agent is degraded."""
    daemon = make()
    fail_on(SLOT, 3, daemon)
    daemon.tick(100.0)
    assert world.api.states == {}
    status = daemon.status()
    assert [gate.text.partition("; ")[0] for gate in status.gates] == [WHY]
    assert health_of(status) is Health.DEGRADED
    assert line_of(status, status.troubles[0].since).startswith("Waiting: slot 0 rests (since ")
    assert f"Taking no job on it for now: {WHY}" in caplog.text


def test_two_failures_are_bad_luck(make, world):
    """Below HOST_FAILURES nothing changes."""
    daemon = make()
    fail_on(SLOT, 2, daemon)
    daemon.tick(100.0)
    assert list(world.api.states) == [7]


def test_only_that_slot_rests(make, world):
    """The other one goes on; the trouble is shown all the same."""
    world.api.queue["8"] = spec()
    world.engine.scripts = {7: Script(None), 8: Script(None)}
    daemon = make(slots=(SLOT, OTHER))
    fail_on(SLOT, 3, daemon)
    daemon.tick(100.0)
    assert [(job.job_id, job.slot) for job in daemon.status().jobs] == [(7, 1)]
    assert [trouble.text.partition("; ")[0] for trouble in daemon.status().troubles] == [WHY]
    daemon.tick(100.0)
    assert list(world.api.queue) == ["8"]
    assert Gate.RESTING in daemon._looking.gates


def test_a_slot_whose_job_came_through_takes_the_next(make, world):
    """A container's own end is the best proof there is."""
    daemon = make()
    fail_on(SLOT, 3, daemon)
    daemon._tools.attempted(SLOT, "")
    daemon.tick(100.0)
    assert list(world.api.states) == [7]


def test_a_self_test_brings_it_back(make, world, caplog):
    """Not before it is due; the main thread does not wait for it; then jobs are taken at once."""
    caplog.set_level("INFO", "agent")
    tested, go_on = [], threading.Event()
    world.self_test = lambda slot: (tested.append(slot), go_on.wait(SOON_S))
    daemon = make()
    fail_on(SLOT, 3, daemon)
    daemon.tick(now := daemon._rests._rests[0].test_at - 1)
    assert tested == []
    assert daemon.tick(now + 2) < float("inf")
    wait_until(lambda: tested)
    daemon.tick(now + 3)
    assert world.api.states == {}
    assert tested == [SLOT]
    go_on.set()
    wait_until(lambda: not daemon._rests.troubles())
    daemon.tick(now + 4)
    assert list(world.api.states) == [7]
    wait_until(lambda: "Slot 0 takes jobs again: its self-test passed." in caplog.text)


def test_a_self_test_that_fails_says_why(make, world):
    """And the next one comes later."""
    world.self_test = refuse
    daemon = make()
    fail_on(SLOT, 3, daemon)
    first_at = daemon._rests._rests[0].test_at
    daemon.tick(first_at)
    wait_until(daemon._rests.has_woken)
    daemon._looking.due_at = 0.0
    next_at = daemon.tick(first_at)
    assert "the last self-test failed: no container gets a GPU" in daemon.status().gates[0].text
    assert next_at <= daemon._rests._rests[0].test_at
    assert world.api.states == {}


@pytest.mark.parametrize("error", [RuntimeError("a bug"), HostTrouble("x")])
def test_whatever_a_self_test_does_it_ends(make, world, error, caplog):
    """Also one that fails in a way nobody thought of."""

    def fail(_slot):
        raise error

    world.self_test = fail
    daemon = make()
    fail_on(SLOT, 3, daemon)
    daemon.try_resting()
    daemon.tick(1e9)
    wait_until(lambda: daemon._rests._rests[0].tests)
    assert ("nobody thought of" in caplog.text) == isinstance(error, RuntimeError)
    assert world.api.states == {}


def test_no_thread_for_a_self_test(make, monkeypatch):
    """The machine is out of threads: then it is not well, and is asked again later."""
    daemon = make()
    fail_on(SLOT, 3, daemon)
    daemon.try_resting()

    def refuse_thread(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    daemon.tick(1e9)
    monkeypatch.undo()
    assert daemon._rests._rests[0].test_reason == "can't start new thread"


def test_the_owner_need_not_wait(make, world):
    """`resume` has it tested at once."""
    daemon = make()
    fail_on(SLOT, 3, daemon)
    rung = []
    daemon._rests.ring = lambda: rung.append(1)
    daemon.try_resting()
    assert rung
    daemon.tick(daemon._rests._rests[0].test_at)
    wait_until(lambda: not daemon._rests.troubles())
    daemon.tick(1e9)
    assert list(world.api.states) == [7]


def test_a_busy_slot_is_not_tested(make, world):
    """Its job may hold all of the GPU."""
    world.engine.scripts[7] = Script(None)
    tested = []
    world.self_test = tested.append
    daemon = make()
    daemon.tick(100.0)
    wait_until(lambda: world.engine.starts["decode-job-7"])
    fail_on(SLOT, 3, daemon)
    assert daemon.tick(1e9) == 1e9 + SWEEP_EVERY_S  # nothing is due but a look at what is left over
    assert tested == []
    world.engine.finish("decode-job-7")
    let_jobs_end(daemon)


def test_the_limit_follows_the_settings(make):
    """HOST_FAILURES counts from the next failure on."""
    daemon = make()
    daemon._rests.limit = 1
    fail_on(SLOT, 1, daemon)
    assert daemon._rests.troubles()


def test_a_short_pace_for_who_makes_it():
    """The first wait is the maker's to choose."""
    rests = Rests(lambda _slot: None, 1, Backoff(0.0, 0.0))
    rests.attempted(SLOT, "x")
    rests.tend([SLOT], 1e9)
    wait_until(lambda: not rests.troubles())
