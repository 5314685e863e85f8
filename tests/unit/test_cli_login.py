"""`decode-agent login`, `logout` and `whoami` against the stand-in, with a keyring in the test's folder."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import cli
from agent.adapters import credentials, credentials_store
from agent.adapters.credentials import Account, SystemdCredentials, find_account
from agent.adapters.credentials_store import PlainStore
from agent.cli import login as module
from agent.cli import whoami as whoami_module
from agent.core.errors import ApiTrouble, ConfigError, HostTrouble, NotConfirmed
from agent.core.sources import parse_env_file
from mock_api.server import RunningMock
from tests.fakes.waiting import SOON_S

ROOT = Path(__file__).parents[2]
WORKER = "USERNAME=worker1@example.com\nPASSWORD=worker1-password\n"
WAITING = "USERNAME=user2@example.com\nPASSWORD=user2-password\n"


@pytest.fixture(scope="module")
def mock():
    with RunningMock() as running:
        yield running


class _Unit:
    """Stands in for the service's unit."""

    name, command = "decode-agent", "sudo systemctl"

    def __init__(self):
        self.says, self.restarts, self.trouble = "", 0, None

    def __call__(self, *, own):
        assert not own
        return self

    def state(self):
        return self.says

    def restart(self):
        if self.trouble:
            raise self.trouble
        self.restarts += 1


@pytest.fixture
def unit(monkeypatch):
    unit = _Unit()
    monkeypatch.setattr(module, "Unit", unit)
    return unit


@pytest.fixture
def keyring(tmp_path):
    return SystemdCredentials(PlainStore(tmp_path / "etc" / "keyring.json"))


