"""Log lines: for people, for journald or for machines, and without secrets."""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Protocol, TextIO
from urllib.parse import quote, quote_plus

from agent.core.joblog import add_job_of_thread

Format = Literal["plain", "colour", "journal", "json", "bare"]
"""`journal`: lines for journald's stream; `bare`: the text alone, for what writes the rest itself."""

_SHORTEST_SECRET = 4  # one that is shorter would blot out half of every line
_HIDDEN = "[hidden]"
_SECRET_SHAPES = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"
    r"|(?<=Bearer )[^\s\"',}]+"
    r"|(?<=X-Amz-Signature=)[^&\s\"']+|(?<=X-Amz-Credential=)[^&\s\"']+|(?<=X-Amz-Security-Token=)[^&\s\"']+",
    re.IGNORECASE,
)
# What is sent and answered at a login, as errors of the HTTP library show it: JSON, or that inside a string.
_SECRET_FIELDS = re.compile(
    r"((?:password|(?:refresh|access|id)_?token|authorization|x-amz-(?:signature|security-token))"
    r"\\*[\"']\s*:\s*(\\*[\"']))(?:(?!(?<!\\)\2).)*",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31;1m", "DEBUG": "\x1b[2m"}
_SYSLOG = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class Redactor:
    """Takes secrets out of text: those it was told, as they are and quoted, and what looks like one."""

    def __init__(self, secrets: Collection[str]) -> None:
        spellings = {
            spelled
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for spelled in (
                secret,
                quote(secret),
                quote(secret, safe=""),
                quote_plus(secret),
                repr(secret)[1:-1],
            )
        }
        longest_first = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        return _SECRET_FIELDS.sub(rf"\1{_HIDDEN}", _SECRET_SHAPES.sub(_HIDDEN, text))


class Journald(Protocol):
    """Makes the handler that writes entries of journald; `fallback` gets what journald does not take."""

    def __call__(self, fallback: logging.Handler, redact: Redactor) -> logging.Handler:
        """Make it."""


class LineFormatter(logging.Formatter):
    """Lines that a person reads; a message of several lines is indented, so that none can be forged."""

    def __init__(self, shape: Format, redact: Redactor) -> None:
        super().__init__()
        self._shape = shape
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The finished text, without the last newline."""
        text = self._redact("\n".join([record.getMessage(), *_trace_of(record)]))
        lines = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).replace("\n", "\n    ")
        if self._shape == "journal":  # sd-daemon(3): the level in front of each line, the time is journald's
            prefix = f"<{_SYSLOG.get(record.levelname, 6)}>"
            return "\n".join(prefix + line for line in lines.split("\n"))
        if self._shape == "bare":
            return lines
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line = f"{stamp} {record.levelname:<7} {lines}"
        colour = _COLOURS.get(record.levelname) if self._shape == "colour" else None
        return f"{colour}{line}\x1b[0m" if colour else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts, level, message, logger, what the call gave as `extra`, traceback."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The finished line."""
        said: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
        }
        said |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD | said.keys()}
        if trace := _trace_of(record):
            said["traceback"] = "\n".join(trace)
        return json.dumps({key: self._clean(value) for key, value in said.items()})

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int):
            return value
        return self._redact(str(value)).encode(errors="replace").decode()


def _trace_of(record: logging.LogRecord) -> list[str]:
    trace = [logging.Formatter().formatException(record.exc_info)] if record.exc_info else []
    return [*trace, record.stack_info] if record.stack_info else trace


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is now: while bars are shown, that puts the lines above them."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # StreamHandler's is a plain attribute
        """Where the next line goes."""
        return sys.stderr


def format_for(stream: TextIO, environ: Mapping[str, str], *, json_lines: bool) -> Format:
    """How to write to this stream: colours for a person at a terminal, levels for journald."""
    if json_lines:
        return "json"
    if stream.isatty():
        return "plain" if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" else "colour"
    return "journal" if _is_journal(stream, environ.get("JOURNAL_STREAM", "")) else "plain"


def _is_journal(stream: TextIO, device_and_inode: str) -> bool:
    """systemd.exec(5): compare, for a child may inherit the variable with another stderr."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return device_and_inode == f"{stat.st_dev}:{stat.st_ino}"


def set_up_logging(
    shape: Format, level: str, secrets: Collection[str], journald: Journald | None = None
) -> None:
    """Send the agent's lines from `level` on, and other libraries' warnings, to stderr.

    To `journald` instead, if it is given and stderr is the journal's.
    """
    redact = Redactor(secrets)
    handler: logging.Handler = _StderrHandler()
    handler.setFormatter(JsonFormatter(redact) if shape == "json" else LineFormatter(shape, redact))
    if journald is not None and shape == "journal":
        handler = journald(handler, redact)
        handler.setFormatter(LineFormatter("bare", redact))
    handler.addFilter(add_job_of_thread)
    # Libraries' own debug lines hold URLs with signatures; there is nothing in them that we need.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("agent").setLevel(level.upper())
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_uncaught
    sys.excepthook = _log_last


def _log_uncaught(hook: threading.ExceptHookArgs) -> None:
    """In place of a bare traceback on stderr: redacted, and with the job that the thread works on."""
    if hook.exc_value is None or hook.exc_type is SystemExit:
        return
    name = hook.thread.name if hook.thread else "unknown"
    exc_info = (hook.exc_type, hook.exc_value, hook.exc_traceback)
    logging.getLogger(__name__).error("The thread %s ended by an error.", name, exc_info=exc_info)


def _log_last(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The main thread's end by an error that no door caught, in place of a bare traceback too."""
    logging.getLogger(__name__).critical("Ended by an error.", exc_info=(kind, error, trace))
