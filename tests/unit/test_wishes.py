"""What other threads want of the main thread."""

import pytest

from agent.core.errors import ConfigError, HostTrouble
from agent.wishes import Wishes


@pytest.fixture
def wishes():
    return Wishes()


def test_a_wish_is_done_by_who_serves(wishes):
    """Not by who has it; the bell is rung."""
    rung = []
    wishes.ring = lambda: rung.append(True)
    future = wishes.hand(lambda: 42)
    assert rung
    assert not future.done()
    wishes.serve()
    assert future.result(0) == 42


def test_what_it_raises_goes_to_who_had_it(wishes):
    """And the next one is done all the same."""

    def fail():
        raise ConfigError("bad")

    bad, good = wishes.hand(fail), wishes.hand(lambda: 1)
    wishes.serve()
    with pytest.raises(ConfigError, match="bad"):
        bad.result(0)
    assert good.result(0) == 1


def test_a_wish_taken_back_is_not_done(wishes):
    """Who does not wait any more was told that nothing happens."""
    done = []
    assert wishes.hand(lambda: done.append(True)).cancel()
    wishes.serve()
    assert done == []


def test_the_end_refuses_them(wishes):
    """Those that wait and those that come: nobody hangs on an agent that ends."""
    waiting, taken_back = wishes.hand(lambda: 1), wishes.hand(lambda: 1)
    taken_back.cancel()
    wishes.refuse()
    for future in (waiting, wishes.hand(lambda: 1)):
        with pytest.raises(HostTrouble, match="stopping"):
            future.result(0)
