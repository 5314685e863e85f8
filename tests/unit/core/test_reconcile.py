"""What to do with what the engine has of a job, for every pair of phase and find."""

import itertools
from dataclasses import replace

import pytest

from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.errors import (
    AccountTrouble,
    ApiTrouble,
    DiskTrouble,
    EngineTrouble,
    ImageMissing,
    NameTaken,
    StorageTrouble,
    Unkillable,
)
from agent.core.models import Outcome, Phase, Record, Verdict
from agent.core.reconcile import (
    MOVES,
    RETURNING,
    Found,
    Move,
    found_of,
    is_patience_spent,
    kept_since,
    may_return_before_removal,
    move_for,
    orphans_of,
)

RECORD = Record(7, Phase.RUNNING, None, 0, 1000.0)

TABLE = """
            NONE   VANISHED CREATED RUNNING PAUSED EXITED FOREIGN OTHER_AGENT
STAGING_IN  GO_ON  WIPE     REMOVE  WIPE    WIPE   WIPE   BLOCKED BLOCKED
RUNNING     START  AGAIN    START   ADOPT   ADOPT  ADOPT  BLOCKED BLOCKED
STAGING_OUT GO_ON  GO_ON    GO_ON   END     END    GO_ON  GO_ON   GO_ON
REPORTING   GO_ON  GO_ON    GO_ON   GO_ON   GO_ON  GO_ON  GO_ON   GO_ON
DONE        GO_ON  GO_ON    REMOVE  REMOVE  REMOVE REMOVE GO_ON   GO_ON
returning   GO_ON  GO_ON    REMOVE  REMOVE  REMOVE REMOVE GO_ON   GO_ON
"""
"""A job that is given back has a row of its own for REPORTING."""


def rows_of(table):
    head, *rows = [line.split() for line in table.strip().splitlines()]
    return {name: dict(zip(head, moves, strict=True)) for name, *moves in rows}


def fact(status, *, job_id=7, agent_id="us", name="decode-job-7"):
    return ContainerFact(name, status, job_id, agent_id, 0.0)


def test_the_table_is_complete():
    """Every phase has a move for every find: nothing is left to chance."""
    assert set(MOVES) == set(Phase)
    assert all(set(row) == set(Found) for row in (*MOVES.values(), RETURNING))
    assert set(itertools.chain.from_iterable(row.values() for row in MOVES.values())) == set(Move)


@pytest.mark.parametrize("found", Found)
@pytest.mark.parametrize("name", [*Phase, "returning"])
def test_every_pair_of_phase_and_find(name, found):
    """Each entry, as a person would read it; somebody else's container is never touched."""
    record = replace(RECORD, phase=Phase.REPORTING if name == "returning" else name)
    if name == "returning":
        record = replace(record, outcome=Outcome(Verdict.RETURNED, "why"))
    assert move_for(record, found).name == rows_of(TABLE)[name][found.name]


@pytest.mark.parametrize("verdict", [Verdict.FINISHED, Verdict.ERROR])
def test_a_verdict_does_not_wait_for_the_containers_removal(verdict):
    """Only who gives a job back must have ended it before."""
    record = replace(RECORD, phase=Phase.REPORTING, outcome=Outcome(verdict))
    assert {move_for(record, found) for found in Found} == {Move.GO_ON}


@pytest.mark.parametrize(
    ("started", "seen", "found"),
    [
        (False, None, Found.NONE),
        (True, None, Found.VANISHED),
        (True, fact(ContainerStatus.CREATED), Found.CREATED),
        (False, fact(ContainerStatus.RUNNING), Found.RUNNING),
        (True, fact(ContainerStatus.PAUSED), Found.PAUSED),
        (True, fact(ContainerStatus.EXITED), Found.EXITED),
        (True, fact(ContainerStatus.EXITED, job_id=None), Found.FOREIGN),
        (True, fact(ContainerStatus.EXITED, job_id=8), Found.FOREIGN),
        (True, fact(ContainerStatus.EXITED, job_id=8, agent_id="them"), Found.FOREIGN),
        (True, fact(ContainerStatus.RUNNING, agent_id="them"), Found.OTHER_AGENT),
        (True, fact(ContainerStatus.RUNNING, agent_id=""), Found.OTHER_AGENT),
    ],
)
def test_what_the_engine_says(started, seen, found):
    """By name, both labels and state; the journal tells whether one that is missing ever ran."""
    assert found_of(replace(RECORD, container_started=started), seen, "us") is found


KEEPS = [
    EngineTrouble("away"),
    DiskTrouble("full"),
    ImageMissing("gone"),
    Unkillable("stuck"),
    NameTaken("taken"),
]
PASSES = [ApiTrouble("away"), AccountTrouble("refused"), StorageTrouble("away")]


@pytest.mark.parametrize("trouble", [*KEEPS, *PASSES], ids=lambda trouble: type(trouble).__name__)
def test_patience_is_lost_with_the_machine_alone(trouble):
    """Another worker has the same API and the same storage."""
    for phase in (Phase.STAGING_IN, Phase.RUNNING):
        record = replace(RECORD, phase=phase)
        assert kept_since(record, trouble, None, 50.0) == (50.0 if trouble in KEEPS else None)
        assert kept_since(record, trouble, 20.0, 50.0) == (20.0 if trouble in KEEPS else None)


@pytest.mark.parametrize("trouble", KEEPS, ids=lambda trouble: type(trouble).__name__)
def test_patience_has_no_end_once_the_container_ran(trouble):
    """What has been computed is delivered, however long that takes; unless its name is another's now."""
    started = replace(RECORD, container_started=True)
    is_lost = isinstance(trouble, NameTaken)
    assert kept_since(started, trouble, 20.0, 50.0) == (20.0 if is_lost else None)
    for phase in (Phase.STAGING_OUT, Phase.REPORTING, Phase.DONE):
        assert kept_since(replace(started, phase=phase), trouble, 20.0, 50.0) is None


@pytest.mark.parametrize(
    ("since", "is_spent"), [(None, False), (100.0, False), (40.1, False), (40.0, True), (0.0, True)]
)
def test_patience_ends(since, is_spent):
    """After a minute here, counted from the first trouble."""
    assert is_patience_spent(since, 100.0, 60.0) is is_spent


@pytest.mark.parametrize(
    ("started", "trouble", "may"),
    [
        (False, EngineTrouble("away"), True),
        (True, EngineTrouble("away"), False),
        (True, Unkillable("stuck"), True),
    ],
)
def test_who_gives_a_job_back_has_ended_it(started, trouble, may):
    """Unless nothing runs, or nothing will ever end it."""
    assert may_return_before_removal(replace(RECORD, container_started=started), trouble) is may


def test_orphans_are_ours_and_unknown():
    """Another agent's containers and those of recorded jobs are left alone."""
    running = ContainerStatus.RUNNING
    facts = [fact(running), fact(running, job_id=8), fact(running, job_id=9, agent_id="them")]
    assert [one.job_id for one in orphans_of(facts, "us", {7})] == [8]
