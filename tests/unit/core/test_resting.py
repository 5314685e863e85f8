"""When a slot rests, when it is tried, what is said about it."""

from dataclasses import replace

import pytest

from agent.core.resting import (
    Moment,
    Rest,
    after_attempt,
    after_test,
    hurried,
    is_due,
    sentence_of,
    when_tested,
)

NOON = 1_700_000_000.0
NOW = Moment(100.0, NOON, 0.5)
RESTING = Rest(3, "a restart", since=NOON, test_at=400.0, test_clock=NOON + 300)


@pytest.mark.parametrize(
    ("reasons", "failures", "is_on"),
    [
        ([""], 0, False),
        (["a", "b"], 2, False),
        (["a", "b", "c"], 3, True),
        (["a", "b", "", "c"], 1, False),
        (["a", "b", "c", "d"], 4, True),
        (["a", "b", "c", ""], 0, False),
    ],
)
def test_failures_in_a_row(reasons, failures, is_on):
    """Three of the machine's in a row; a container's own end between them is a clean slate."""
    rest = Rest()
    for reason in reasons:
        rest = after_attempt(rest, reason, 3, NOW)
    assert (rest.failures, rest.is_on) == (failures, is_on)
    assert rest.reason == reasons[-1]


def test_a_limit_of_one():
    """The first is enough."""
    assert after_attempt(Rest(), "x", 1, NOW).is_on


def test_a_slot_that_rests_already_keeps_its_time():
    """A job that was still on its way fails too: neither the beginning nor the next test moves."""
    rest = after_attempt(RESTING, "again", 3, Moment(390.0, NOON + 290, 0.5))
    assert rest == replace(RESTING, failures=4, reason="again")


@pytest.mark.parametrize(
    ("tests", "draw", "delay_s"),
    [
        (0, 0.5, 300),
        (0, 0.0, 270),
        (0, 1.0, 330),
        (1, 0.5, 600),
        (3, 0.5, 2400),
        (4, 0.5, 3600),
        (99, 0.5, 3600),
    ],
)
def test_each_failed_test_doubles_the_wait(tests, draw, delay_s):
    """5 min, 10, 20 … an hour, a tenth more or less."""
    moment = Moment(100.0, NOON, draw)
    if tests:
        rest = after_test(replace(RESTING, tests=tests - 1), "no GPU", moment)
        assert (rest.tests, rest.test_reason) == (tests, "no GPU")
    else:
        rest = after_attempt(Rest(), "x", 1, moment)
    assert rest.test_at == pytest.approx(100.0 + delay_s)
    assert rest.test_clock == pytest.approx(NOON + delay_s)


def test_a_test_that_passed_is_a_clean_slate():
    """Three more failures until it rests again."""
    assert after_test(replace(RESTING, tests=4), "", NOW) == Rest()


def test_a_failed_test_of_a_slot_that_was_proved_meanwhile_says_nothing():
    """A job came through: that is the better proof."""
    assert after_test(Rest(), "no GPU", NOW) == Rest()


def test_a_test_is_due_once():
    """When its time has come, not before, and not while it runs."""
    assert not is_due(RESTING, 399.0)
    assert is_due(RESTING, 400.0)
    assert not is_due(when_tested(RESTING), 1e9)
    assert not is_due(Rest(), 1e9)


def test_the_owner_is_in_a_hurry():
    """Then it is due now; what runs goes on, what does not rest is not tested."""
    assert is_due(hurried(RESTING, NOW), NOW.now)
    assert hurried(when_tested(RESTING), NOW) == when_tested(RESTING)
    assert hurried(Rest(1, "x"), NOW) == Rest(1, "x")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (Rest(2, "x"), ""),
        (
            RESTING,
            (
                "slot 1 rests: 3 attempts in a row failed by this machine's fault, the last: a restart;"
                " next self-test at 23:18"
            ),
        ),
        (
            when_tested(replace(RESTING, failures=1)),
            ("slot 1 rests: 1 attempt failed by this machine's fault, the last: a restart; a self-test runs"),
        ),
        (
            replace(RESTING, tests=1, test_reason="no GPU"),
            (
                "slot 1 rests: 3 attempts in a row failed by this machine's fault, the last: a restart;"
                " the last self-test failed: no GPU; next self-test at 23:18"
            ),
        ),
    ],
)
def test_the_sentence(rest, said, monkeypatch):
    """Why, and when it is tried again; the same text until something happens."""
    monkeypatch.setattr("agent.core.resting.clock_text", lambda at, _: "23:18" if at == NOON + 300 else "?")
    assert sentence_of(1, rest, NOON) == said


def test_reasons_are_one_short_line():
    """They come from outside."""
    rest = after_attempt(Rest(), "bad\nnews " + "x" * 1000, 1, NOW)
    assert "\n" not in rest.reason
    assert len(rest.reason) <= 200
