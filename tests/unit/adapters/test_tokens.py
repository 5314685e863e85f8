"""Logging in, renewing, and what is said when that is refused; against the stand-in's Cognito."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.adapters import tokens as module
from agent.adapters.tokens import CognitoTokens, StaticToken, expiry_of
from agent.adapters.worker_api import UserPool
from agent.core.errors import AccountTrouble, ApiTrouble
from mock_api.accounts import Account
from mock_api.server import RunningMock

LOGIN = ("POST", "^/$")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def mock():
    with RunningMock() as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens_of(mock, clock):
    """Tokens of an account of the stand-in."""

    def tokens_of(name="worker1@example.com", password=None):
        account = mock.state.accounts.find(name)
        password = password or (account.password if account else "x")
        return CognitoTokens(lambda: pool_of(mock), name, password, mock.url, clock)

    return tokens_of


def pool_of(mock):
    return UserPool(client_id=mock.state.settings.client_id, region="eu-central-1")


def logins(mock):
    return len(mock.requests(*LOGIN))


def test_static_token():
    """There is one, and no other."""
    tokens = StaticToken("t")
    tokens.reject("t")
    assert tokens.token() == "t"


def test_login_is_lazy_and_kept(mock, tokens_of):
    """Nothing is asked before a token is needed, and then once."""
    tokens = tokens_of()
    assert logins(mock) == 0
    assert tokens.token() == tokens.token()
    assert logins(mock) == 1


def test_renewed_before_it_expires(mock, tokens_of, clock):
    """Five minutes early, by the refresh token: no password is sent again."""
    tokens = tokens_of()
    first = tokens.token()
    clock.now += 3600 - 301
    assert tokens.token() == first
    mock.state.accounts.add(Account("worker1@example.com", "changed", ("workers",)))
    clock.now += 2
    assert tokens.token() != first
    assert logins(mock) == 2


def test_short_lives_are_renewed_in_their_last_quarter(mock, tokens_of, clock):
    """A token that lives for less than the usual margin is not renewed at each call."""
    mock.state.settings.token_life_s = 100
    tokens = tokens_of()
    first = tokens.token()
    clock.now += 74
    assert tokens.token() == first
    clock.now += 2
    assert tokens.token() != first


def test_refused_refresh_falls_back_to_the_password(mock, tokens_of, clock):
    """Refresh tokens end after days."""
    tokens = tokens_of()
    first = tokens.token()
    mock.state.accounts.revoke_refresh_tokens()
    clock.now += 3500
    assert tokens.token() != first
    assert logins(mock) == 3


@pytest.fixture
def asked(monkeypatch):
    """What each login sent: its flow and its parameters."""
    asked, ask = [], CognitoTokens._ask

    def note(self, pool, flow, parameters):
        asked.append((flow, dict(parameters)))
        return ask(self, pool, flow, parameters)

    monkeypatch.setattr(CognitoTokens, "_ask", note)
    return asked


def test_the_password_is_sent_twice_in_two_months(mock, tokens_of, clock, asked):
    """At the start, and when the refresh token has ended (after 30 days by default), outages or not."""
    mock.state.settings.token_life_s = 12 * 3600
    tokens = tokens_of()
    for half_day in range(120):
        if half_day == 60:
            mock.state.accounts.revoke_refresh_tokens()
        if half_day % 20 == 7:
            mock.fault("drop", *LOGIN, times=2)
        for _ in range(3):
            try:
                tokens.token()
            except ApiTrouble:
                clock.now += module.TROUBLE_PAUSE_S
        clock.now += 12 * 3600
    flows = [flow for flow, _ in asked]
    assert flows.count("USER_PASSWORD_AUTH") == 2
    assert flows.count("REFRESH_TOKEN_AUTH") >= 119


def test_a_new_refresh_token_replaces_the_old(mock, tokens_of, clock, asked):
    """Where the login service rotates them, the old one is worthless."""
    tokens = tokens_of()
    tokens.token()
    result = {"IdToken": "a", "ExpiresIn": 3600, "RefreshToken": "rotated"}
    for _ in range(2):
        mock.fault("status", *LOGIN, status=200, body=json.dumps({"AuthenticationResult": result}))
        clock.now += 3500
        tokens.token()
    assert asked[-1] == ("REFRESH_TOKEN_AUTH", {"REFRESH_TOKEN": "rotated"})


def test_a_token_outlives_a_failed_renewal(mock, tokens_of, clock):
    """While the old one is good, an outage of the login service is a warning, once."""
    tokens = tokens_of()
    first = tokens.token()
    mock.fault("status", *LOGIN, status=503, times=None)
    clock.now += 3400
    assert [tokens.token() for _ in range(5)] == [first] * 5
    assert logins(mock) == 2
    clock.now += 201
    with pytest.raises(ApiTrouble, match="503"):
        tokens.token()
    mock.state.faults.clear()
    clock.now += module.TROUBLE_PAUSE_S
    assert tokens.token() != first


def test_rejected_token(mock, tokens_of, clock):
    """A 401 gets a new token, but not one for each 401: it may be the account."""
    tokens = tokens_of()
    first = tokens.token()
    tokens.reject("somebody else's")
    assert tokens.token() == first
    tokens.reject(first)
    second = tokens.token()
    assert second != first
    tokens.reject(first)
    tokens.reject(second)
    assert tokens.token() == second
    clock.now += module.FORCED_PAUSE_S
    tokens.reject(second)
    assert tokens.token() != second
    assert logins(mock) == 3


@pytest.mark.parametrize(
    ("name", "password", "text"),
    [
        (
            "worker1@example.com",
            "wrong",
            "check both .400 NotAuthorizedException: Incorrect username or password",
        ),
        ("who@example.com", "x", "knows no such USERNAME"),
        ("fresh@example.com", None, "log in once in a browser, choose a new one"),
        ("reset@example.com", None, "needs a new password: reset it"),
        ("mfa@example.com", None, "second factor .SOFTWARE_TOKEN_MFA."),
    ],
)
def test_refused(mock, tokens_of, clock, name, password, text):
    """In words for the account's owner; the login service is not asked again for minutes."""
    tokens = tokens_of(name, password)
    for _ in range(3):
        with pytest.raises(AccountTrouble, match=text) as caught:
            tokens.token()
    assert logins(mock) == 1
    assert caught.value.retry_after_s == pytest.approx(module.REFUSED_PAUSE_S)
    clock.now += module.REFUSED_PAUSE_S
    with pytest.raises(AccountTrouble):
        tokens.token()
    assert logins(mock) == 2


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "text", "wait_s"),
    [
        (
            400,
            {},
            {"__type": "com.amazonaws.x#UserNotConfirmedException"},
            AccountTrouble,
            "follow the link",
            module.REFUSED_PAUSE_S,
        ),
        (
            400,
            {"x-amzn-errortype": "NotAuthorizedException:http://x"},
            {},
            AccountTrouble,
            "check both",
            module.REFUSED_PAUSE_S,
        ),
        (
            400,
            {},
            {"code": "UserNotFoundException", "Message": "no"},
            AccountTrouble,
            ": no",
            module.REFUSED_PAUSE_S,
        ),
        (
            400,
            {},
            {"__type": "InvalidParameterException"},
            AccountTrouble,
            "set ACCESS_TOKEN",
            module.REFUSED_PAUSE_S,
        ),
        (
            400,
            {},
            {"__type": "ResourceNotFoundException"},
            AccountTrouble,
            "check API_URL",
            module.REFUSED_PAUSE_S,
        ),
        (400, {}, {"__type": "TooManyRequestsException"}, ApiTrouble, "TooManyRequests", 30),
        (
            400,
            {},
            {"__type": "NotAuthorizedException", "message": "Password attempts exceeded"},
            ApiTrouble,
            "locked the account for a while",
            900,
        ),
        (400, {}, {"__type": "SomethingNew"}, ApiTrouble, "SomethingNew", 5),
        (403, {}, "<html>proxy</html>", ApiTrouble, "403", 5),
        (500, {}, {"__type": "InternalErrorException"}, ApiTrouble, "500", 5),
        (302, {"location": "http://evil.test/"}, "", ApiTrouble, "302", 5),
        (200, {}, "<html>", ApiTrouble, "without a token", 5),
        (200, {}, {"AuthenticationResult": {"IdToken": ""}}, ApiTrouble, "without a token", 5),
        (200, {}, {"AuthenticationResult": {"AccessToken": "a"}}, ApiTrouble, "without a token", 5),
        (200, {}, {"ChallengeName": "EMAIL_OTP"}, AccountTrouble, "second factor", module.REFUSED_PAUSE_S),
    ],
)
def test_answers(mock, tokens_of, status, headers, body, kind, text, wait_s):
    """AWS spells its errors in several ways; what is unknown or a proxy's is no verdict on the account."""
    body = body if isinstance(body, str) else json.dumps(body)
    mock.fault("status", *LOGIN, status=status, headers=headers, body=body)
    with pytest.raises(kind, match=text) as caught:
        tokens_of().token()
    assert caught.value.retry_after_s == pytest.approx(wait_s, abs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [{"kind": "drop"}, {"kind": "truncate", "at_bytes": 5}])
