"""The checks of the service: its unit, settings and account, and whether it gets what it needs."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agent import __version__
from agent.adapters import host, host_systemd
from agent.adapters.control_client import ControlClient
from agent.adapters.credentials import Account
from agent.cli.arguments_service import SOCKET_PATH
from agent.cli.check import account_findings, account_or_finding, folder_findings, settings_findings
from agent.cli.connect import connect, read
from agent.cli.doctor_case import Case, Check, needs_root, needs_settings
from agent.cli.findings import broken_settings
from agent.core.doctor_host import clock_finding
from agent.core.doctor_sandbox import TIME_LIMIT_S, UnitReport, sandbox_fix, trial_failure, trial_properties
from agent.core.doctor_unit import (
    OTHER_UNIT,
    PROPERTIES,
    UNIT,
    UnitFacts,
    group_finding,
    unit_facts_of,
    unit_findings,
    version_finding,
)
from agent.core.errors import AgentError, ConfigError, HostTrouble
from agent.core.findings import Finding, State

_NETWORK_FIX = "check API_URL, the network and its proxy settings"


def look_at_unit(case: Case) -> Iterator[Finding]:
    """The unit as systemd knows it, and which versions there are."""
    if not host_systemd.is_booted():
        text = "systemd is not in charge here: the agent runs by hand only (decode-agent run)"
        yield Finding("service", State.WARNING, text)
        return
    shown, other = (host_systemd.show_unit(unit, PROPERTIES) for unit in (UNIT, OTHER_UNIT))
    case.unit = unit_facts_of(shown, host_systemd.enablement_of(UNIT), other)
    yield from unit_findings(case.unit)
    if case.unit.is_there:
        program = case.unit.command[0] if case.unit.command else ""
        installed = host.program_version(program) if program else ""
        running, trouble = _running_version() if case.unit.active == "active" else ("", "")
        yield version_finding(__version__, installed, running)
        if trouble and host.is_root():
            yield Finding("service", State.WARNING, trouble, f"sudo systemctl restart {UNIT} (jobs run on)")


def _running_version() -> tuple[str, str]:
    """The version of the agent that runs, or why it does not tell."""
    try:
        return ControlClient(Path(SOCKET_PATH), timeout_s=10).status().version, ""
    except AgentError as trouble:
        return "", f"it does not answer at {SOCKET_PATH}: {trouble}"


def look_at_settings(case: Case) -> Iterator[Finding]:
    """The settings of the service, or of this command line."""
    case.arguments.env_file = case.env_file
    try:
        case.loaded = read(case.arguments)
    except ConfigError as error:
        if "permission denied" in str(error) and not host.is_root():
            yield needs_root("settings", f"reading {case.env_file or 'them'}")
            return
        case.has_bad_settings = True
        yield from broken_settings(error)
        return
    yield from settings_findings(case.loaded)


def look_at_account(case: Case) -> Iterator[Finding]:
    """The API, the login, and whether the account may work."""
    if case.loaded is None:
        yield needs_settings("login")
        return
    account = account_or_finding(case.settings)
    if not isinstance(account, Account):
        yield account if host.is_root() else needs_root("login", "reading the service's credentials")
        return
    case.account = account
    connection = connect(case.settings, account)
    with connection.api:
        yield from account_findings(case.settings, connection)


def look_at_clock(case: Case) -> Iterator[Finding]:
    """This machine's clock against the API's."""
    if case.loaded is None:
        yield needs_settings("clock")
        return
    try:
        clock = host.clock_facts(f"{case.settings.api_url}/access_info")
    except HostTrouble as trouble:
        yield Finding("clock", State.SKIPPED, str(trouble))
        return
    yield clock_finding(clock)


def look_from_unit(case: Case) -> Iterator[Finding]:
    """What the service sees: a trial under its own user, with its credentials, in its sandbox."""
    unit = case.unit
    if not unit.is_there or not unit.command:
        if case.loaded is not None:
            yield from folder_findings(case.settings)
        return
    if not host.is_root():
        yield needs_root("sandbox", "a trial run as the service")
        yield from _group(case, unit)
        return
    report = _ask_unit(case, unit)
    if isinstance(report, Finding):
        yield report
        yield from _group(case, unit)
        return
    case.from_unit = report
    new = (one for one in report.findings if one.about == "folders" or one.about not in case.failed)
    yield from map(sandbox_fix, new)


def _ask_unit(case: Case, unit: UnitFacts) -> UnitReport | Finding:
    words = [unit.command[0], "doctor", "--from-unit"]
    if case.env_file is not None:
        words.append(f"--env-file={case.env_file}")
    properties = trial_properties(host_systemd.cat_unit(UNIT))
    ended = host_systemd.run_trial(properties, words, TIME_LIMIT_S)
    with suppress(ValidationError):
        return TypeAdapter(UnitReport).validate_json(ended.out)
    return trial_failure(ended.code, ended.err or ended.out)


def _group(case: Case, unit: UnitFacts) -> Iterator[Finding]:
    """The second best, where it cannot be tried: the groups."""
    group = host.socket_group(case.settings.docker_host)
    if group is not None:
        yield group_finding(unit, host.groups_of(unit.user), group)


CHECKS = (
    Check("service", "asking systemd for the service", look_at_unit, 60),
    Check("settings", "reading the settings", look_at_settings, 20),
    Check("login", "asking the API for the account", look_at_account, 120, _NETWORK_FIX),
    Check("clock", "comparing the clock with the API's", look_at_clock, 60, _NETWORK_FIX),
)
FROM_UNIT = Check("sandbox", "running a trial as the service", look_from_unit, TIME_LIMIT_S + 30)
