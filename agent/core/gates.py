"""May I take a job, and if not, why not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a job could be claimed. `engine_trouble`: empty if Docker answers."""

    leftovers_unknown: bool
    engine_trouble: str
    took_its_one_job: bool


def closed_gates(facts: Facts) -> tuple[str, ...]:
    """A sentence for each reason not to take a job now; empty: take one."""
    gates = (
        (facts.took_its_one_job, "one job was asked for and taken"),
        (bool(facts.engine_trouble), f"Docker does not answer: {facts.engine_trouble}"),
        (facts.leftovers_unknown, "containers from before are not looked through yet"),
    )
    return tuple(reason for is_closed, reason in gates if is_closed)
