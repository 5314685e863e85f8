"""From settings to a client that may speak for the account; what `run` and `check` have in common."""

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import truststore

from agent import __version__
from agent.adapters.credentials import DESKTOP_LIMIT_S, Account, backend_for, find_account
from agent.adapters.credentials_desktop import DesktopKeyring
from agent.adapters.tokens import CognitoTokens, StaticToken
from agent.adapters.worker_api import UserPool, WorkerApi
from agent.core.errors import AccountTrouble, ApiTrouble, ConfigError, JobGone, NotConfirmed
from agent.core.wire import one_line
from agent.ports import Tokens
from agent.settings import SECRETS, Loaded, Settings, read_settings

_NO_CREDENTIALS = (
    "no credentials: sudo decode-agent login (it keeps them for the service),"
    " or set USERNAME and PASSWORD, or ACCESS_TOKEN"
)


@dataclass(frozen=True, slots=True)
class Connection:
    """The API and where its tokens come from; close the API when done. `account`: whose name it uses."""

    api: WorkerApi
    tokens: Tokens
    account: Account


def read(arguments: Namespace, environ: Mapping[str, str] | None = None) -> Loaded:
    """The settings for this command line."""
    given = dict(os.environ if environ is None else environ)
    if arguments.log_level:
        given["DECODE_LOG_LEVEL"] = arguments.log_level
    return read_settings(arguments.env_file, given, Path.cwd())


def account_of(
    settings: Settings, environ: Mapping[str, str] | None = None, limit_s: float = DESKTOP_LIMIT_S
) -> Account:
    """Whose credentials to use: those in the settings, else what the keyring has (for USERNAME, if set).

    Raises `ConfigError` if there are none, or if the keyring cannot be asked.
    """
    if settings.access_token is not None:
        return Account(None, settings.access_token.get_secret_value(), "ACCESS_TOKEN in the settings")
    if settings.username is not None and settings.password is not None:
        secret = settings.password.get_secret_value()
        return Account(settings.username, secret, "USERNAME and PASSWORD in the settings")
    keyring = backend_for(os.environ if environ is None else environ, os.geteuid(), limit_s)
    try:
        found = find_account(keyring, settings.username)
    except ConfigError as error:
        if isinstance(keyring, DesktopKeyring) and not keyring.is_there:  # as for most users
            raise ConfigError(f"{_NO_CREDENTIALS} ({error})") from None
        raise
    if found is not None:
        return found
    if settings.username is not None:
        text = f"no password of USERNAME={one_line(settings.username, 80)} is in {keyring.where}"
        raise ConfigError(f"{text}: log in (decode-agent login), or set PASSWORD too, or leave USERNAME out")
    raise ConfigError(_NO_CREDENTIALS)


def connect(settings: Settings, account: Account) -> Connection:
    """Nothing is asked of the API yet; the first token logs in."""
    truststore.inject_into_ssl()  # a laboratory's own CA is known to the system, not to Python

    def user_pool() -> UserPool:
        return api.access_info()

    tokens: Tokens
    if account.username is None:
        tokens = StaticToken(account.secret)
    else:
        endpoint = settings.aws_endpoint_url_cognito_identity_provider
        tokens = CognitoTokens(user_pool, account.username, account.secret, endpoint)
    api = WorkerApi(settings.api_url, tokens, user_agent=f"decode-agent/{__version__}")
    return Connection(api, tokens, account)


def log_in(tokens: Tokens) -> None:
    """Get the first token. Wrong credentials are `ConfigError`, other trouble stays what it is."""
    try:
        tokens.token()
    except AccountTrouble as refused:
        raise ConfigError(str(refused)) from None


def prove_worker(api: WorkerApi) -> None:
    """Ask for a job that cannot be: the API looks at the account first, and nothing is claimed.

    Returns if the API takes the account as a worker. Raises `NotConfirmed` if it does not yet, `ConfigError`
    if it refuses its token, `ApiTrouble`.
    """
    try:
        api.status(0)
    except JobGone:
        return
    except ApiTrouble as trouble:
        if trouble.status != HTTPStatus.INTERNAL_SERVER_ERROR:  # what it says of ids that never were
            raise
    except NotConfirmed:
        raise
    except AccountTrouble as refused:
        raise ConfigError(str(refused)) from None


def secrets_of(settings: Settings, account: Account | None = None) -> list[str]:
    """What must appear in no log line: the secrets in the settings, and the account's."""
    values = (getattr(settings, name.lower()) for name in SECRETS)
    secrets = [value.get_secret_value() for value in values if value is not None]
    return secrets if account is None else [*secrets, account.secret]
