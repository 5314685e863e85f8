"""Log lines: readable, one per message, without secrets."""

import io
import json
import logging
import os
import pty
import sys
import threading
from urllib.parse import quote, quote_plus

import pytest

from agent.adapters.console import JsonFormatter, LineFormatter, Redactor, format_for, set_up_logging
from agent.core.joblog import JobLog

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.fixture
def logged(capsys):
    """Leaves logging as it was; calling it gives what was written."""
    root, package = logging.getLogger(), logging.getLogger("agent")
    handlers, level, package_level = root.handlers[:], root.level, package.level
    hook, last_hook = threading.excepthook, sys.excepthook
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    package.setLevel(package_level)
    logging.captureWarnings(capture=False)
    threading.excepthook, sys.excepthook = hook, last_hook


def fail(text):
    raise ValueError(text)


def record(message, level=logging.INFO, **extra):
    return logging.makeLogRecord(
        {
            "msg": message,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "created": 0.0,
            "name": "agent.x",
        }
        | extra
    )


def test_line():
    """Time, level, message."""
    line = LineFormatter("plain", Redactor(())).format(record("Job 3: Claimed."))
    assert line.endswith(" INFO    Job 3: Claimed.")
    assert line.startswith(("1970-01-01 ", "1969-12-31 "))


def test_colour():
    """Only warnings and worse stand out."""
    formatter = LineFormatter("colour", Redactor(()))
    assert "\x1b" not in formatter.format(record("fine"))
    assert formatter.format(record("bad", logging.ERROR)).startswith("\x1b[31m")


def test_journal():
    """The level in front of every line, as sd-daemon(3) has it; the time is journald's."""
    formatter = LineFormatter("journal", Redactor(()))
    assert formatter.format(record("a\nb", logging.WARNING)) == "<4>a\n<4>    b"


@pytest.mark.parametrize("shape", ["plain", "colour", "journal"])
def test_no_line_is_forged(shape):
    """What comes from a job neither begins a line of its own nor reaches the terminal's controls."""
    text = LineFormatter(shape, Redactor(())).format(
        record("name\r\x1b[2Jx\n2026-01-01 ERROR forged\u2028\ud800")
    )
    plain = text.replace("<6>", "")
    assert "\r" not in plain
    assert "\x1b" not in plain
    assert plain.isprintable() or plain.replace("\n", "").isprintable()
    assert all(line.startswith("    ") for line in plain.split("\n")[1:])
    text.encode()


def test_json():
    """One object per line with the job's id and what else the call gave."""
    try:
        fail("why")
    except ValueError:
        exc_info = sys.exc_info()
    line = JsonFormatter(Redactor(())).format(
        record("Two\nlines \ud800", logging.ERROR, job_id=7, size=1.5, exc_info=exc_info)
    )
    assert "\n" not in line
    said = json.loads(line)
    assert "ValueError: why" in said.pop("traceback")
    assert said == {
        "ts": "1970-01-01T00:00:00.000+00:00",
        "level": "error",
        "message": "Two\nlines ?",
        "logger": "agent.x",
        "job_id": 7,
        "size": "1.5",
    }


@pytest.mark.parametrize("shape", ["plain", "colour", "journal", "json"])
def test_secrets_are_taken_out(logged, shape):
    """Of messages, arguments and tracebacks: those of the settings, tokens, and signatures of URLs."""
    password = 'p&ss "wö/rd\\1'
    set_up_logging(shape, "debug", ["opaque-token", password, ""])
    log = JobLog(logging.getLogger("agent.test"), 5)
    log.info("%s and %r", password, {"a": password})
    log.info(
        f"http://x/?X-Amz-Credential=SECRET1&X-Amz-Signature=SECRET2&a={JWT} Authorization: Bearer SECRET3"
    )
    log.info("", extra={"token": "opaque-token"})
    logging.getLogger("urllib3").warning("Failed to parse headers (url=/x?X-Amz-Signature=SECRET4)")
    try:
        fail(f"{quote(password)} {quote(password, safe='')} {quote_plus(password)} {password} opaque-token")
    except ValueError:
        log.exception("failed")
    text = logged()
    for secret in (
        password,
        repr(password)[1:-1],
        json.dumps(password)[1:-1],
        "p%26ss%20",
        "p%26ss+",
        "opaque-token",
        "SECRET",
        JWT,
    ):
        assert secret not in text
    assert text.count("[hidden]") >= 8


def test_short_secrets_are_left(logged):
    """A password of one letter would hide every line."""
    set_up_logging("plain", "info", ["a"])
    logging.getLogger("agent").info("a banana")
    assert "a banana" in logged()