@pytest.fixture
def decode_agent(monkeypatch, capsys, tmp_path, mock, keyring, unit):  # noqa: ARG001  commands ask the unit
    """Runs a command as root would, with the keyring in the test's folder; exit code, stdout and stderr."""
    for name in [name for name in os.environ if name.startswith("DECODE_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("DECODE_API_URL", mock.url)
    monkeypatch.setenv("DECODE_AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", mock.url)
    monkeypatch.chdir(tmp_path)
    for user in ("agent.cli.login", "agent.cli.connect"):
        monkeypatch.setattr(f"{user}.backend_for", lambda *_, **__: keyring)

    def decode_agent(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = cli.main(list(arguments))
        said = capsys.readouterr()
        assert "worker1-password" not in said.out + said.err
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return decode_agent


@pytest.fixture
def file(tmp_path):
    """An env file with that text."""

    def file(text):
        (tmp_path / "lab.env").write_text(text)
        return str(tmp_path / "lab.env")

    return file


def test_login_from_a_file(decode_agent, file, keyring, mock):
    """Proved to the login service and the API, then kept; nothing is claimed."""
    job_id = mock.submit(image="demo:2")
    code, out, err = decode_agent("login", "--from", file("API_URL=http://ignored\n" + WORKER))
    assert (code, err) == (0, "")
    assert out.startswith("The credentials of worker1@example.com are kept in ")
    assert "The service does not run. To work with them: decode-agent run" in out
    found = find_account(keyring)
    assert (found.username, found.secret) == ("worker1@example.com", "worker1-password")
    assert mock.job(job_id).status == "queued"
    mock.cancel(job_id)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("USERNAME=worker1@example.com\nPASSWORD=wrong-one", 78, "refuses USERNAME and PASSWORD"),
        ("USERNAME=who@example.com\nPASSWORD=x", 78, "knows no such USERNAME"),
        ("USERNAME=mfa@example.com\nPASSWORD=mfa-password", 78, "second factor"),
        ("USERNAME=fresh@example.com\nPASSWORD=fresh-password", 78, "choose a new one"),
        (WAITING, 77, "still to be confirmed by an administrator"),
        ("ACCESS_TOKEN=user2-token", 77, "still to be confirmed by an administrator"),
        ("ACCESS_TOKEN=garbage", 78, "refuses the token"),
    ],
)
def test_refused(decode_agent, file, keyring, text, code, said):
    """One line with the reason, its own exit code, and what was kept before stays."""
    credentials.keep_account(keyring, Account("before", "b", ""))
    given, out, err = decode_agent("login", "--from", file(text))
    assert (given, out) == (code, "")
    first, second = err.splitlines()
    assert said in first
    assert second == "decode-agent: nothing was stored"
    assert find_account(keyring).username == "before"


def test_locked_account(decode_agent, file, keyring, mock):
    """After too many wrong passwords: wait; that is not the same as a wrong one."""
    body = json.dumps({"__type": "NotAuthorizedException", "message": "Password attempts exceeded"})
    mock.fault("status", "POST", "^/$", status=400, body=body)
    code, _, err = decode_agent("login", "--from", file(WORKER))
    assert code == 1
    assert "locked the account for a while" in err
    assert find_account(keyring) is None


def test_unreachable(decode_agent, file, keyring, monkeypatch):
    """No network or a wrong API_URL: 1, and nothing is stored, unless that is asked for."""
    monkeypatch.setenv("DECODE_API_URL", "http://127.0.0.1:9")
    code, _, err = decode_agent("login", "--from", file(WORKER))
    assert code == 1
    assert "no answer from http://127.0.0.1:9" in err
    assert find_account(keyring) is None
    assert decode_agent("login", "--from", file(WORKER), "--no-check")[0] == 0
    assert find_account(keyring).username == "worker1@example.com"


def test_unconfirmed_may_be_accepted(decode_agent, file, keyring):
    """Then it is said, and whoami goes on saying it."""
    code, out, _ = decode_agent("login", "--accept-unconfirmed", "--from", file(WAITING))
    assert code == 0
    assert "Not a worker yet: the account is still to be confirmed by an administrator" in out
    assert find_account(keyring).username == "user2@example.com"
    code, out, err = decode_agent("whoami")
    assert code == 77
    assert "worker    no: still to be confirmed by an administrator" in out
    assert "groups    users\n" in out
    assert "(403 Not a member of the 'workers' group)" in err


def test_token_from_a_file(decode_agent, file, keyring):
    """Kept under a name of its own, and used."""
    assert decode_agent("login", "--from", file("DECODE_ACCESS_TOKEN='Bearer worker1-token'"))[0] == 0
    assert find_account(keyring).username is None
    code, out, _ = decode_agent("whoami")
    assert code == 0
    assert "account   (the token does not say)" in out
    assert "token     it does not say until when it is good" in out


def test_password_on_stdin(decode_agent, keyring):
    """One line; the name is given, or that of the account in use."""
    words = ("login", "--password-stdin")
    assert decode_agent(*words, "--username", "worker1@example.com", stdin="worker1-password\n")[0] == 0
    assert decode_agent(*words, stdin="worker1-password\r\n")[0] == 0
    assert decode_agent(*words, "--username", "worker2@example.com", stdin="worker2-password")[0] == 0
    assert find_account(keyring).username == "worker2@example.com"


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ((), "", "nobody can be asked here: use --from FILE"),
        (("--password-stdin",), "x", "--password-stdin needs --username"),
        (("--password-stdin", "--username", "u"), "", "on one line"),
        (("--password-stdin", "--username", "u"), "a\nb\n", "on one line"),
        (("--from", "lab.env", "--username", "u"), "", "--username does not go with --from"),
    ],
)
def test_usage(decode_agent, words, stdin, said):
    """2, and what would do."""
    code, out, err = decode_agent("login", *words, stdin=stdin)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "gives no credentials: it needs USERNAME and PASSWORD, or ACCESS_TOKEN"),
        ("USERNAME=u\nPASSWORD=\n", "gives no credentials"),
        ("USERNAME=u\nPASSWORD='x\n", "line 2 cannot be read"),
        ("ACCESS_TOKEN='a b'", "ACCESS_TOKEN in .*lab.env is no token"),
    ],
)
def test_files_without_credentials(decode_agent, file, keyring, text, said):
    """78 with the file's name."""
    code, _, err = decode_agent("login", "--from", file(text))
    assert code == 78
    assert re.search(said, err)
    assert find_account(keyring) is None


def test_a_password_comes_before_a_token():
    """The token would soon end; names with the prefix count as well."""
    text = "ACCESS_TOKEN=t\nDECODE_USERNAME=u\nPASSWORD=p\n"
    account = module.account_in(parse_env_file(text, "f"), "f")
    assert (account.username, account.secret) == ("u", "p")


def test_files_that_are_missing(decode_agent):
    """78, by name."""
    code, _, err = decode_agent("login", "--from", "/nowhere/x.env")
    assert (code, err) == (78, "decode-agent: the env file /nowhere/x.env does not exist: check --from\n")


