"""Why no job is taken."""

import pytest

from agent.core.gates import TROUBLES, Facts, Gate, closed_gates
from agent.core.status import Mode

OPEN = Facts(leftovers_unknown=False, engine_trouble="", took_its_one_job=False)


def test_every_gate_says_why():
    """Open only if nothing speaks against it; each reason is a sentence of its own."""
    assert closed_gates(OPEN) == {}
    closed = closed_gates(
        Facts(
            leftovers_unknown=True,
            engine_trouble="it hangs",
            took_its_one_job=True,
            mode=Mode.PAUSED,
            disk_trouble="read-only",
            lack_of_room="only 3.2 GiB are free",
            resting="slot 0 rests",
        )
    )
    assert closed == {
        Gate.MODE: "paused by this machine's owner (resume with: decode-agent resume)",
        Gate.ONE_JOB: "one job was asked for and taken",
        Gate.DISK: "the disk does not serve: read-only",
        Gate.ENGINE: "Docker does not answer: it hangs",
        Gate.LEFTOVERS: "containers from before are not looked through yet",
        Gate.ROOM: "only 3.2 GiB are free",
        Gate.RESTING: "slot 0 rests",
    }
    assert set(closed) == set(Gate)


def test_a_container_that_is_left_says_so_once_all_are_looked_through():
    """Which one, and why nothing was done about it yet."""
    left = Facts(False, "", False, left_over="the container decode-job-7 from before is left as it is: x")
    assert closed_gates(left) == {Gate.LEFTOVERS: left.left_over}


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.TAKING])
def test_the_owner_closes_the_gate(mode):
    """Paused, draining, leaving: no further job; none of it is a trouble."""
    closed = closed_gates(Facts(False, "", False, mode))
    assert list(closed) == [Gate.MODE]
    assert not closed.keys() & TROUBLES
