"""When a job counts as doing nothing."""

import pytest

from agent.core.engine_models import Activity
from agent.core.stall import Sample, Stillness, after_sample, is_moving, is_stalled, pace_s


def sample(at, cpu_s=0.0, mark="1", gpu=None):
    return Sample(at, Activity(cpu_s, mark), gpu)


@pytest.mark.parametrize(
    ("now", "moves"),
    [
        (sample(100.0), False),
        (sample(100.0, mark="2"), True),
        (sample(100.0, cpu_s=0.99), False),  # under 1 % of a core: it only turns over
        (sample(100.0, cpu_s=1.0), True),
        (sample(100.0, gpu=0.0), False),
        (sample(100.0, gpu=1.0), True),
        (sample(0.0, cpu_s=0.0), False),
    ],
)
def test_what_counts_as_doing_something(now, moves):
    assert is_moving(sample(0.0), now) is moves


def test_stillness_lasts_from_the_last_sample_that_moved():
    """A job that moved between two samples was not still at the first of them."""
    still = None
    for one in [sample(0), sample(60), sample(120, mark="2"), sample(180, mark="2"), sample(240, mark="2")]:
        still = after_sample(still, one)
    assert still == Stillness(120, sample(240, mark="2"))
    assert still.lasted_s == 120
    assert [is_stalled(still, limit_s) for limit_s in (119, 120, 121, 0)] == [True, True, False, False]
    assert after_sample(still, sample(300, cpu_s=1, mark="2")).lasted_s == 0


def test_before_the_first_sample_nothing_is_stalled():
    assert not is_stalled(None, 1.0)


@pytest.mark.parametrize(("limit_s", "pace"), [(3600, 300), (600, 100), (0.5, 1.0), (604800, 300)])
def test_a_limit_is_met_by_a_few_samples(limit_s, pace):
    assert pace_s(limit_s) == pace
