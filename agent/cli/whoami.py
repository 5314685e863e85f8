"""`decode-agent whoami`: the account, its groups, and whether it may work."""

import json
import os
import sys
import time
from argparse import Namespace
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from agent.adapters.credentials import Account
from agent.adapters.tokens import claims_of, expiry_of
from agent.cli.connect import Connection, account_of, connect, log_in, prove_worker, read
from agent.cli.exits import Exit
from agent.cli.login import code_of
from agent.core.errors import AgentError, NotConfirmed
from agent.core.wire import one_line

_MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of the account.

    `account`: its name, None if a token does not say it. `expires_at`: when the token ends, ISO 8601 in UTC,
    None if it does not say. `worker`: whether the API takes it as one, None if it could not be asked.
    """

    account: str | None
    source: str
    api_url: str
    groups: tuple[str, ...] = ()
    expires_at: str | None = None
    renewed: bool = False
    worker: bool | None = None
    problem: str | None = None


def whoami(arguments: Namespace) -> int:
    """Ask, and show what was found; the exit code."""
    settings = read(arguments).settings
    account = account_of(settings, os.environ)
    connection = connect(settings, account)
    with connection.api:
        token, error = _try(connection)
    found = identity_of(account, settings.api_url, token, error)
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print("\n".join(lines_of(found, time.time())))
        if error is not None:
            print(f"decode-agent: {error}", file=sys.stderr)
    return Exit.OK if error is None else code_of(error)


def _try(connection: Connection) -> tuple[str | None, AgentError | None]:
    """The token, as far as it goes, and what is in the way of working with it."""
    token = None
    try:
        log_in(connection.tokens)
        token = connection.tokens.token()
        prove_worker(connection.api)
    except AgentError as error:
        return token, error
    return token, None


def identity_of(account: Account, api_url: str, token: str | None, error: AgentError | None) -> Identity:
    """What the token says, and what came of it. The token is taken at its word: it is our own."""
    claims = claims_of(token or "")
    groups = claims.get("cognito:groups")
    expiry = expiry_of(token or "")
    name = account.username or claims.get("email") or claims.get("cognito:username")
    return Identity(
        account=None if name is None else one_line(str(name), _MAX_CHARS),
        source=account.origin,
        api_url=api_url,
        groups=tuple(one_line(str(one), _MAX_CHARS) for one in groups) if isinstance(groups, list) else (),
        expires_at=None if expiry is None else _iso(expiry),
        renewed=account.username is not None,
        worker=True if error is None else (False if isinstance(error, NotConfirmed) else None),
        problem=None if error is None else str(error),
    )


def _iso(moment: float) -> str | None:
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def lines_of(found: Identity, now: float) -> list[str]:
    """The same for a person."""
    worker = {True: "yes", False: "no: still to be confirmed by an administrator", None: "not known"}
    lines = [
        f"account   {found.account or '(the token does not say)'}",
        f"from      {found.source}",
        f"groups    {' '.join(found.groups) or '(none known)'}",
        f"token     {_life_of(found, now)}",
        f"worker    {worker[found.worker]}",
    ]
    return [*lines, f"API       {found.api_url}"]


def _life_of(found: Identity, now: float) -> str:
    if found.expires_at is None:
        return "it does not say until when it is good" if found.worker else "none"
    left_min = (datetime.fromisoformat(found.expires_at).timestamp() - now) / 60
    if left_min <= 0:
        return f"expired {-left_min:.0f} min ago"
    what_then = "renewed by itself" if found.renewed else "not renewed: use USERNAME and PASSWORD"
    return f"good for {left_min:.0f} min, then {what_then}"
