"""Whether the agent may call itself well."""

import pytest

from agent.core.health import BEAT_LIMIT_S, JOB_LIMIT_S, SignOfLife, late_of, silence_allowed_s


@pytest.mark.parametrize(
    ("seen_at", "limit_s", "is_late"),
    [
        (1000.0, 60.0, False),
        (940.0, 60.0, False),
        (939.9, 60.0, True),
        (float("inf"), 60.0, False),  # it sleeps, and nothing is due
        (1005.0, 60.0, False),  # due soon
        (999.0, 0.0, True),  # it has ended
    ],
)
def test_who_is_late(seen_at, limit_s, is_late):
    """Only a thread that has been silent for longer than it may."""
    late = late_of([SignOfLife("heartbeat", seen_at, limit_s, "beating")], 1000.0)
    assert list(late) == (["heartbeat"] if is_late else [])


def test_each_late_thread_is_named_with_what_it_did():
    """The last line before a restart has to say where the agent hangs."""
    signs = [
        SignOfLife("job-7", 0.0, 1800.0, "in phase STAGING_IN"),
        SignOfLife("job-8", 3000.0, 1800.0, "in phase RUNNING"),
    ]
    assert late_of(signs, 3600.0) == {
        "job-7": "The thread job-7 has not moved for 1 h (allowed: 30 min) while in phase STAGING_IN"
    }


@pytest.mark.parametrize(
    ("longest_s", "allowed_s"), [((), JOB_LIMIT_S), ((120.0, 60.0), JOB_LIMIT_S), ((60.0, 86400.0), 87000.0)]
)
def test_settings_that_allow_long_silence(longest_s, allowed_s):
    """IMAGE_PULL_IDLE=1d must not make the watchdog bite."""
    assert silence_allowed_s(*longest_s) == allowed_s


def test_the_limits_leave_room_for_slow_services():
    """A beat, its question after a 500 and two logins: each some 40 s at most where nobody answers."""
    assert BEAT_LIMIT_S > 8 * 70
    assert JOB_LIMIT_S >= 1800
