"""A workstation for the tests of this folder."""

import pytest

from agent.daemon import Daemon
from agent.heartbeat import Heartbeat
from agent.looking import Options
from tests.unit.world import LOOK_S, SLOT, World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def journal(world):
    journal = world.journal()
    yield journal
    journal.close()


@pytest.fixture
def make(world, journal):
    """Makes daemons whose ticks are called by hand; their threads are ended."""
    made = []

    def make(slots=(SLOT,), **options):
        heartbeat = Heartbeat(world.heard, 30.0)
        daemon = Daemon(
            world.tools(journal), heartbeat, slots, Options(LOOK_S, **options), world.stop, world.station()
        )
        heartbeat.start()
        made.append((daemon, heartbeat))
        return daemon

    yield make
    world.stop.set()
    for daemon, heartbeat in made:
        for thread in list(daemon._crew._members):
            thread.join(30)
        heartbeat.stop()
