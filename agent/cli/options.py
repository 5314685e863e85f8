"""What the command lines of all commands have in common."""

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no public name

_LEVELS = ("debug", "info", "warning", "error")


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options of every command that reads the settings."""
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="take settings from this file")
    parser.add_argument("--log-level", choices=_LEVELS, help="in place of the setting LOG_LEVEL")


def plain(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Texts are shown as they are written, options have to be spelled out."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    return parser
