"""Which source a setting's value comes from: pure, given the text of the env file and the environment.

`DECODE_<NAME>` in the environment comes first, then the env file, then the bare name in the environment.
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from dotenv.parser import parse_stream

PREFIX = "DECODE_"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written (it may be a secret), and where, for a person to read."""

    value: str = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True)
class EnvFile:
    """What an env file says, by the names as they stand there; `problems`: lines that cannot be read."""

    entries: Mapping[str, Given]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The values to use, by the settings' names, and what is odd (`warnings`) or wrong (`problems`)."""

    given: Mapping[str, Given]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


def parse_env_file(text: str, path: str) -> EnvFile:
    """Read the lines as python-dotenv does, but take every value literally: a password may hold `${`."""
    entries: dict[str, Given] = {}
    problems = []
    for binding in parse_stream(io.StringIO(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))):
        start = binding.original.string
        blank_lines = start[: len(start) - len(start.lstrip())].count("\n")
        origin = f"{path} line {binding.original.line + blank_lines}"
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{origin} cannot be read: it must be NAME=value, with quotes closed")
        elif binding.key is not None:
            entries[binding.key] = Given(binding.value or "", origin)
    return EnvFile(entries, tuple(problems))


def choose(names: Collection[str], file: EnvFile, environ: Mapping[str, str]) -> Choice:
    """Pick one value for each setting that has one; an empty value counts as none."""
    given: dict[str, Given] = {}
    problems = list(file.problems)
    for name in names:
        in_file = [file.entries[key] for key in (PREFIX + name, name) if key in file.entries]
        if len({one.value for one in in_file}) > 1:
            first, second = in_file
            problems.append(f"{name} is given twice and differently ({first.origin}, {second.origin})")
        sources = [_variable(PREFIX + name, environ), *in_file]
        if _may_be_bare(name, environ):
            sources.append(_variable(name, environ))
        chosen = next((one for one in sources if one.value), None)
        if chosen is not None:
            given[name] = chosen
    return Choice(given, tuple(_unknown(names, file, environ)), tuple(problems))


def _variable(key: str, environ: Mapping[str, str]) -> Given:
    return Given(environ.get(key, ""), f"{key} in the environment")


def _may_be_bare(name: str, environ: Mapping[str, str]) -> bool:
    """Login shells set USERNAME, so alone it says nothing about the account."""
    return name != "USERNAME" or bool(environ.get("PASSWORD") or environ.get(PREFIX + "PASSWORD"))


def _unknown(names: Collection[str], file: EnvFile, environ: Mapping[str, str]) -> list[str]:
    """A sentence for each name that looks like a setting and is none."""
    odd = {key: given.origin for key, given in file.entries.items()}
    odd |= {key: "the environment" for key in environ if key.startswith(PREFIX)}
    return [
        f"{key} ({origin}) is no setting of decode-agent and has no effect{_did_you_mean(key, names)}"
        for key, origin in odd.items()
        if key.removeprefix(PREFIX) not in names
    ]


def _did_you_mean(key: str, names: Collection[str]) -> str:
    close = get_close_matches(key.upper().removeprefix(PREFIX).replace("-", "_"), names, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""
