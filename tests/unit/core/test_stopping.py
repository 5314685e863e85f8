"""A stop reaches whoever waits."""

import threading

import pytest

from agent.core.errors import Stopped
from agent.core.stopping import Stop


def test_set_wakes_a_waiter_and_calls_what_is_attached():
    """Both the event and the callbacks fire."""
    stop, called = Stop(), []
    waiter = threading.Thread(target=lambda: called.append(stop.wait(30)))
    waiter.start()
    with stop.attach(lambda: called.append("woken")):
        stop.set()
    waiter.join(30)
    assert sorted(map(str, called)) == ["True", "woken"]


def test_attaching_late_calls_at_once():
    """Nobody can miss a stop by coming late."""
    stop, called = Stop(), []
    stop.set()
    with stop.attach(lambda: called.append(1)):
        assert called == [1]


def test_detached_callbacks_are_not_called():
    """A finished transfer's socket is not shut down twice."""
    stop, called = Stop(), []
    with stop.attach(lambda: called.append(1)):
        pass
    stop.set()
    assert called == []


def test_a_child_follows_but_does_not_lead():
    """Ending one group of transfers does not end the job; ending the job ends the group."""
    parent = Stop()
    with parent.child() as child:
        child.set()
        assert not parent.is_set()
    with parent.child() as child:
        parent.set()
        assert child.is_set()
        with pytest.raises(Stopped):
            child.check()
