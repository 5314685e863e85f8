"""The trial that runs under the service's conditions: says what it can reach from there, and no secret."""

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress

from pydantic import TypeAdapter

from agent.adapters.console import Redactor
from agent.adapters.credentials import Account
from agent.adapters.nvidia import list_gpus
from agent.cli.check import account_or_finding, docker_finding, folder_findings
from agent.cli.connect import connect, read, secrets_of
from agent.cli.exits import Exit
from agent.cli.findings import broken_settings, without_secrets
from agent.core.doctor_host import proxies_in
from agent.core.doctor_sandbox import UnitReport
from agent.core.errors import ConfigError, HostTrouble
from agent.core.findings import Finding, State
from agent.settings import Settings


def report_from_unit(arguments: Namespace) -> int:
    """Print a `UnitReport` as JSON."""
    try:
        settings = read(arguments).settings
    except ConfigError as error:
        _print(UnitReport(tuple(broken_settings(error)), proxies_in(os.environ), None))
        return Exit.OK
    account = account_or_finding(settings)
    known = account if isinstance(account, Account) else None
    redact = Redactor(secrets_of(settings, known))
    findings = tuple(without_secrets(one, redact) for one in _findings(settings, account))
    _print(UnitReport(findings, proxies_in(os.environ), _count_gpus(settings)))
    return Exit.OK


def _findings(settings: Settings, account: Account | Finding) -> Iterator[Finding]:
    about = "credentials"
    if isinstance(account, Account):
        who = account.username or "an access token"
        yield Finding(about, State.OK, f"the service can read them: {who}, by {account.origin}")
        yield _reach(settings, account)
    else:
        yield Finding(about, State.FAILED, f"the service: {account.text}", account.fix)
    yield from folder_findings(settings)
    docker = docker_finding(settings)
    fix = "sudo usermod -aG docker decode-agent, or start it: sudo systemctl start docker"
    text = f"the service reaches it: {docker.text}" if docker.state is State.OK else docker.text
    yield Finding("docker", docker.state, text, fix if docker.state is State.FAILED else "")


def _reach(settings: Settings, account: Account) -> Finding:
    """Whether the sandbox, the proxies and the certificates let the service through to the API."""
    connection = connect(settings, account)
    with connection.api:
        try:
            connection.api.access_info()
        except HostTrouble as trouble:
            return Finding(
                "api", State.FAILED, f"the service: {trouble}", "check the service's proxy settings"
            )
    how = "certificate and all" if settings.api_url.startswith("https:") else "not encrypted"
    return Finding("api", State.OK, f"the service reaches it ({how})")


def _count_gpus(settings: Settings) -> int | None:
    """None: it is to have none, or they cannot be listed (which the machine's own check tells)."""
    if settings.gpus == "none":
        return None
    with suppress(HostTrouble):
        return len(list_gpus())
    return None


def _print(report: UnitReport) -> None:
    print(TypeAdapter(UnitReport).dump_json(report).decode())