def test_login_service_away(mock, tokens_of, clock, fault):
    """Trouble, for a moment the same for all threads; then it is asked again."""
    mock.fault(method="POST", path="^/$", times=1, **fault)
    tokens = tokens_of()
    for _ in range(2):
        with pytest.raises(ApiTrouble, match=r"^the login service at http://127.0.0.1:\d+ does not answer"):
            tokens.token()
    assert logins(mock) == 1
    clock.now += module.TROUBLE_PAUSE_S
    assert tokens.token()


def test_api_away(clock):
    """Where to log in is asked of the API: its trouble is told as it is, and it is asked again later."""
    answers = [ApiTrouble("away", status=503), UserPool(client_id="x", region="evil.test/#")]

    def user_pool():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    tokens = CognitoTokens(user_pool, "u", "p", None, clock)
    with pytest.raises(ApiTrouble, match=r"^away$") as caught:
        tokens.token()
    assert caught.value.status == 503
    clock.now += module.TROUBLE_PAUSE_S
    with pytest.raises(ApiTrouble, match="names a login region that is none"):
        tokens.token()
    assert not answers


def test_one_login_for_many_threads(mock, tokens_of):
    """One logs in, the others wait for it."""
    mock.fault("delay", *LOGIN, delay_s=0.3)
    tokens = tokens_of()
    barrier = threading.Barrier(8)

    def get(_):
        barrier.wait()
        return tokens.token()

    with ThreadPoolExecutor(8) as executor:
        assert len(set(executor.map(get, range(8)))) == 1
    assert logins(mock) == 1