def test_levels(logged):
    """Ours from the chosen level on; of libraries only warnings: their debug lines hold signed URLs."""
    set_up_logging("plain", "debug", ())
    logging.getLogger("agent.x").debug("ours")
    logging.getLogger("urllib3").debug("theirs")
    set_up_logging("plain", "warning", ())
    logging.getLogger("agent.x").info("too low")
    text = logged()
    assert "ours" in text
    assert "theirs" not in text
    assert "too low" not in text
    assert len(logging.getLogger().handlers) == 1


def test_job_id_is_structured(logged):
    """A job's story can be filtered."""
    set_up_logging("json", "info", ())
    JobLog(logging.getLogger("agent"), 12).info("Claimed.")
    said = json.loads(logged())
    assert (said["message"], said["job_id"]) == ("Job 12: Claimed.", 12)


def test_which_format(tmp_path):
    """JSON if asked for, colours at a terminal, levels for the journal that is really there."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "w"), os.fdopen(follower, "w") as terminal, (tmp_path / "f").open("w") as file:
        stat = os.fstat(file.fileno())
        ours = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        assert format_for(file, ours, json_lines=True) == "json"
        assert format_for(file, ours, json_lines=False) == "journal"
        assert format_for(file, {"JOURNAL_STREAM": "1:2"}, json_lines=False) == "plain"
        assert format_for(file, {}, json_lines=False) == "plain"
        assert format_for(io.StringIO(), ours, json_lines=False) == "plain"
        assert format_for(terminal, {}, json_lines=False) == "colour"
        assert format_for(terminal, {"NO_COLOR": "1"}, json_lines=False) == "plain"
        assert format_for(terminal, {"TERM": "dumb"}, json_lines=False) == "plain"


def in_thread(name, act):
    thread = threading.Thread(target=act, name=name)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("name", "message", "job_id"),
    [
        ("job-12", "Job 12: Pulling 100 %.", 12),
        ("job-12-transfer-0", "Job 12: Pulling 100 %.", 12),
        ("heartbeat", "Pulling 100 %.", None),
    ],
)
def test_a_jobs_threads_speak_of_their_job(logged, name, message, job_id):
    """Libraries and steps know no job; what they log in its threads belongs to its story."""
    set_up_logging("json", "info", ())
    in_thread(name, lambda: logging.getLogger("agent.x").info("Pulling %d %%.", 100))
    said = json.loads(logged())
    assert (said["message"], said.get("job_id")) == (message, job_id)


def test_the_job_is_named_once(logged):
    """Lines that name their job already stay as they are."""
    set_up_logging("json", "info", ())
    in_thread("job-12", lambda: JobLog(logging.getLogger("agent"), 12).info("Claimed."))
    assert json.loads(logged())["message"] == "Job 12: Claimed."


def test_an_uncaught_error_of_a_thread_is_logged(logged):
    """With its job, its traceback, and without secrets."""
    set_up_logging("json", "info", ["s3cret"])
    in_thread("job-12-transfer-1", lambda: fail("s3cret"))
    said = json.loads(logged())
    assert (said["level"], said["job_id"]) == ("error", 12)
    assert said["message"] == "Job 12: The thread job-12-transfer-1 ended by an error."
    assert "ValueError: [hidden]" in said["traceback"]


def test_an_uncaught_error_of_the_main_thread_is_logged(logged):
    """As any other line: with its level, without secrets."""
    set_up_logging("journal", "info", ["s3cret"])
    try:
        fail("s3cret")
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    said = logged().splitlines()
    assert said[0] == "<2>Ended by an error."
    assert said[-1] == "<2>    ValueError: [hidden]"


@pytest.mark.parametrize("name", ["PASSWORD", "REFRESH_TOKEN", "RefreshToken", "IdToken", "x-amz-signature"])
@pytest.mark.parametrize("secret", ["plain", 'a "quoted" one', "back\\slash", "an 'apostrophe'"])
@pytest.mark.parametrize("shown", [str, repr, json.dumps], ids=["as it is", "repr", "JSON"])
@pytest.mark.parametrize("written", [json.dumps, repr], ids=["JSON", "dict"])
def test_the_body_of_a_login_is_hidden(name, secret, shown, written):
    """Whatever an error of the HTTP library shows of it, and even if nobody told what is secret."""
    text = f"failed: {shown(written({'User': 'w', name: secret, 'ClientId': 'mine'}))}"
    said = Redactor(())(text)
    assert not any(word in said for word in ("plain", "quoted", "slash", "apostrophe"))
    assert "[hidden]" in said
    assert "User" in said


def test_a_body_that_was_cut_off_is_hidden():
    """What has no end is hidden to the end of the line, and no further."""
    assert Redactor(())('{"PASSWORD": "secr\nnext') == '{"PASSWORD": "[hidden]\nnext'


def test_sentences_about_credentials_stay():
    """The name of a field is no secret."""
    for text in ("check USERNAME and PASSWORD: both are wrong", 'the setting "PASSWORD" is empty'):
        assert Redactor(())(text) == text
