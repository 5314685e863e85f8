"""The command line: what it takes, what it says, how it ends."""

import os
import subprocess
import sys

import pytest

from agent import __version__, cli
from agent.cli import run
from agent.core.errors import ConfigError, EngineTrouble


def decode_agent(*arguments, **environ):
    """Runs the command as users do, in an empty environment."""
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", **environ},
    )


def test_version():
    """The version of the code that runs."""
    done = decode_agent("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"decode-agent {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("check", "--help")])
def test_help(arguments):
    """It fits into a terminal, and the main one teaches settings and exit codes."""
    done = decode_agent(*arguments, COLUMNS="100")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 100
    if arguments == ("--help",):
        for text in (
            "decode-agent check",
            "DECODE_API_URL",
            "/etc/decode-agent/agent.env",
            "exit codes:",
            "78",
        ):
            assert text in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [(), ("fly",), ("run", "--once", "--until-idle"), ("check", "--env-file"), ("run", "--json"), ("--on",)],
)
def test_usage(arguments):
    """Mistakes end with 2; options are not guessed from their beginnings, so that new ones may come."""
    done = decode_agent(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: decode-agent" in done.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_settings(command, tmp_path):
    """78, one line for each, no traceback."""
    env_file = tmp_path / "lab.env"
    env_file.write_text("API_URL=https://x\nTIMEOUT_STATUS=500\nUSERNAME=u\nPASSWORD=s3cret\n")
    done = decode_agent(command, "--env-file", str(env_file))
    said = done.stdout + done.stderr
    assert done.returncode == 78
    assert f"TIMEOUT_STATUS=500 (from {env_file} line 2) is not allowed" in said
    assert "Traceback" not in said
    assert "s3cret" not in said


def test_missing_env_file():
    """The one that was asked for has to be there."""
    done = decode_agent("run", "--env-file", "/nowhere/x.env")
    assert done.returncode == 78
    assert done.stderr == "decode-agent: the env file /nowhere/x.env does not exist: check --env-file\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("one\ntwo"), 78, "decode-agent: one\ndecode-agent: two\n"),
        (EngineTrouble("Docker is away"), 1, "decode-agent: Docker is away\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 1, ""),
        (ModuleNotFoundError("x", name="docker"), 1, "pip install 'decode-agent[host]'"),
        (ZeroDivisionError("why\nso"), 1, "unexpected ZeroDivisionError: why so; please report it"),
    ],
)
@pytest.mark.parametrize("level", ["info", "debug"])
def test_the_door(monkeypatch, capsys, error, code, said, level):
    """Whatever happens is one line and an exit code; the traceback is for who asks for it."""

    def fail(_):
        raise error

    monkeypatch.setattr("agent.cli.arguments._check", fail)
    stdout = sys.stdout
    assert cli.main(["check", "--log-level", level]) == code
    monkeypatch.setattr(sys, "stdout", stdout)
    text = capsys.readouterr().err
    assert said in text
    assert ("Traceback" in text) == (level == "debug" and isinstance(error, ZeroDivisionError))


def test_whoever_reads_may_leave():
    """`decode-agent check | head -1` is no error to tell."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "agent", "check"]
    with os.fdopen(write_end, "wb") as nobody:
        done = subprocess.run(
            command, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env={}
        )
    assert done.stderr == ""
    assert done.returncode == 1


def test_an_error_that_ends_the_agent_is_in_its_log(monkeypatch, caplog):
    """With its traceback, for the last door tells a person one line only; what was foreseen needs none."""

    def fail(*_):
        raise ZeroDivisionError

    def refuse(*_):
        raise ConfigError("STATE_DIR cannot be used")

    monkeypatch.setattr(run, "run_agent", fail)
    with pytest.raises(ZeroDivisionError):
        run._live(None, None, None, None)
    assert "The agent ends by an error; containers run on" in caplog.text
    assert "Traceback" in caplog.text
    caplog.clear()
    monkeypatch.setattr(run, "run_agent", refuse)
    with pytest.raises(ConfigError):
        run._live(None, None, None, None)
    assert caplog.text == ""