def test_one_failure_for_many_threads(mock, tokens_of):
    """The others do not queue up to fail one after the other: a heartbeat among them would come too late."""
    mock.fault("drop", *LOGIN, delay_s=0.3, times=None)
    tokens = tokens_of()
    barrier = threading.Barrier(8)

    def get(_):
        barrier.wait()
        with pytest.raises(ApiTrouble):
            tokens.token()

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(get, range(8)))
    assert logins(mock) == 1


def test_no_secret_in_errors_or_repr(tokens_of):
    """Neither password nor token."""
    tokens = tokens_of("worker1@example.com", "s3cret")
    with pytest.raises(AccountTrouble) as caught:
        tokens.token()
    assert "s3cret" not in str(caught.value) + repr(tokens)


def jwt(claims):
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{part}.sig"


@pytest.mark.parametrize(
    ("token", "expiry"),
    [
        (jwt({"exp": 1_800_000_000}), 1_800_000_000.0),
        (jwt({"exp": "1800000000"}), 1_800_000_000.0),
        (jwt({"exp": float("inf")}), None),
        (jwt({"exp": None}), None),
        (jwt({}), None),
        (jwt([1]), None),
        ("ID_TOKEN_WORKER1.PAYLOAD.SIGNATURE", None),
        ("opaque", None),
        ("..", None),
        ("", None),
    ],
)
def test_expiry(token, expiry):
    """What a token says of itself, if it says it."""
    assert expiry_of(token) == expiry


def test_a_refused_login_does_not_cost_a_job_at_once():
    """The API gives a job away after 300 s of silence: a password that is right again by then saves it."""
    assert module.REFUSED_PAUSE_S < 300


def test_an_api_cannot_forbid_the_login_for_an_hour(clock):
    """Whatever it asks for: jobs under way fall silent meanwhile."""

    def away():
        raise ApiTrouble("503", status=503, retry_after_s=3600.0)

    tokens = CognitoTokens(away, "u", "p", clock=clock)
    with pytest.raises(ApiTrouble) as caught:
        tokens.token()
    assert caught.value.retry_after_s == pytest.approx(module.LOCKED_PAUSE_S)
