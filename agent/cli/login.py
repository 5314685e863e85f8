"""`decode-agent login` and `logout`: prove an account's credentials, keep them, forget them."""

import os
import sys
from argparse import Namespace
from getpass import getpass

from agent.adapters.console import Redactor
from agent.adapters.credentials import (
    Account,
    Keyring,
    backend_for,
    find_account,
    forget_accounts,
    keep_account,
    prepare_store,
)
from agent.adapters.credentials_desktop import DesktopKeyring
from agent.adapters.unit import Unit
from agent.cli.connect import connect, log_in, prove_worker, read
from agent.cli.exits import Exit
from agent.core.errors import AgentError, ConfigError, NotConfirmed
from agent.core.sources import EnvFile
from agent.core.values import bare_token
from agent.core.wire import one_line
from agent.settings import Loaded, Settings, read_env_file

_PERSON_LIMIT_S = 120.0  # a person may have to type the password of the desktop's keyring first
_ANSWER_MAX_CHARS = 64 * 1024
_RUNS = frozenset({"active", "activating", "reloading", "refreshing"})
_ROOT_FIRST = "for the service of this machine: sudo decode-agent login"


class _Usage(Exception):
    """The command line asks for what cannot be done; the text says what can."""


def login(arguments: Namespace) -> int:
    """Get the credentials, prove them, keep them, restart the service; the exit code."""
    if arguments.store_only:
        print(prepare_store())
        return Exit.OK
    loaded = read(arguments)
    keyring = backend_for(os.environ, os.geteuid(), _PERSON_LIMIT_S)
    try:
        before = _first_look(keyring)
        account = _account_for(arguments, loaded.settings.username or (before.username if before else None))
    except _Usage as wrong:
        print(f"decode-agent: {wrong}", file=sys.stderr)
        return Exit.USAGE
    try:
        if not arguments.no_check:
            _prove(loaded.settings, account, accept_unconfirmed=arguments.accept_unconfirmed)
    except AgentError as error:
        told = Redactor([account.secret])(str(error))
        print(f"decode-agent: {told}\ndecode-agent: nothing was stored", file=sys.stderr)
        return code_of(error)
    keep_account(keyring, account)
    print(f"The credentials of {shown_name(account)} are kept in {keyring.where}.")
    _warn_of_settings(loaded, account)
    _put_to_use(Unit(own=isinstance(keyring, DesktopKeyring)), restart=not arguments.no_restart)
    return Exit.OK


def logout(arguments: Namespace) -> int:  # noqa: ARG001  every command is given them
    """Empty the keyring; the exit code."""
    keyring = backend_for(os.environ, os.geteuid(), _PERSON_LIMIT_S)
    had_any = forget_accounts(keyring)
    print(f"{'Removed' if had_any else 'There are no'} credentials in {keyring.where}.")
    unit = Unit(own=isinstance(keyring, DesktopKeyring))
    if unit.state() in _RUNS:
        print(
            "The service works on with what it has read; without credentials in its settings it takes no"
            f" job after its next start.\nTo have it end now: {unit.command} stop {unit.name}"
        )
    return Exit.OK


def code_of(error: AgentError) -> Exit:
    """The exit code for an account that could not be proved."""
    if isinstance(error, NotConfirmed):
        return Exit.UNCONFIRMED
    return Exit.CONFIG if isinstance(error, ConfigError) else Exit.FAILED


def shown_name(account: Account) -> str:
    """The account as a person calls it."""
    return "an access token" if account.username is None else one_line(account.username, 100)


def _first_look(keyring: Keyring) -> Account | None:
    """What is kept now; before anybody types a password that could not be stored."""
    try:
        return find_account(keyring)
    except ConfigError as error:
        if not isinstance(keyring, DesktopKeyring):
            raise
        own = "for a service of your own log in at your desktop first"
        raise ConfigError(f"{_ROOT_FIRST}; {own} ({error})") from None


