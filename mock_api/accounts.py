"""Who may log in, and the tokens they get: shaped like JSON web tokens, signed with a key of this process."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mock_api.settings import Settings


class AccountState(StrEnum):
    """What stands between a right password and its tokens."""

    confirmed = "confirmed"
    new_password = "new_password"
    reset = "reset"
    mfa = "mfa"
    disabled = "disabled"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. ``static_token`` is accepted as a bearer token for ever."""

    username: str
    password: str
    groups: tuple[str, ...] = ()
    static_token: str | None = None
    state: AccountState = AccountState.confirmed

    @property
    def is_cloud(self) -> bool:
        """Whether jobs for the environment ``cloud`` come to it."""
        return "cloud" in self.groups


DEFAULT_ACCOUNTS = (
    Account("worker1@example.com", "worker1-password", ("users", "workers"), "worker1-token"),
    Account("worker2@example.com", "worker2-password", ("users", "workers"), "worker2-token"),
    Account("cloud@example.com", "cloud-password", ("users", "workers", "cloud"), "cloud-token"),
    Account("user2@example.com", "user2-password", ("users",), "user2-token"),
    Account("nobody@example.com", "nobody-password", (), "nobody-token"),
    Account("fresh@example.com", "fresh-password", ("users", "workers"), state=AccountState.new_password),
    Account("reset@example.com", "reset-password", ("users", "workers"), state=AccountState.reset),
    Account("mfa@example.com", "mfa-password", ("users", "workers"), state=AccountState.mfa),
)


class Refused(Exception):
    """The API's answer to a token it does not take: status and ``detail`` as recorded."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


class Accounts:
    """The accounts, their tokens and what became of them. Safe to use from several threads."""

    def __init__(self, settings: Settings, lock: threading.RLock, accounts: Iterable[Account]) -> None:
        self._settings = settings
        self._lock = lock
        self._accounts = {account.username: account for account in accounts}
        self._key = secrets.token_bytes(32)
        self._refresh_tokens: dict[str, str] = {}
        self._generation = 0

    def add(self, account: Account) -> None:
        """Adds an account, or replaces the one of that name."""
        with self._lock:
            self._accounts[account.username] = account

    def find(self, username: str) -> Account | None:
        """The account of that name."""
        with self._lock:
            return self._accounts.get(username)

    def issue_token(self, username: str, use: str = "id", life_s: float | None = None) -> str:
        """A signed token of the account; a negative ``life_s`` makes one that has expired already."""
        with self._lock:
            account = self._accounts[username]
            now = self._settings.now()
            life_s = self._settings.token_life_s if life_s is None else life_s
            claims: dict[str, Any] = {"sub": username, "token_use": use, "iat": now, "exp": now + life_s}
            claims["generation"] = self._generation
            claims["jti"] = secrets.token_hex(8)
            if account.groups:
                claims["cognito:groups"] = list(account.groups)
            if use == "id":
                claims |= {"cognito:username": username, "email": username}
            head = _encode(json.dumps({"alg": "HS256", "kid": "mock"}).encode())
            signed = f"{head}.{_encode(json.dumps(claims).encode())}"
            return f"{signed}.{self._sign(signed)}"

    def issue_refresh_token(self, username: str) -> str:
        """A token that gives new ID tokens until it is revoked."""
        with self._lock:
            token = secrets.token_urlsafe(48)
            self._refresh_tokens[token] = username
            return token

    def owner_of_refresh_token(self, token: str) -> str | None:
        """The account a refresh token belongs to, None for a revoked or invented one."""
        with self._lock:
            return self._refresh_tokens.get(token)

    def expire_tokens(self) -> None:
        """Ends the life of every ID and access token given out so far; refresh tokens live on."""
        with self._lock:
            self._generation += 1

    def revoke_refresh_tokens(self) -> None:
        """Makes every refresh token given out so far worthless."""
        with self._lock:
            self._refresh_tokens.clear()

    def peek(self, authorization: str | None) -> str | None:
        """The account that an Authorization header names, verified or not; for the request log."""
        token = (authorization or "").partition(" ")[2]
        with self._lock:
            static = self._by_static_token(token)
            if static is not None:
                return static.username
        claims = self._claims(token)
        name = claims.get("sub") if claims else None
        return name if isinstance(name, str) else None

    def verify(self, authorization: str | None) -> Account:
        """The worker that the header proves; raises `Refused` in the API's words if it proves none."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refused(401, "Not authenticated")
        with self._lock:
            account = self._by_static_token(token) or self._by_signed_token(token)
        if not account.groups:
            raise Refused(401, "Validation Error for Claims")
        if "workers" not in account.groups:
            raise Refused(403, "Not a member of the 'workers' group")
        return account

    def _by_static_token(self, token: str) -> Account | None:
        known = (account for account in self._accounts.values() if account.static_token)
        return next((account for account in known if account.static_token == token), None)

    def _by_signed_token(self, token: str) -> Account:
        claims = self._claims(token)
        if claims is None:
            raise Refused(401, "Not authenticated")
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(signed), signature):
            raise Refused(401, "Not verified")
        if claims["exp"] <= self._settings.now() or claims["generation"] != self._generation:
            raise Refused(401, "Not verified")
        # An access token has no `cognito:username`; that the API wants the ID token is in the protocol.
        account = self._accounts.get(claims.get("cognito:username", ""))
        if account is None:
            raise Refused(401, "Validation Error for Claims")
        return account

    def _claims(self, token: str) -> dict[str, Any] | None:
        try:
            _, payload, _ = token.split(".")
            claims = json.loads(_decode(payload))
        except ValueError:
            return None
        return claims if isinstance(claims, dict) and "exp" in claims else None

    def _sign(self, text: str) -> str:
        return _encode(hmac.new(self._key, text.encode(), hashlib.sha256).digest())
