"""What to do with what is found at a start."""

from dataclasses import replace

import pytest

from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.models import Phase, Record
from agent.core.reconcile import MAX_ATTEMPTS, Find, find_for, orphans_of

RECORD = Record(7, Phase.RUNNING, None, 0, 1000.0)


def fact(status, *, job_id=7, agent_id="us"):
    return ContainerFact(f"decode-job-{job_id}", status, job_id, agent_id, 0.0)


@pytest.mark.parametrize(
    ("started", "attempts", "status", "find"),
    [
        (False, 0, None, Find.START),
        (False, 1, None, Find.START),
        (False, 1, ContainerStatus.CREATED, Find.START),
        (False, 1, ContainerStatus.RUNNING, Find.ADOPT),
        (False, 1, ContainerStatus.EXITED, Find.ADOPT),
        (True, 1, ContainerStatus.RUNNING, Find.ADOPT),
        (True, 1, ContainerStatus.PAUSED, Find.ADOPT),
        (True, 1, ContainerStatus.EXITED, Find.ADOPT),
        (True, 1, None, Find.AGAIN),
        (True, MAX_ATTEMPTS, None, Find.GIVE_UP),
    ],
)
def test_every_pair_of_journal_and_engine(started, attempts, status, find):
    """An exited container is read, never started again; one that vanished is replaced, not for ever."""
    record = replace(RECORD, container_started=started, attempts=attempts)
    assert find_for(record, fact(status) if status else None) is find


def test_orphans_are_ours_and_unknown():
    """Another agent's containers and those of recorded jobs are left alone."""
    running = ContainerStatus.RUNNING
    facts = [fact(running), fact(running, job_id=8), fact(running, job_id=9, agent_id="them")]
    assert [one.job_id for one in orphans_of(facts, "us", {7})] == [8]