def _account_for(arguments: Namespace, known: str | None) -> Account:
    """The credentials that this command line means. `known`: the account that is used now."""
    if arguments.source is not None:
        if arguments.username is not None:
            raise _Usage("--username does not go with --from: the file says whose password it is")
        return account_in(read_env_file(arguments.source, "--from"), str(arguments.source))
    username = arguments.username or known
    if arguments.password_stdin:
        if not username:
            raise _Usage("--password-stdin needs --username")
        return Account(username, _password_of(sys.stdin.read(_ANSWER_MAX_CHARS)), "stdin")
    if not sys.stdin.isatty():
        raise _Usage("nobody can be asked here: use --from FILE, or --username U --password-stdin")
    return _asked(arguments.username, known)


def account_in(file: EnvFile, path: str) -> Account:
    """The credentials in an env file; a password comes before a token, which soon ends. Or `ConfigError`."""
    if file.problems:
        raise ConfigError("\n".join(file.problems))
    values = {key.removeprefix("DECODE_"): given.value for key, given in file.entries.items() if given.value}
    if {"USERNAME", "PASSWORD"} <= values.keys():
        return Account(values["USERNAME"], values["PASSWORD"], path)
    if "ACCESS_TOKEN" in values:
        try:
            return Account(None, bare_token(values["ACCESS_TOKEN"]), path)
        except ValueError:
            text = f"ACCESS_TOKEN in {path} is no token: one word of ASCII characters"
            raise ConfigError(text) from None
    raise ConfigError(f"{path} gives no credentials: it needs USERNAME and PASSWORD, or ACCESS_TOKEN")


def _password_of(text: str) -> str:
    """The one line that there is."""
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or "\n" in password:
        raise _Usage("stdin has to hold the password on one line, and nothing else")
    return password


def _asked(username: str | None, known: str | None) -> Account:
    """Ask the person at the terminal."""
    try:
        if username is None:
            hint = f" [{one_line(known, 100)}]" if known else ""
            username = input(f"User name (e-mail address) of the worker's account{hint}: ").strip() or known
        if not username:
            raise _Usage("no user name was given")
        password = getpass(f"Password of {one_line(username, 100)} (not shown): ")
    except EOFError:
        raise _Usage("no answer was given") from None
    if not password:
        raise _Usage("no password was given")
    return Account(username, password, "the terminal")


def _prove(settings: Settings, account: Account, *, accept_unconfirmed: bool) -> None:
    """Log in and ask the API whether the account is a worker. Raises what is in the way."""
    connection = connect(settings, account)
    with connection.api:
        connection.api.access_info()
        log_in(connection.tokens)
        try:
            prove_worker(connection.api)
        except NotConfirmed as waits:
            if not accept_unconfirmed:
                raise
            print(f"Not a worker yet: {waits}.")


def _warn_of_settings(loaded: Loaded, account: Account) -> None:
    """Say which settings still count before what was stored now."""
    given = [name for name in ("ACCESS_TOKEN", "PASSWORD") if name in loaded.origins]
    if not given and loaded.settings.username not in {None, account.username}:
        given = ["USERNAME"]
    for name in given:
        told = f"{name} (from {loaded.origins[name]}) counts before what was stored now: take it out there"
        print(f"decode-agent: {told}", file=sys.stderr)


def _put_to_use(unit: Unit, *, restart: bool) -> None:
    """Have the service read them, or say how. Raises HostTrouble if it does not start again."""
    state = unit.state()
    if state not in _RUNS | {"failed"}:
        hint = f"{unit.command} start {unit.name}" if state else "decode-agent run"
        print(f"The service does not run. To work with them: {hint}")
    elif restart:
        unit.restart()
        print(f"The service was restarted with them. What it does: {unit.command} status {unit.name}")
    else:
        print(f"The service reads them when it starts: {unit.command} restart {unit.name}")
