"""`decode-agent doctor`: proves that jobs would run here, and says how to mend what does not work."""

import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from agent.adapters import host
from agent.adapters.console import Redactor
from agent.cli.connect import secrets_of
from agent.cli.doctor_case import Case, Check
from agent.cli.doctor_engine import CHECKS as ENGINE_CHECKS
from agent.cli.doctor_gpu import CHECKS as GPU_CHECKS
from agent.cli.doctor_machine import CHECKS as MACHINE_CHECKS
from agent.cli.doctor_repair import repair
from agent.cli.doctor_service import CHECKS as SERVICE_CHECKS
from agent.cli.doctor_service import FROM_UNIT
from agent.cli.doctor_unit import report_from_unit
from agent.cli.exits import Exit
from agent.cli.findings import show, show_json, without_secrets
from agent.core.errors import AgentError
from agent.core.findings import Finding, State, is_well
from agent.core.wire import one_line

CHECKS = (*SERVICE_CHECKS, *ENGINE_CHECKS, FROM_UNIT, *GPU_CHECKS, *MACHINE_CHECKS)


def doctor(arguments: Namespace) -> int:
    """Print the findings; the exit code says the worst of them."""
    if arguments.from_unit:
        return report_from_unit(arguments)
    case = Case(arguments)
    findings = []
    for finding in examine(case, CHECKS):
        redact = Redactor(secrets_of(case.loaded.settings, case.account) if case.loaded else ())
        shown = without_secrets(finding, redact)
        findings.append(shown)
        if not arguments.json:
            show([shown])
    if arguments.json:
        show_json(findings)
    if case.has_bad_settings:
        return Exit.CONFIG
    return Exit.OK if is_well(findings) else Exit.FAILED


def examine(case: Case, checks: tuple[Check, ...]) -> Iterator[Finding]:
    """All findings, check by check; with --fix what is mended is looked at again."""
    may_fix = case.arguments.fix and host.is_root()
    if case.arguments.fix and not may_fix:
        yield Finding("fix", State.SKIPPED, "needs root: run it with sudo")
    for check in checks:
        with _saying(check):
            findings = bounded(check, case)
        repairs = dict.fromkeys(one.repair for one in findings if one.repair) if may_fix else {}
        done = [repair(one) for one in repairs]
        if any(one.state is State.OK for one in done):
            findings = bounded(check, case)
        case.failed |= {one.about for one in findings if one.state is State.FAILED}
        yield from done
        yield from findings


def bounded(check: Check, case: Case) -> list[Finding]:
    """What the check finds; that it takes too long or goes wrong is a finding too, and hides no other."""
    findings: list[Finding] = []

    def look() -> None:
        try:
            for one in check.look(case):
                findings.append(one)  # noqa: PERF402  those found before it goes wrong count too
        except AgentError as error:
            findings.append(Finding(check.about, State.FAILED, str(error), check.fix))
        except Exception as error:  # noqa: BLE001  whatever it is, the other checks go on
            text = f"unexpected {type(error).__name__}: {one_line(str(error), 300)}"
            findings.append(Finding(check.about, State.FAILED, text, "please report it"))

    thread = threading.Thread(target=look, name=f"doctor-{check.about}", daemon=True)
    thread.start()
    thread.join(check.limit_s)
    if not thread.is_alive():
        return findings
    text = f"no answer within {check.limit_s:.0f} s ({check.doing})"
    return [*findings, Finding(check.about, State.FAILED, text, check.fix)]


@contextmanager
def _saying(check: Check) -> Iterator[None]:
    """Tell a person what is being done, until it is."""
    if not sys.stderr.isatty():
        yield
        return
    print(f"… {check.doing}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
