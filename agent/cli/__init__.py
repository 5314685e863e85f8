"""The command `decode-agent`: its one door, through which every error leaves as one line."""

import os
import sys
import traceback
from collections.abc import Sequence

from agent.adapters.console import Redactor
from agent.cli.arguments import parse
from agent.cli.exits import Exit
from agent.core.errors import AgentError, ConfigError
from agent.core.wire import one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line (that of the process if None); returns the exit code."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        _say(str(error))
        return Exit.CONFIG
    except AgentError as error:
        _say(str(error))
    except ModuleNotFoundError as error:
        _say(f"the Python package {error.name} is missing: pip install 'decode-agent[host]'")
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read us has gone, `decode-agent check | head`
        sys.stdout = None  # the interpreter would complain when it flushes
    except Exception as error:  # noqa: BLE001  the last door: nothing is behind it but a traceback
        if "debug" in {arguments.log_level, os.environ.get("DECODE_LOG_LEVEL", "").lower()}:
            _say("".join(traceback.format_exception(error)))
        told = one_line(str(error), 500)
        _say(f"unexpected {type(error).__name__}: {told}; please report it, with what --log-level debug says")
    return Exit.FAILED


def _say(text: str) -> None:
    for line in Redactor(())(text).splitlines():
        print(f"decode-agent: {line}", file=sys.stderr)
