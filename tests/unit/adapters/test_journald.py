"""Entries of the journal, on a real datagram socket in journald's place."""

import array
import logging
import os
import socket
import struct
import sys

import pytest

from agent.adapters.console import LineFormatter, Redactor, set_up_logging
from agent.adapters.journald import JournaldHandler, priority_of
from agent.core.joblog import JobLog

SECRET = "s3cret-password"


def fields_of(entry):
    """What journald would read: `NAME=value`, or the name, the length and so many bytes."""
    fields = {}
    while entry:
        name, _, rest = entry.partition(b"\n")
        assert b"=" not in name
        (size,) = struct.unpack("<Q", rest[:8])
        assert name.decode() not in fields
        fields[name.decode()] = rest[8 : 8 + size].decode()
        assert rest[8 + size : 9 + size] == b"\n"
        entry = rest[9 + size :]
    return fields


class Gathered(logging.Handler):
    """Where records go that the journal does not take."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


class Journald:
    """Its socket, and a handler that writes there."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)
        self.fallback = Gathered()
        redact = Redactor([SECRET])
        self.handler = JournaldHandler(self.fallback, redact, path)
        self.handler.setFormatter(LineFormatter("bare", redact))
        self.logger = logging.Logger("agent.test")  # noqa: LOG001  of its own, for its handler alone
        self.logger.addHandler(self.handler)

    def entry(self):
        """The next entry, as a datagram or in the file that came in its place."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not ancillary:
            return fields_of(data)
        descriptors = array.array("i")
        descriptors.frombytes(ancillary[0][2])
        with os.fdopen(descriptors[0], "r+b") as file:
            with pytest.raises(PermissionError):
                file.raw.write(b"journald takes sealed files only")
            file.seek(0)
            return fields_of(file.read())

    def close(self):
        self.handler.close()
        self.socket.close()


@pytest.fixture
def journald(tmp_path):
    journald = Journald(tmp_path / "socket")
    yield journald
    journald.close()


def test_one_jobs_story(journald):
    """`journalctl JOB_ID=7` finds what was logged about the job; the text stays as it is elsewhere."""
    JobLog(journald.logger, 7).warning("Claimed for slot %d.", 0)
    assert journald.entry() == {
        "MESSAGE": "Job 7: Claimed for slot 0.",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "decode-agent",
        "LOGGER": "agent.test",
        "THREAD": "MainThread",
        "JOB_ID": "7",
    }


def test_a_line_about_no_job(journald):
    """It has no JOB_ID."""
    journald.logger.info("Looking.")
    assert "JOB_ID" not in journald.entry()


@pytest.mark.parametrize(
    ("level", "priority"),
    [(10, 7), (15, 7), (20, 6), (25, 6), (30, 4), (40, 3), (50, 2), (60, 2)],
)
def test_priorities(level, priority):
    """As syslog has them, levels between ours too."""
    assert priority_of(level) == priority


def test_nothing_is_forged(journald):
    """Newlines in a message neither end the field nor begin another one; controls do not arrive."""
    journald.logger.info("a\nPRIORITY=0\nJOB_ID=1\n\x1b[31mred\r\ud800")
    entry = journald.entry()
    assert entry["PRIORITY"] == "6"
    assert "JOB_ID" not in entry
    assert entry["MESSAGE"].startswith("a\n    PRIORITY=0\n    JOB_ID=1\n")
    assert entry["MESSAGE"].replace("\n", "").isprintable()


def test_the_traceback_is_in_the_message(journald):
    """With its lines, and without secrets."""
    try:
        raise ValueError(SECRET)  # noqa: TRY301  it is the traceback that is tested
    except ValueError:
        journald.logger.exception("It failed.", extra={"job_id": SECRET})
    entry = journald.entry()
    assert entry["MESSAGE"].startswith("It failed.\n    Traceback (most recent call last):\n")
    assert "ValueError: [hidden]" in entry["MESSAGE"]
    assert entry["JOB_ID"] == "[hidden]"


def test_a_secret_is_in_no_field(journald):
    """Whatever carries it."""
    journald.logger.name = f"agent.{SECRET}"
    journald.logger.info("%s", SECRET, extra={"job_id": f"7 {SECRET}"})
    assert SECRET not in str(journald.entry())


def test_an_entry_that_is_too_large_goes_as_a_file(journald):
    """A datagram has its limits; a sealed memfd has none."""
    text = "x" * (4 << 20)
    journald.logger.info(text)
    assert journald.entry()["MESSAGE"] == text
    assert journald.fallback.records == []


def test_without_journald_the_fallback_gets_the_line(journald):
    """While it is restarted, or where there is none."""
    journald.socket.close()
    journald.logger.info("Still said.")
    assert [record.getMessage() for record in journald.fallback.records] == ["Still said."]


@pytest.mark.parametrize("is_there", [True, False])
def test_logging_is_set_up_with_it(journald, monkeypatch, capsys, tmp_path, is_there):
    """In the journal: entries. Without its socket: stderr's lines, with the level in front."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging.getLogger("agent"), "level", logging.NOTSET)
    monkeypatch.setattr("threading.excepthook", sys.excepthook)
    path = tmp_path / ("socket" if is_there else "nothing")
    set_up_logging(
        "journal", "info", [SECRET], lambda fallback, redact: JournaldHandler(fallback, redact, path)
    )
    try:
        JobLog(logging.getLogger("agent.x"), 7).error("Bad: %s.", SECRET)
    finally:
        root.handlers[-1].close()
        logging.captureWarnings(capture=False)
    if is_there:
        entry = journald.entry()
        assert (entry["MESSAGE"], entry["JOB_ID"]) == ("Job 7: Bad: [hidden].", "7")
        assert capsys.readouterr().err == ""
    else:
        assert capsys.readouterr().err == "<3>Job 7: Bad: [hidden].\n"


def test_other_formats_do_not_go_there(capsys, monkeypatch):
    """At a terminal, in a file or as JSON: stderr."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging.getLogger("agent"), "level", logging.NOTSET)
    monkeypatch.setattr("threading.excepthook", sys.excepthook)
    set_up_logging("plain", "info", (), JournaldHandler)
    logging.getLogger("agent.x").info("Hello.")
    logging.captureWarnings(capture=False)
    assert capsys.readouterr().err.endswith(" INFO    Hello.\n")
