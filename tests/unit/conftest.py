"""A workstation for the tests of this folder."""

import pytest

from tests.unit.world import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def journal(world):
    journal = world.journal()
    yield journal
    journal.close()
