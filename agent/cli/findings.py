"""How findings are shown: as lines for people, as one JSON object for scripts."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from agent.core.findings import Finding, State, is_well

_COLOURS = {"ok": "32", "warning": "33", "failed": "31", "skipped": "2"}
_ABOUT_CHARS = 11


def show(findings: Sequence[Finding]) -> None:
    """Print a line for each, and its fix below it."""
    for one in findings:
        state = f"{one.state:<8}"
        if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            state = f"\x1b[{_COLOURS[one.state]}m{state}\x1b[0m"
        print(f"{state} {one.about:<{_ABOUT_CHARS}} {one.text}", flush=True)
        if one.fix:
            print(f"{'':{_ABOUT_CHARS + 9}} → {one.fix}", flush=True)


def show_json(findings: Sequence[Finding]) -> None:
    """Print all of them as one JSON object."""
    said = {"ok": is_well(findings), "findings": [asdict(one) for one in findings]}
    print(json.dumps(said, indent=2), flush=True)


def broken_settings(error: Exception) -> list[Finding]:
    """A finding for each line of what is wrong with the settings."""
    fix = "mend the setting where it stands; .env.example explains each of them"
    return [Finding("settings", State.FAILED, line, fix) for line in str(error).splitlines()]


def without_secrets(finding: Finding, redact: Callable[[str], str]) -> Finding:
    """The finding as it may be shown."""
    return replace(finding, text=redact(finding.text), fix=redact(finding.fix))
