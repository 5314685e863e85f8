"""`decode-agent check` against the stand-in and a socket that answers like Docker."""

import http.server
import json
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.adapters.credentials import Account
from agent.adapters.tokens import StaticToken
from agent.adapters.worker_api import WorkerApi
from agent.cli import check as module
from agent.cli.check import State
from agent.cli.connect import Connection
from mock_api.server import RunningMock

BY_HAND = Account(None, "worker1-token", "ACCESS_TOKEN in the settings")


class _Docker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"Version": "28.0.1", "ApiVersion": "1.48", "MinAPIVersion": "1.24"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "docker"

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    path = tmp_path_factory.mktemp("docker") / "s"
    with socketserver.ThreadingUnixStreamServer(str(path), _Docker) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield f"unix://{path}"
        server.shutdown()


@pytest.fixture(scope="module")
def mock():
    with RunningMock() as running:
        yield running


@pytest.fixture
def environ(mock, docker, tmp_path):
    return {
        "DECODE_API_URL": mock.url,
        "DECODE_AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": mock.url,
        "DECODE_USERNAME": "worker1@example.com",
        "DECODE_PASSWORD": "worker1-password",
        "DECODE_STATE_DIR": str(tmp_path / "state"),
        "DECODE_DOCKER_HOST": docker,
        "DECODE_MIN_FREE_DISK_GIB": "0",
    }


def run(environ, cwd, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "agent", "check", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(Path(module.__file__).parents[2])} | environ,
    )
    assert done.stderr == ""
    assert "worker1-password" not in done.stdout
    return done


def findings(environ, cwd):
    """The exit code, and the findings by what they are about (the last one of each)."""
    done = run(environ, cwd, "--json")
    said = json.loads(done.stdout)
    assert said["ok"] == (done.returncode == 0)
    return done.returncode, {one["about"]: one for one in said["findings"]}


def test_all_is_well(mock, environ, tmp_path):
    """0, a line for each part, where each setting came from; no job is claimed, no folder made."""
    job_id = mock.submit(image="demo:2")
    done = run(environ, tmp_path)
    assert done.returncode == 0
    states = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if "→" not in line}
    assert states.keys() == {"settings", "folders", "api", "login", "account", "docker"}
    assert "failed" not in states.values()
    assert f"API_URL={mock.url} from DECODE_API_URL in the environment" in done.stdout
    assert "PASSWORD=(hidden)" in done.stdout
    assert "version 28.0.1" in done.stdout
    assert mock.job(job_id).status == "queued"
    assert not mock.requests(path="^/jobs$")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("change", "about", "state", "text", "fix"),
    [
        ({"DECODE_PASSWORD": "wrong-one"}, "login", "failed", "refuses USERNAME and PASSWORD", "again"),
        (
            {"DECODE_USERNAME": "mfa@example.com", "DECODE_PASSWORD": "mfa-password"},
            "login",
            "failed",
            "second",
            "",
        ),
        (
            {"DECODE_USERNAME": "user2@example.com", "DECODE_PASSWORD": "user2-password"},
            "account",
            "failed",
            "still to be confirmed by an administrator",
            "again",
        ),
        ({"DECODE_ACCESS_TOKEN": "garbage"}, "account", "failed", "refuses the token", ""),
        ({"DECODE_ACCESS_TOKEN": "worker1-token"}, "account", "ok", "takes it as a worker", ""),
        ({"DECODE_API_URL": "http://127.0.0.1:9"}, "api", "failed", "Connection refused", "check API_URL"),
        ({"DECODE_API_URL": "http://127.0.0.1:9"}, "login", "skipped", "has to answer first", ""),
        ({"DECODE_DOCKER_HOST": "unix:///nowhere/s"}, "docker", "failed", "", "systemctl start docker"),
        (
            {"DECODE_MIN_FREE_DISK_GIB": "900000"},
            "folders",
            "failed",
            "no job is taken (MIN_FREE_DISK_GIB=900000)",
            "make room",
        ),
        (
            {"DECODE_PATH_HOST_BASE": "/proc/jobs"},
            "folders",
            "failed",
            "cannot write in /proc",
            "set PATH_HOST_BASE",
        ),
        ({"DECODE_TRANSFER": "3"}, "settings", "warning", "did you mean TRANSFERS?", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(environ, tmp_path, change, about, state, text, fix):
    """1 if something failed; the rest is checked all the same."""
    code, found = findings(environ | change, tmp_path)
    assert (found[about]["state"], text in found[about]["text"], fix in found[about]["fix"]) == (
        state,
        True,
        True,
    )
    assert code == (1 if any(one["state"] == "failed" for one in found.values()) else 0)
    assert "docker" in found


def test_bad_settings_as_json(environ, tmp_path):
    """78: nothing else can be checked."""
    code, found = findings(environ | {"DECODE_TRANSFERS": "x"}, tmp_path)
    assert code == 78
    assert found.keys() == {"settings"}


@pytest.mark.parametrize(
    ("status", "state"), [(500, State.OK), (503, State.FAILED), (429, State.FAILED), (404, State.FAILED)]
)
def test_what_the_api_says_of_a_job_that_cannot_be(mock, status, state):
    """500 is its answer to ids that never were, after it took the account; others are no acceptance."""
    mock.fault("status", path="/jobs/0/status", status=status)
    with WorkerApi(mock.url, StaticToken("worker1-token")) as api:
        assert module.worker_finding(Connection(api, StaticToken("worker1-token"), BY_HAND)).state is state


@pytest.mark.parametrize(
    ("life_s", "state", "text"),
    [(3600, State.WARNING, "expires in 60 min"), (-120, State.FAILED, "expired 2 min ago")],
)
def test_token_by_hand(mock, life_s, state, text):
    """It says when it ends, for nothing renews it."""
    finding = module.login_finding(BY_HAND, mock.token(life_s=life_s), time.time())
    assert finding.state is state
    assert text in finding.text
    assert "USERNAME and PASSWORD" in finding.fix
