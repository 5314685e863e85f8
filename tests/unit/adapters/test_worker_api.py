"""The border of the HTTP library: every exception of its is translated, in the client and in the login."""

import inspect
from contextlib import suppress

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter

from agent.adapters.tokens import CognitoTokens, StaticToken
from agent.adapters.worker_api import UserPool, WorkerApi
from agent.core.errors import ApiTrouble
from agent.core.models import Offer, Word

FOREIGN = sorted(
    {
        error
        for module in (requests.exceptions, urllib3.exceptions)
        for _, error in inspect.getmembers(module, inspect.isclass)
        if issubclass(error, Exception)
        and not issubclass(error, Warning)
        and error.__module__.startswith(("requests.", "urllib3."))
    },
    key=lambda error: f"{error.__module__}.{error.__name__}",
)
SECRET = "http://u:p@h/?X-Amz-Signature=abc"


class Failing(BaseAdapter):
    """A connection on which everything fails in one way."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    def send(self, *_, **__):
        raise self._error

    def close(self):
        pass


def example_of(kind):
    """An instance, however many arguments its class wants; texts may hold the whole URL."""
    for count in range(1, 5):
        with suppress(TypeError, AttributeError, ValueError):
            error = kind(*[SECRET] * count)
            str(error)
            return error
    error = kind.__new__(kind)
    Exception.__init__(error, SECRET)
    return error


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_client_translates(kind):
    """One line of ours, without what the library's text holds."""
    with WorkerApi("http://api.test", StaticToken("t")) as api:
        api._once.mount("http://", Failing(example_of(kind)))
        api._kept.mount("http://", Failing(example_of(kind)))
        for call in (lambda: api.claim(Offer(1, 1), 1), lambda: api.say(1, Word.ERROR, "x"), api.access_info):
            with pytest.raises(ApiTrouble, match=r"^(GET|PUT) /[^\n]*http://api\.test[^\n]*$") as caught:
                call()
            assert caught.value.status is None
            assert "X-Amz" not in str(caught.value)


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_login_translates(kind, monkeypatch):
    """Nothing of a login's request is in the text."""
    monkeypatch.setattr(requests.sessions, "HTTPAdapter", lambda: Failing(example_of(kind)))
    tokens = CognitoTokens(lambda: UserPool(client_id="c", region="eu-central-1"), "u", "p")
    with pytest.raises(
        ApiTrouble, match=r"^the login service at https://cognito-idp\.eu-central-1"
    ) as caught:
        tokens.token()
    assert "X-Amz" not in str(caught.value)


@pytest.mark.parametrize("token", ["a\nb", "é", "\ud800", "☃"])
def test_a_token_that_no_header_can_hold(token):
    """It is translated as well, and not shown."""
    with WorkerApi("http://127.0.0.1:9", StaticToken(token)) as api, pytest.raises(ApiTrouble) as caught:
        api.claim(Offer(1, 1), 1)
    assert token not in str(caught.value)
