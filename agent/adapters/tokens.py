"""Where the bearer token comes from: given once, or from Cognito by user name and password.

Cognito's InitiateAuth: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html
"""

import base64
import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from http.client import HTTPException
from typing import Any, NoReturn, Protocol

import requests
from pydantic import BaseModel, Field, ValidationError
from urllib3.exceptions import HTTPError

from agent.core.errors import AccountTrouble, ApiTrouble, HostTrouble
from agent.core.wire import json_of, one_line

RENEW_EARLY_S = 300.0
# Cognito locks an account for longer and longer after wrong passwords, the API gives a silent job away after
# 300 s.
REFUSED_PAUSE_S = 240.0
LOCKED_PAUSE_S = 900.0
TROUBLE_PAUSE_S = 5.0
THROTTLED_PAUSE_S = 30.0
FORCED_PAUSE_S = 10.0
_ANSWER_MAX_BYTES = 1024 * 1024
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_TARGET = "AWSCognitoIdentityProviderService.InitiateAuth"

_log = logging.getLogger(__name__)

_REFUSED = {
    "NotAuthorizedException": "the login service refuses USERNAME and PASSWORD: check both",
    "UserNotFoundException": "the login service knows no such USERNAME: check it, or register the account",
    "UserNotConfirmedException": "the account's e-mail address is not confirmed: follow the link in its mail",
    "PasswordResetRequiredException": "the account needs a new password: reset it, then set PASSWORD to it",
    "ResourceNotFoundException": "the login service does not know this deployment: check API_URL",
    "InvalidParameterException": "the login service refuses a login by password: check USERNAME and PASSWORD,"
    " or set ACCESS_TOKEN",
    "InvalidUserPoolConfigurationException": "the deployment's login is set up wrongly: tell its operators",
}
_THROTTLED = frozenset({"TooManyRequestsException", "LimitExceededException", "ThrottlingException"})
_CHALLENGES = {
    "NEW_PASSWORD_REQUIRED": "the account still has its first password:"
    " log in once in a browser, choose a new one, then set PASSWORD to it",
}
_OTHER_CHALLENGE = (
    "the account asks for a second factor ({name}), which a service cannot give: use an account without one"
)


class UserPool(Protocol):
    """Where to log in."""

    @property
    def client_id(self) -> str:
        """Whom the login is for."""

    @property
    def region(self) -> str:
        """The AWS region of the login service."""


class _Login(BaseModel):
    id_token: str = Field(alias="IdToken", min_length=1)
    expires_in_s: float = Field(3600.0, alias="ExpiresIn", gt=0)
    refresh_token: str | None = Field(None, alias="RefreshToken")


class StaticToken:
    """Fulfils `agent.ports.Tokens` with the one token there is."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        """Return the token, whatever the API thinks of it."""
        return self._token

    def reject(self, token: str) -> None:
        """There is no other."""


def expiry_of(token: str) -> float | None:
    """When a JWT expires by its own (unchecked) words, in unix seconds; None if it does not say."""
    with suppress(ValueError, TypeError, KeyError, OverflowError):
        expiry = float(claims_of(token)["exp"])
        return expiry if math.isfinite(expiry) else None
    return None


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT says of itself, unchecked; nothing if it is none."""
    with suppress(ValueError, RecursionError):
        part = token.partition(".")[2].partition(".")[0]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return claims if isinstance(claims, dict) else {}
    return {}


