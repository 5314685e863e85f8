"""When to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import ApiTrouble, EngineTrouble, HostTrouble, StorageTrouble
from agent.core.retry import (
    LONGEST_RETRY_AFTER_S,
    Backoff,
    Company,
    Then,
    delay_after,
    delay_of,
    is_budget_spent,
    is_inputs_own_fault,
    then_for,
)


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0.01, 10), st.floats(1, 600))
def test_delays_stay_between_nothing_and_the_cap(attempt, draw, base_s, cap_s):
    """Full jitter: anything from 0 to the cap, however many attempts there were."""
    assert 0 <= delay_of(attempt, Backoff(base_s, cap_s), draw) <= cap_s


def test_delays_double():
    """The longest possible wait doubles with each attempt."""
    assert [delay_of(attempt, Backoff(1, 10), 1.0) for attempt in range(5)] == [1, 2, 4, 8, 10]


def test_retry_after_is_obeyed_and_bounded():
    """The other side's wish is a minimum, but a hostile one does not stop us for a year."""
    backoff = Backoff(1, 10)
    assert delay_after(HostTrouble("", retry_after_s=7), 0, backoff, 0.0) == 7
    assert delay_after(HostTrouble("", retry_after_s=1e9), 0, backoff, 0.0) == LONGEST_RETRY_AFTER_S
    assert delay_after(HostTrouble(""), 0, backoff, 0.5) == 0.5


def test_budget_counts_the_wait_to_come():
    """No attempt begins after the budget."""
    assert not is_budget_spent(9, 1, 10)
    assert is_budget_spent(9, 2, 10)


@pytest.mark.parametrize(
    ("trouble", "is_own"),
    [
        (StorageTrouble("", status=500), True),
        (StorageTrouble("", status=403), True),
        (StorageTrouble("", status=404), True),
        (StorageTrouble("", status=401), False),
        (StorageTrouble("", status=503), False),
        (StorageTrouble("connection refused"), False),
        (ApiTrouble("", status=500), False),
        (EngineTrouble(""), False),
    ],
)
def test_only_an_answer_about_the_file_itself_fails_the_job(trouble, is_own):
    """An outage is never the job's fault; a file that answers 500 for a whole budget is."""
    assert is_inputs_own_fault(trouble) is is_own


ALONE, AMONG_OTHERS, ONE_CAME, ALL_CAME = Company(), Company(2), Company(2, 5.0), Company(0, 200.0)


@pytest.mark.parametrize(
    ("tried_s", "refused_s", "delay_s", "company", "then"),
    [
        (50, None, 10, ALONE, Then.AGAIN),
        (95, None, 10, ALONE, Then.LATER),  # an outage, whoever fares how
        (95, None, 10, AMONG_OTHERS, Then.LATER),
        (95, None, 10, ONE_CAME, Then.LATER),
        (50, 50, 10, ALONE, Then.AGAIN),
        (950, 5, 10, ALONE, Then.AGAIN),  # one bad answer after a long download
        (95, 95, 10, ALONE, Then.AGAIN),  # nothing tells the file from the storage
        (395, 395, 10, ALONE, Then.FAIL),
        (95, 95, 10, ALL_CAME, Then.FAIL),
        (95, 95, 10, AMONG_OTHERS, Then.AGAIN),  # the storage refuses all there is
        (395, 395, 10, AMONG_OTHERS, Then.FAIL),  # and does not stop to
        (95, 95, 10, ONE_CAME, Then.FAIL),  # it works, but for these
        (950, 95, 10, Company(2, 200.0), Then.AGAIN),  # one came, but that was before
    ],
)
def test_what_follows_a_failed_attempt(tried_s, refused_s, delay_s, company, then):
    """A file refused for a whole budget while others come is the job's fault; else it may be an outage."""
    assert then_for(tried_s, refused_s, delay_s, 100, company) is then
