"""systemd's journal by its native protocol, so that `journalctl -u decode-agent JOB_ID=123` tells a story.

The protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/. The package logging-journald would also send each
argument of a log call and the text of exceptions as fields, past the formatter that hides secrets.
"""

import fcntl
import logging
import os
import socket
import struct
from array import array
from collections.abc import Callable
from errno import EMSGSIZE
from pathlib import Path

SOCKET_PATH = Path("/run/systemd/journal/socket")
_SEND_LIMIT_S = 5.0
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_F_ADD_SEALS, _ALL_SEALS = 1033, 0b1111  # <linux/fcntl.h>; not every build of Python has the names


class JournaldHandler(logging.Handler):
    """Sends each record as an entry with MESSAGE (by the formatter), PRIORITY, LOGGER and, if any, JOB_ID.

    Args:
        fallback: gets the records that the journal does not take.
        redact: hides secrets in the fields beside MESSAGE.
        path: where journald listens.
    """

    def __init__(
        self, fallback: logging.Handler, redact: Callable[[str], str], path: Path = SOCKET_PATH
    ) -> None:
        super().__init__()
        self._fallback = fallback
        self._redact = redact
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_SEND_LIMIT_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the logging module for each record."""
        try:
            self._send(entry_of(self._fields_of(record)))
        except OSError:
            self._fallback.handle(record)
        except Exception:  # noqa: BLE001  what is wrong with one record must not end a job
            self.handleError(record)

    def close(self) -> None:
        """Called by the logging module at the end."""
        self._socket.close()
        super().close()

    def _fields_of(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority_of(record.levelno)),
            "SYSLOG_IDENTIFIER": "decode-agent",
            "LOGGER": self._redact(record.name),
            "THREAD": self._redact(record.threadName or ""),
        }
        job_id = getattr(record, "job_id", None)
        return fields if job_id is None else fields | {"JOB_ID": self._redact(str(job_id))}

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno != EMSGSIZE:
                raise
            self._send_as_file(entry)

    def _send_as_file(self, entry: bytes) -> None:
        """An entry that is too large for a datagram: in a sealed memfd, whose descriptor is sent."""
        with os.fdopen(os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
            file.write(entry)
            file.flush()
            fcntl.fcntl(file, _F_ADD_SEALS, _ALL_SEALS)
            descriptors = array("i", [file.fileno()])
            self._socket.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)], 0, self._path)


def entry_of(fields: dict[str, str]) -> bytes:
    """The entry on the wire; every value with its length before it, so that no newline can forge a field."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "replace")
        parts.append(b"%b\n%b%b\n" % (name.encode("ascii"), struct.pack("<Q", len(data)), data))
    return b"".join(parts)


def priority_of(level: int) -> int:
    """The syslog priority of a level of logging."""
    return next((priority for least, priority in _PRIORITIES if level >= least), _DEBUG)
