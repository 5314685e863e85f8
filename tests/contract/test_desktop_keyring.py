"""A real Secret Service (gnome-keyring on a session bus of the test's own), as a person's desktop has it."""

import gc
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
from keyring.testing.backend import BackendBasicTests

from agent.adapters.credentials import Account, backend_for, find_account, forget_accounts, keep_account
from agent.core.errors import ConfigError
from mock_api.server import RunningMock
from tests.fakes.waiting import wait_until

SOMEBODY = 1000
TOOLS = ("dbus-daemon", "gnome-keyring-daemon")
LIMIT_S = 20.0
AS_SOMEBODY = f"""
import sys
from agent.adapters import credentials
from agent.cli import main
choose = credentials.backend_for
credentials.backend_for = lambda environ, euid, *rest: choose(environ, {SOMEBODY}, *rest)
sys.exit(main())
"""


@contextmanager
def process(command, environ, given=b""):
    """The process with what it says first; it ends with the block."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ
    ) as running:
        try:
            running.stdin.write(given)
            running.stdin.close()
            yield running.stdout.readline().decode().strip()
        finally:
            running.terminate()


@contextmanager
def unlocked(environ, password=b"made-up"):
    """The daemon with its keyring open, as logging in at a desktop leaves it."""
    command = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
    with process(command, environ, password):
        wait_until(lambda: knows_service(environ))
        yield


def knows_service(environ):
    """Whether somebody offers secrets on the bus."""
    words = [
        "--session",
        "--print-reply",
        "--dest=org.freedesktop.DBus",
        "/",
        "org.freedesktop.DBus.NameHasOwner",
    ]
    done = subprocess.run(
        ["dbus-send", *words, "string:org.freedesktop.secrets"],
        env=environ, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return b"boolean true" in done.stdout


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The environment of a desktop session without anybody who offers secrets yet."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{', '.join(missing)} is not installed")
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(run)}
    with process(["dbus-daemon", "--session", "--nofork", "--print-address"], environ) as address:
        environ["DBUS_SESSION_BUS_ADDRESS"] = address
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        yield environ


@pytest.fixture
def desktop(session):
    with unlocked(session):
        yield session


class TestDesktopKeyring(BackendBasicTests):
    """The suite that keyring publishes for backends."""

    @pytest.fixture(autouse=True)
    def _init_properties(self, desktop):  # noqa: ARG002  it has to be there
        self.keyring = backend_for({}, SOMEBODY, LIMIT_S)
        self.credentials_created = set()
        yield
        self.cleanup()


@pytest.mark.usefixtures("desktop")
def test_one_account_at_a_time():
    """The last one kept is the one, by name too; forgetting is complete and can be repeated."""
    keyring = backend_for({}, SOMEBODY, LIMIT_S)
    assert find_account(keyring) is None
    keep_account(keyring, Account("first", "1", ""))
    keep_account(keyring, Account(None, "to.k.en", ""))
    keep_account(keyring, Account("second", "2", ""))
    found = find_account(keyring)
    assert (found.username, found.secret) == ("second", "2")
    assert find_account(keyring, "first") is None
    assert (forget_accounts(keyring), forget_accounts(keyring), find_account(keyring)) == (True, False, None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_locked(session):
    """After the desktop's session ended nobody unlocks it: an error with the way out, not a wait for ever."""
    with unlocked(session):
        keep_account(backend_for({}, SOMEBODY, LIMIT_S), Account("u", "s3cret", ""))
    with process(["gnome-keyring-daemon", "--foreground", "--components=secrets"], session):
        wait_until(lambda: knows_service(session))
        keyring = backend_for({}, SOMEBODY, LIMIT_S)
        with pytest.raises(ConfigError, match=r"keyring of your desktop .* cannot be used: "):
            find_account(keyring)
        assert keyring.is_there
    gc.collect()  # the package keyring leaves its connection open when it fails


def decode_agent(session, mock, *arguments, given=""):
    """The command as that person types it; only the user id is made up, for the tests may run as root."""
    return subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY, *arguments],
        cwd=session["HOME"],
        env=session
        | {"DECODE_API_URL": mock.url, "DECODE_AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": mock.url},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_commands(desktop):
    """Login, whoami, logout; what is on the disk is encrypted."""
    with RunningMock() as mock:
        words = ("login", "--username", "worker1@example.com", "--password-stdin")
        done = decode_agent(desktop, mock, *words, given="worker1-password\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert "kept in the keyring of your desktop (Secret Service)" in done.stdout
        found = json.loads(decode_agent(desktop, mock, "whoami", "--json").stdout)
        assert (found["account"], found["worker"]) == ("worker1@example.com", True)
        kept = subprocess.run(
            ["grep", "-rl", "worker1-password", desktop["HOME"]], capture_output=True, check=False
        )
        assert kept.stdout == b""
        assert "Removed credentials" in decode_agent(desktop, mock, "logout").stdout
        done = decode_agent(desktop, mock, "whoami")
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.startswith("decode-agent: no credentials: ")


def test_no_desktop(session):
    """Without a Secret Service: what the system's service needs comes first; nothing is asked for."""
    with RunningMock() as mock:
        done = decode_agent(session, mock, "login", "--username", "u", "--password-stdin", given="s3cret\n")
        assert done.returncode == 78
        assert "for the service of this machine: sudo decode-agent login" in done.stderr
        done = decode_agent({**session, "DBUS_SESSION_BUS_ADDRESS": ""}, mock, "run")
        assert done.returncode == 78
        assert done.stderr.startswith("decode-agent: no credentials: sudo decode-agent login")
        assert done.stderr.count("\n") == 1
        assert not mock.requests(path="^/$")
