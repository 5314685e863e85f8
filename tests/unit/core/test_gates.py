"""Why no job is taken."""

from agent.core.gates import Facts, closed_gates


def test_every_gate_says_why():
    """Open only if nothing speaks against it; each reason is a sentence of its own."""
    assert closed_gates(Facts(leftovers_unknown=False, engine_trouble="", took_its_one_job=False)) == {}
    closed = closed_gates(Facts(leftovers_unknown=True, engine_trouble="it hangs", took_its_one_job=True))
    assert tuple(closed.values()) == (
        "one job was asked for and taken",
        "Docker does not answer: it hangs",
        "containers from before are not looked through yet",
    )
