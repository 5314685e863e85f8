"""`decode-agent check`: is everything set up, and how to mend what is not."""

import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from agent.adapters.console import Redactor
from agent.adapters.credentials import Account
from agent.adapters.host import nearest
from agent.adapters.tokens import expiry_of
from agent.cli.connect import Connection, account_of, connect, prove_worker, read, secrets_of
from agent.cli.exits import Exit
from agent.cli.findings import broken_settings, show, show_json, without_secrets
from agent.core.amounts import size_of
from agent.core.errors import AccountTrouble, AgentError, ApiTrouble, ConfigError, HostTrouble
from agent.core.findings import Finding, State, is_well
from agent.settings import SECRETS, Loaded, Settings

_GIB = 1024**3
_LITTLE_SPACE_BYTES = 20 * _GIB


def check(arguments: Namespace) -> int:
    """Print the findings; the exit code says the worst of them."""
    try:
        loaded = read(arguments)
    except ConfigError as error:
        broken = broken_settings(error)
        (show_json if arguments.json else show)(broken)
        return Exit.CONFIG
    account = account_or_finding(loaded.settings)
    known = account if isinstance(account, Account) else None
    redact = Redactor(secrets_of(loaded.settings, known))
    findings = []
    for finding in _findings(loaded, account):
        shown = without_secrets(finding, redact)
        findings.append(shown)
        if not arguments.json:
            show([shown])
    if arguments.json:
        show_json(findings)
    return Exit.OK if is_well(findings) else Exit.FAILED


def account_or_finding(settings: Settings) -> Account | Finding:
    """Whose credentials to use, or why there are none."""
    try:
        return account_of(settings)
    except ConfigError as error:
        return Finding("login", State.FAILED, str(error), "then run this check again")


def _findings(loaded: Loaded, account: Account | Finding) -> Iterator[Finding]:
    yield from settings_findings(loaded)
    yield from folder_findings(loaded.settings)
    if isinstance(account, Finding):
        yield account
    else:
        connection = connect(loaded.settings, account)
        with connection.api:
            yield from account_findings(loaded.settings, connection)
    yield docker_finding(loaded.settings)


def settings_findings(loaded: Loaded) -> Iterator[Finding]:
    """Where the settings that are not defaults came from, and what is odd about them."""
    yield Finding("settings", State.OK, f"env file: {loaded.env_file or 'none'}")
    for name, origin in loaded.origins.items():
        value = "(hidden)" if name in SECRETS else getattr(loaded.settings, name.lower())
        shown = " ".join(value) if isinstance(value, tuple) else value
        yield Finding("settings", State.OK, f"{name}={shown} from {origin}")
    for warning in loaded.warnings:
        yield Finding("settings", State.WARNING, warning)


def folder_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the agent may write where it keeps its state and the jobs' files, and how much room it has."""
    for name in ("STATE_DIR", "PATH_HOST_BASE"):
        folder: Path = getattr(settings, name.lower())
        there = nearest(folder)
        made = "" if there == folder else " (will be made)"
        try:
            with tempfile.TemporaryFile(dir=there):
                free_bytes = shutil.disk_usage(there).free
        except OSError as error:
            fix = f"run as root, or set {name} to a folder where this user may write"
            text = f"{name}={folder}: cannot write in {there} ({error.strerror})"
            yield Finding("folders", State.FAILED, text, fix)
            continue
        text = f"{name}={folder}{made}: {size_of(free_bytes)} free"
        fix = f"make room, or set {name} to a folder on a larger disk"
        if free_bytes < settings.min_free_disk_gib * _GIB:
            text = f"{text}, no job is taken (MIN_FREE_DISK_GIB={settings.min_free_disk_gib:g})"
            yield Finding("folders", State.FAILED, text, fix)
        elif free_bytes < _LITTLE_SPACE_BYTES:
            yield Finding("folders", State.WARNING, text, fix)
        else:
            yield Finding("folders", State.OK, text)


def account_findings(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Whether the API answers, the account can log in, and the API takes it as a worker."""
    try:
        connection.api.access_info()
        yield Finding("api", State.OK, f"{settings.api_url} answers")
    except HostTrouble as trouble:
        fix = "check API_URL, the network and its proxy settings"
        if "(TLS)" in str(trouble):
            fix = "put the CA into /usr/local/share/ca-certificates, then: sudo update-ca-certificates"
        yield Finding("api", State.FAILED, str(trouble), fix)
        yield Finding("login", State.SKIPPED, "the API has to answer first")
        return
    try:
        token = connection.tokens.token()
    except AccountTrouble as refused:
        yield Finding("login", State.FAILED, str(refused), "then run this check again")
        return
    except HostTrouble as trouble:
        yield Finding("login", State.FAILED, str(trouble), "try again in a few minutes")
        return
    yield login_finding(connection.account, token, time.time())
    yield worker_finding(connection)


def login_finding(account: Account, token: str, now: float) -> Finding:
    """How long the token is good for; one that was given by hand is not renewed."""
    expiry = expiry_of(token)
    left_min = None if expiry is None else (expiry - now) / 60
    if account.username is not None:
        return Finding("login", State.OK, f"logged in as {account.username}, by {account.origin}")
    if left_min is None:
        return Finding("login", State.OK, "the access token does not say until when it is good")
    fix = "use USERNAME and PASSWORD (decode-agent login): then the agent renews its token by itself"
    if left_min <= 0:
        return Finding("login", State.FAILED, f"the access token expired {-left_min:.0f} min ago", fix)
    return Finding("login", State.WARNING, f"the access token expires in {left_min:.0f} min", fix)


def worker_finding(connection: Connection) -> Finding:
    """Whether the API takes the account as a worker."""
    try:
        prove_worker(connection.api)
    except ApiTrouble as trouble:
        return Finding("account", State.FAILED, str(trouble), "try again in a few minutes")
    except AgentError as error:
        return Finding("account", State.FAILED, str(error), "then run this check again")
    return Finding("account", State.OK, "the API takes it as a worker")


def docker_finding(settings: Settings) -> Finding:
    """Whether Docker answers."""
    from agent.adapters.docker_engine import DockerEngine  # noqa: PLC0415  the others are checked without it

    try:
        version = DockerEngine(settings.docker_host, "check", timeout_s=10).ping()
    except AgentError as error:
        fix = "start it: sudo systemctl start docker (where it is not there: sudo apt install docker.io)"
        if "ermission" in str(error):
            fix = "run as root, or join the group docker and log in anew: sudo usermod -aG docker $USER"
        return Finding("docker", State.FAILED, f"{error}", fix)
    return Finding("docker", State.OK, f"version {version} at {settings.docker_host}")