def test_settings_that_would_win(decode_agent, file, tmp_path):
    """Who logs in is told that a password in the settings still counts before."""
    (tmp_path / ".env").write_text("USERNAME=worker2@example.com\nPASSWORD=worker2-password\n")
    code, _, err = decode_agent("login", "--from", file(WORKER))
    assert code == 0
    assert err == (
        f"decode-agent: PASSWORD (from {tmp_path}/.env line 2) counts before what was stored now:"
        " take it out there\n"
    )
    (tmp_path / ".env").write_text("USERNAME=worker2@example.com\n")
    assert "USERNAME (from" in decode_agent("login", "--from", file(WORKER))[2]
    (tmp_path / ".env").write_text("USERNAME=worker1@example.com\n")
    assert decode_agent("login", "--from", file(WORKER))[2] == ""


@pytest.mark.parametrize(
    ("state", "words", "restarts", "said"),
    [
        ("active", (), 1, "The service was restarted with them."),
        ("activating", (), 1, "The service was restarted with them."),
        ("failed", (), 1, "The service was restarted with them."),
        ("active", ("--no-restart",), 0, "when it starts: sudo systemctl restart decode-agent"),
        ("inactive", (), 0, "The service does not run. To work with them: sudo systemctl start decode-agent"),
        ("", (), 0, "To work with them: decode-agent run"),
    ],
)
def test_service_is_restarted(decode_agent, file, unit, state, words, restarts, said):
    """A service that runs, or failed (maybe for lack of them), gets the new ones; a stopped one stays so."""
    unit.says = state
    code, out, _ = decode_agent("login", "--from", file(WORKER), *words)
    assert (code, unit.restarts) == (0, restarts)
    assert said in out


def test_service_that_does_not_start_again(decode_agent, file, unit, keyring):
    """1; what was stored stays."""
    unit.says, unit.trouble = "active", HostTrouble("the service did not start again")
    code, _, err = decode_agent("login", "--from", file(WORKER))
    assert code == 1
    assert "did not start again" in err
    assert find_account(keyring) is not None


def test_logout(decode_agent, file, unit, keyring):
    """Empties the keyring, says what that means for the service, and can be repeated."""
    decode_agent("login", "--from", file(WORKER))
    unit.says = "active"
    code, out, _ = decode_agent("logout")
    assert code == 0
    assert out.startswith("Removed credentials in ")
    assert "sudo systemctl stop decode-agent" in out
    assert find_account(keyring) is None
    unit.says = "inactive"
    code, out, _ = decode_agent("logout")
    assert (code, out.startswith("There are no credentials in "), "systemctl" in out) == (0, True, False)


@pytest.mark.parametrize("command", [("whoami",), ("whoami", "--json")])
def test_no_credentials(decode_agent, command):
    """78 and the command that mends it."""
    code, out, err = decode_agent(*command)
    assert (code, out) == (78, "")
    assert err.splitlines()[-1].startswith("decode-agent: no credentials: sudo decode-agent login")