class CognitoTokens:
    """Fulfils `agent.ports.Tokens` by logging in when a token is first asked for.

    One thread logs in at a time, the others wait for its result. After a refusal the same error is given
    for some minutes without asking Cognito again, which locks accounts for repeated wrong passwords.

    Args:
        user_pool: asks the API where to log in; called once it is needed, may raise `ApiTrouble`.
        username: the account.
        password: its password; sent only when no refresh token helps.
        endpoint: replaces Cognito's own URL.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        user_pool: Callable[[], UserPool],
        username: str,
        password: str,
        endpoint: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user_pool = user_pool
        self._username = username
        self._password = password
        self._endpoint = endpoint
        self._clock = clock
        self._lock = threading.Lock()
        self._pool: UserPool | None = None
        self._token = ""
        self._refresh_token: str | None = None
        self._renew_at = self._expires_at = 0.0
        self._forced_at = float("-inf")
        self._trouble: HostTrouble | None = None
        self._ask_again_at = float("-inf")

    def token(self) -> str:
        """Return an ID token; logs in or refreshes first if it must. Raises AccountTrouble, ApiTrouble."""
        with self._lock:
            now = self._clock()
            if self._token and now < self._renew_at:
                return self._token
            if now >= self._ask_again_at:
                self._renew(now)
            if self._trouble is None or (self._token and now < self._expires_at):
                return self._token
            raise _again(self._trouble, self._ask_again_at - self._clock())

    def reject(self, token: str) -> None:
        """Have the next call of `token` get a new one; not again within seconds."""
        with self._lock:
            now = self._clock()
            if token == self._token and now >= self._forced_at + FORCED_PAUSE_S:
                self._forced_at = now
                self._token = ""

    def _renew(self, now: float) -> None:
        try:
            got = self._refresh_or_log_in()
        except HostTrouble as trouble:
            pause_s = REFUSED_PAUSE_S if isinstance(trouble, AccountTrouble) else TROUBLE_PAUSE_S
            if self._token and now < self._expires_at:
                _log.warning(f"The login could not be renewed, its token is good for a while: {trouble}.")
            self._pool = None
            self._trouble = trouble
            self._ask_again_at = self._clock() + min(trouble.retry_after_s or pause_s, LOCKED_PAUSE_S)
            return
        self._trouble = None
        self._token = got.id_token
        self._refresh_token = got.refresh_token or self._refresh_token
        self._expires_at = now + got.expires_in_s
        self._renew_at = self._expires_at - min(RENEW_EARLY_S, got.expires_in_s / 4)

    def _refresh_or_log_in(self) -> _Login:
        if self._pool is None:
            self._pool = self._user_pool()
        if self._refresh_token is not None:
            try:
                return self._ask(self._pool, "REFRESH_TOKEN_AUTH", {"REFRESH_TOKEN": self._refresh_token})
            except AccountTrouble:
                _log.info("The login has run out; logging in anew with the password.")
                self._refresh_token = None
        name_and_password = {"USERNAME": self._username, "PASSWORD": self._password}
        return self._ask(self._pool, "USER_PASSWORD_AUTH", name_and_password)

    def _ask(self, pool: UserPool, flow: str, parameters: Mapping[str, str]) -> _Login:
        """One InitiateAuth; the one place where foreign exceptions are translated."""
        url = self._endpoint or _endpoint_of(pool.region)
        body = {"AuthFlow": flow, "ClientId": pool.client_id, "AuthParameters": dict(parameters)}
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _TARGET}
        try:
            with requests.Session() as session:
                response = session.post(
                    url,
                    data=json.dumps(body),
                    headers=headers,
                    auth=_no_authorization,
                    timeout=(10.0, 30.0),
                    allow_redirects=False,
                    stream=True,
                )
                with closing(response):
                    return _login_of(response, _payload_of(response))
        except (OSError, HTTPError, HTTPException, ValueError) as error:  # those of requests are OSErrors
            host = one_line(url.partition("?")[0], 100)
            name = type(error).__name__
            raise ApiTrouble(f"the login service at {host} does not answer ({name})") from None


def _endpoint_of(region: str) -> str:
    if not _REGION.fullmatch(region):  # the password is sent there
        raise ApiTrouble(f"the API names a login region that is none: {one_line(repr(region), 60)}")
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"https://cognito-idp.{region}.amazonaws.com{suffix}/"


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Given as `auth`, or requests would add what it finds in ~/.netrc."""
    return request


def _payload_of(response: requests.Response) -> dict[str, Any]:
    body = bytearray()
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > _ANSWER_MAX_BYTES:
            break
    payload = json_of(bytes(body))
    return payload if isinstance(payload, dict) else {}


def _login_of(response: requests.Response, payload: dict[str, Any]) -> _Login:
    if response.status_code != requests.codes.ok:
        _raise_refusal(response, payload)
    if name := payload.get("ChallengeName"):
        name = one_line(str(name), 60)
        raise AccountTrouble(_CHALLENGES.get(name, _OTHER_CHALLENGE.format(name=name)))
    try:
        return _Login.model_validate(payload.get("AuthenticationResult"))
    except ValidationError:
        text = "the login service answers without a token: is its endpoint right?"
        raise ApiTrouble(text, status=response.status_code) from None


def _raise_refusal(response: requests.Response, payload: dict[str, Any]) -> NoReturn:
    header = response.headers.get("x-amzn-errortype", "").partition(":")[0]
    name = str(payload.get("__type") or payload.get("code") or header).rpartition("#")[2]
    said = one_line(str(payload.get("message") or payload.get("Message") or ""), 200)
    shown = f"{response.status_code} {one_line(name, 60)}: {said}"
    status = response.status_code
    if "attempts exceeded" in said.lower():
        text = f"the login service has locked the account for a while after wrong passwords ({shown})"
        raise ApiTrouble(text, status=status, retry_after_s=LOCKED_PAUSE_S)
    if name in _REFUSED:
        raise AccountTrouble(f"{_REFUSED[name]} ({shown})")
    wait_s = THROTTLED_PAUSE_S if name in _THROTTLED else None
    raise ApiTrouble(f"the login service fails ({shown})", status=status, retry_after_s=wait_s)


def _again(trouble: HostTrouble, wait_s: float) -> HostTrouble:
    """A copy to raise: one exception object raised by many threads would gather their tracebacks."""
    if isinstance(trouble, ApiTrouble):
        return ApiTrouble(str(trouble), status=trouble.status, retry_after_s=wait_s)
    return AccountTrouble(str(trouble), retry_after_s=wait_s)
