"""From settings to a client that may speak for the account; what `run` and `check` have in common."""

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import truststore

from agent import __version__
from agent.adapters.tokens import CognitoTokens, StaticToken
from agent.adapters.worker_api import UserPool, WorkerApi
from agent.core.errors import AccountTrouble, ConfigError
from agent.ports import Tokens
from agent.settings import SECRETS, Loaded, Settings, read_settings


@dataclass(frozen=True, slots=True)
class Connection:
    """The API and where its tokens come from; close the API when done."""

    api: WorkerApi
    tokens: Tokens


def read(arguments: Namespace, environ: Mapping[str, str] | None = None) -> Loaded:
    """The settings for this command line."""
    given = dict(os.environ if environ is None else environ)
    if arguments.log_level:
        given["DECODE_LOG_LEVEL"] = arguments.log_level
    return read_settings(arguments.env_file, given, Path.cwd())


def connect(settings: Settings) -> Connection:
    """Nothing is asked yet; the first token logs in."""
    truststore.inject_into_ssl()  # a laboratory's own CA is known to the system, not to Python

    def user_pool() -> UserPool:
        return api.access_info()

    tokens: Tokens
    if settings.access_token is not None:
        tokens = StaticToken(settings.access_token.get_secret_value())
    elif settings.username is not None and settings.password is not None:
        endpoint = settings.aws_endpoint_url_cognito_identity_provider
        password = settings.password.get_secret_value()
        tokens = CognitoTokens(user_pool, settings.username, password, endpoint)
    else:
        raise ConfigError("no credentials: set USERNAME and PASSWORD, or ACCESS_TOKEN")
    api = WorkerApi(settings.api_url, tokens, user_agent=f"decode-agent/{__version__}")
    return Connection(api, tokens)


def log_in(tokens: Tokens) -> None:
    """Get the first token. Wrong credentials are `ConfigError`, other trouble stays what it is."""
    try:
        tokens.token()
    except AccountTrouble as refused:
        raise ConfigError(str(refused)) from None


def secrets_of(settings: Settings) -> list[str]:
    """What must appear in no log line."""
    values = (getattr(settings, name.lower()) for name in SECRETS)
    return [value.get_secret_value() for value in values if value is not None]