def test_unit_without_credentials(tmp_path):
    """After logout the unit is given an empty keyring: 78, which systemd does not restart, and what to do."""
    (tmp_path / "decode-agent.keyring").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "agent", "run"],
        cwd=tmp_path,
        env={
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "DECODE_API_URL": "http://127.0.0.1:9",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "no credentials: sudo decode-agent login" in done.stderr
    assert "Traceback" not in done.stderr


def test_name_that_the_keyring_does_not_know(decode_agent, file, monkeypatch):
    """USERNAME alone asks for that entry."""
    decode_agent("login", "--from", file(WORKER))
    monkeypatch.setenv("DECODE_USERNAME", "worker2@example.com")
    code, _, err = decode_agent("whoami")
    assert code == 78
    assert "no password of USERNAME=worker2@example.com is in" in err
    monkeypatch.setenv("DECODE_USERNAME", "worker1@example.com")
    assert decode_agent("whoami")[0] == 0


def test_settings_come_before_the_keyring(decode_agent, file, monkeypatch):
    """Who sets a password means it."""
    decode_agent("login", "--from", file(WORKER))
    monkeypatch.setenv("DECODE_ACCESS_TOKEN", "worker2-token")
    assert "from      ACCESS_TOKEN in the settings" in decode_agent("whoami")[1]


def test_whoami(decode_agent, file):
    """Account, source, groups, life of the token, and whether it may work."""
    decode_agent("login", "--from", file(WORKER))
    code, out, err = decode_agent("whoami")
    assert (code, err) == (0, "")
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert (lines["account"], lines["groups"]) == ("worker1@example.com", "users workers")
    assert (lines["worker"], "keyring.json" in lines["from"]) == ("yes", True)
    assert lines["token"].endswith("then renewed by itself")
    code, out, _ = decode_agent("whoami", "--json")
    found = json.loads(out)
    assert (code, found["worker"], found["groups"], found["problem"]) == (0, True, ["users", "workers"], None)
    assert found["expires_at"].endswith("+00:00")


def test_whoami_in_trouble(decode_agent, file, mock):
    """What is known is shown all the same, and the reason; nobody knows whether it may work."""
    decode_agent("login", "--from", file(WORKER))
    mock.fault("status", path="/jobs/0/status", status=503)
    code, out, err = decode_agent("whoami", "--json")
    found = json.loads(out)
    assert (code, err, found["account"], found["worker"]) == (1, "", "worker1@example.com", None)
    assert "503" in found["problem"]


@pytest.mark.parametrize(
    ("token", "error", "account", "groups", "worker"),
    [
        ("opaque", None, None, (), True),
        (
            "e30.eyJlbWFpbCI6ImFAYi5jIiwiY29nbml0bzpncm91cHMiOlsieCIsInlcbiJdfQ.s",
            None,
            "a@b.c",
            ("x", "y"),
            True,
        ),
        ("e30.eyJjb2duaXRvOmdyb3VwcyI6IngiLCJleHAiOjFlMzAwfQ.s", None, None, (), True),
        (None, ConfigError("refused"), None, (), None),
        ("t", NotConfirmed("waits"), None, (), False),
        ("t", ApiTrouble("away"), None, (), None),
    ],
)
def test_identity(token, error, account, groups, worker):
    """What odd tokens say is taken as far as it makes sense."""
    found = whoami_module.identity_of(Account(None, "t", "o"), "u", token, error)
    assert (found.account, found.groups, found.worker) == (account, groups, worker)
    assert whoami_module.lines_of(found, time.time())


@pytest.mark.parametrize(
    ("left_s", "renewed", "said"),
    [
        (3600, True, "good for 60 min, then renewed by itself"),
        (600, False, "good for 10 min, then not renewed: use USERNAME and PASSWORD"),
        (-180, False, "expired 3 min ago"),
    ],
)
def test_life_of_the_token(left_s, renewed, said):
    """In minutes from now."""
    found = whoami_module.Identity(
        "a", "s", "u", expires_at="2026-11-22T12:00:00+00:00", renewed=renewed, worker=True
    )
    now = 1795348800 - left_s
    assert f"token     {said}" in whoami_module.lines_of(found, now)


def test_store_only(decode_agent, tmp_path, monkeypatch):
    """For install.sh: the file is there, and the line that the unit needs is all that is said."""
    monkeypatch.setattr(credentials_store, "systemd_version", lambda: 249)
    monkeypatch.setattr(module, "prepare_store", lambda: credentials.prepare_store(tmp_path / "etc"))
    path = tmp_path / "etc" / "keyring.json"
    assert decode_agent("login", "--store-only") == (0, f"LoadCredential=decode-agent.keyring:{path}\n", "")
    assert path.read_text() == "{}"


AT_A_TERMINAL = """
import sys
from pathlib import Path
from agent.adapters import credentials
from agent.adapters.credentials_store import PlainStore
from agent.cli import main
keyring = credentials.SystemdCredentials(PlainStore(Path("keyring.json")))
credentials.backend_for = lambda *_: keyring
sys.exit(main(["login"]))
"""


def test_asked_at_a_terminal(tmp_path, mock):
    """Name and password are asked for; the password is not shown."""
    environ = {"DECODE_API_URL": mock.url, "DECODE_AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": mock.url}
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", AT_A_TERMINAL],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=environ | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    os.close(theirs)
    shown = read_until(terminal, b"account: ")
    os.write(terminal, b"worker1@example.com\n")
    shown += read_until(terminal, b"(not shown): ")
    os.write(terminal, b"worker1-password\n")
    shown += read_until(terminal, None)
    os.close(terminal)
    assert process.wait(timeout=SOON_S) == 0
    assert b"are kept in keyring.json" in shown
    assert b"worker1-password" not in shown
    assert json.loads((tmp_path / "keyring.json").read_text())["decode-agent"]


def read_until(terminal, end):
    """What the terminal shows up to there, or to its end."""
    shown = b""
    while end is None or end not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # Linux' way to say that the other side has closed it
            assert end is None, shown
            break
    return shown
