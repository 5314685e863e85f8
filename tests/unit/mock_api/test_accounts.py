"""Tokens: whom they prove, and the words with which others are refused."""

import threading

import pytest

from mock_api.accounts import DEFAULT_ACCOUNTS, Accounts, Refused
from mock_api.settings import Settings


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def accounts(settings):
    return Accounts(settings, threading.RLock(), DEFAULT_ACCOUNTS)


@pytest.mark.parametrize(
    ("make", "status", "detail"),
    [
        (lambda _: None, 401, "Not authenticated"),
        (lambda _: "", 401, "Not authenticated"),
        (lambda _: "Basic abc", 401, "Not authenticated"),
        (lambda _: "Bearer garbage", 401, "Not authenticated"),
        (lambda _: "Bearer a.b.c", 401, "Not authenticated"),
        (lambda it: f"Bearer {it.issue_token('worker1@example.com', life_s=-1)}", 401, "Not verified"),
        (lambda it: f"Bearer {it.issue_token('worker1@example.com')}x", 401, "Not verified"),
        (lambda it: f"Bearer {it.issue_token('nobody@example.com')}", 401, "Validation Error for Claims"),
        (
            lambda it: f"Bearer {it.issue_token('worker1@example.com', 'access')}",
            401,
            "Validation Error for Claims",
        ),
        (
            lambda it: f"Bearer {it.issue_token('user2@example.com')}",
            403,
            "Not a member of the 'workers' group",
        ),
        (lambda _: "Bearer nobody-token", 401, "Validation Error for Claims"),
    ],
)
def test_refused_in_the_recorded_words(accounts, make, status, detail):
    """Each kind of bad token has its status and text."""
    with pytest.raises(Refused) as refused:
        accounts.verify(make(accounts))
    assert (refused.value.status, refused.value.detail) == (status, detail)


def test_id_token_and_static_token_prove_an_account(accounts):
    """Both are taken, whatever the case of the scheme."""
    token = accounts.issue_token("worker1@example.com")
    for header in (f"Bearer {token}", f"bearer {token}", "Bearer worker1-token"):
        assert accounts.verify(header).username == "worker1@example.com"
        assert accounts.peek(header) == "worker1@example.com"
    assert accounts.peek("Bearer garbage") is accounts.peek(None) is None


def test_token_ends_with_its_life(accounts, settings):
    """The settings say how long it lives, the clock when that is over."""
    header = f"Bearer {accounts.issue_token('worker1@example.com')}"
    settings.clock_offset_s = 3590
    accounts.verify(header)
    settings.clock_offset_s = 3601
    with pytest.raises(Refused, match="Not verified"):
        accounts.verify(header)


def test_expiring_all_spares_refresh_and_static_tokens(accounts):
    """What was given out is worthless, what comes after is not."""
    header = f"Bearer {accounts.issue_token('worker1@example.com')}"
    refresh_token = accounts.issue_refresh_token("worker1@example.com")
    accounts.expire_tokens()
    with pytest.raises(Refused, match="Not verified"):
        accounts.verify(header)
    accounts.verify(f"Bearer {accounts.issue_token('worker1@example.com')}")
    accounts.verify("Bearer worker1-token")
    assert accounts.owner_of_refresh_token(refresh_token) == "worker1@example.com"
    accounts.revoke_refresh_tokens()
    assert accounts.owner_of_refresh_token(refresh_token) is None
