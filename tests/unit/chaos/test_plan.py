"""The plan of a chaos run."""

from collections import Counter

from tests.chaos.jobs import make_job
from tests.chaos.plan import FLAVOURS, KILLS, BlowKind, JobKind, plan_leg, plan_storm

STORMS = [plan_storm(7, number) for number in range(60)]


def test_the_same_seed_draws_the_same():
    """A seed that was printed repeats the run: its jobs, their bytes and its blows."""
    again = [plan_storm(7, number) for number in range(60)]
    assert again == STORMS
    assert [make_job(job) for job in again[3].jobs] == [make_job(job) for job in STORMS[3].jobs]
    assert [plan_leg(7, number) for number in range(9)] == [plan_leg(7, number) for number in range(9)]


def test_another_seed_draws_another():
    """Two seeds do not try the same twice."""
    assert [plan_storm(8, number).blows for number in range(60)] != [storm.blows for storm in STORMS]


def test_every_kind_has_its_turn():
    """An hour of storms leaves nothing out, and kills at least four times in each."""
    assert {storm.flavour for storm in STORMS[: len(FLAVOURS)]} == set(FLAVOURS)
    assert {job.kind for storm in STORMS for job in storm.jobs} == set(JobKind)
    kinds = Counter(blow.kind for storm in STORMS for blow in storm.blows)
    assert set(kinds) == set(BlowKind)
    assert sum(kinds[kind] for kind in KILLS) >= 4 * len(STORMS)


def test_names_are_unique():
    """Marks of runs are kept by the name of the job."""
    names = [job.name for storm in STORMS for job in storm.jobs]
    assert len(names) == len(set(names))


def test_what_may_be_on_only_once_is():
    """Two of these at a time could not be told apart afterwards."""
    for storm in STORMS:
        kinds = Counter(blow.kind for blow in storm.blows)
        assert kinds[BlowKind.AWAY] <= 1
        assert kinds[BlowKind.FILL_DISK] <= 1
