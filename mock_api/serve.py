"""``python -m mock_api serve``: the stand-in as a process of its own."""

import argparse
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from mock_api.accounts import DEFAULT_ACCOUNTS, Account
from mock_api.options import UsageError
from mock_api.server import RunningMock
from mock_api.settings import Settings

_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def serve(options: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM; returns 0."""
    settings = Settings(
        storage=options.storage,
        data_root=options.data_root,
        token_life_s=options.token_life,
        url_life_s=options.url_life,
        job_timeout_s=options.job_timeout,
    )
    accounts = (*DEFAULT_ACCOUNTS, *(read_account(text) for text in options.account))
    mock = RunningMock(
        settings,
        accounts,
        root=options.root,
        host=options.host,
        port=options.port,
        storage_port=options.storage_port,
    )
    # Blocked before the server's thread starts, so that they reach `sigwait` here and nothing else.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with mock:
        _announce(mock, accounts)
        with _ready(options.ready_file, mock.url):
            signal.sigwait(_SIGNALS)
    return 0


def read_account(text: str) -> Account:
    """``NAME:PASSWORD[:GROUP,…[:TOKEN]]`` as an account; raises `UsageError`."""
    if ":" not in text:
        raise UsageError(f"--account {text!r}: expected NAME:PASSWORD")
    name, password, *rest = text.split(":", 3)
    groups = tuple(group for group in rest[0].split(",") if group) if rest else ("users", "workers")
    return Account(name, password, groups, rest[1] if len(rest) > 1 else None)


def _announce(mock: RunningMock, accounts: tuple[Account, ...]) -> None:
    print(f"API and Cognito  {mock.url}")
    if mock.state.settings.storage == "s3":
        print(f"S3-like storage  {mock.storage_url}")
    print("accounts         name, password, groups, static token")
    for account in accounts:
        groups = ",".join(account.groups) or "no group"
        print(f"  {account.username}  {account.password}  {groups}  {account.static_token or '-'}")
    print(f"Stop with Ctrl+C (process {os.getpid()}).", flush=True)


@contextlib.contextmanager
def _ready(file: Path | None, url: str) -> Iterator[None]:
    """The URL in a file for as long as it is served; whoever waits for the file never reads half of it."""
    if file is None:
        yield
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(f"{url}\n")
    temporary.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
