"""The commands, run in this process against a running stand-in, and once as a process."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from mock_api.cli import main
from mock_api.options import UsageError, build_parser
from mock_api.serve import read_account
from tests.fakes.waiting import LONG_S, once, wait_until


@pytest.fixture
def run(mock, capsys):
    def run_command(command, *arguments):
        """Exit code, and what was printed."""
        code = main([command, *arguments, "--api", mock.url])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_command


def test_submit_prints_the_id(mock, run, tmp_path):
    """Files are uploaded, a folder stands for what is in it."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_bytes(b"1")
    (tmp_path / "in" / "deep" / "empty").write_bytes(b"")
    files = ["--file", f"data={tmp_path / 'in'}", "--file", f"config/x.yaml={tmp_path / 'in' / 'a.csv'}"]
    code, out, _ = run(
        "submit", "--image", "demo", "--cmd", "a", "--cmd", "b", "--env", "K=V=W", "--log", "", *files
    )
    assert (code, out) == (0, "job 1 submitted\n")
    spec = mock.job("1").spec
    assert sorted(spec["handler"]["files_down"]) == ["config/x.yaml", "data/a.csv", "data/deep/empty"]
    assert (spec["app"], spec["handler"]["image_url"]) == ({"cmd": ["a", "b"], "env": {"K": "V=W"}}, "demo")
    assert spec["handler"]["files_up"] == {"output": "output", "artifact": "model"}


@pytest.mark.parametrize(("verdict", "code"), [("finished", 0), ("error", 1)])
def test_watching_prints_each_change_and_fetches(worker, run, tmp_path, verdict, code):
    """The exit code is the verdict."""

    def work():
        wait_until(worker.claim)
        worker.put("1", "running")
        worker.put("1", "running")
        upload = "/jobs/1/files/upload?type=output&base_path=output%2Fsub"
        worker.call("POST", upload, files={"file": ("a b#.csv", b"123")})
        worker.put("1", verdict, runtime_details="line 1\nline 2")

    thread = threading.Thread(target=work)
    thread.start()
    got, out, _ = run("submit", "--image", "x", "--outputs", str(tmp_path))
    thread.join()
    assert got == code
    assert out.count("running") == 1
    assert f"job 1: {verdict}\n          line 1\n          line 2\n" in out
    assert (tmp_path / "output" / "sub" / "a b#.csv").read_bytes() == b"123"


def test_watching_ends_when_the_job_is_deleted_or_time_is_up(mock, run):
    """With codes of their own."""
    assert run("submit", "--image", "x", "--watch", "--timeout", "0")[0] == 5
    with once(lambda: len(mock.state.queue.jobs()) == 2, lambda: mock.cancel("2")):
        code, out, _ = run("submit", "--image", "x", "--watch")
    assert (code, out.splitlines()[-1]) == (4, "job 2 was deleted")


def test_whole_spec_from_a_file(mock, run, tmp_path):
    """Hostile as it may be."""
    (tmp_path / "spec.json").write_text('{"app": 1}')
    assert run("submit", "--spec", str(tmp_path / "spec.json"), "--unchecked")[0] == 0
    assert mock.job("1").spec == {"app": 1}


def test_jobs_and_cancel(mock, worker, run):
    """A table for people, JSON for programs."""
    mock.submit(image="demo:1")
    mock.submit(spec={"handler": 3}, unchecked=True)
    worker.claim()
    assert run("cancel", "2")[0] == 0
    _, out, _ = run("jobs")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["1", "pulled", "worker1@example.com", "0", "demo:1"],
        ["2", "deleted", "-", "0", "?"],
    ]
    assert [job["id"] for job in json.loads(run("jobs", "--json")[1])] == ["1", "2"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["submit"], 2, "--image is missing"),
        (["submit", "--image", "x", "--file", "nothing"], 2, "expected NAME=VALUE"),
        (["submit", "--image", "x", "--file", "a=/no/such/file"], 2, "there is no file /no/such/file"),
        (["submit", "--spec", __file__], 2, "not JSON"),
        (["cancel", "77"], 3, "no job 77"),
    ],
)
def test_errors_are_one_line(run, arguments, code, says):
    """That names what was wrong."""
    got, _, err = run(*arguments)
    assert got == code
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


def test_server_that_is_not_there(capsys):
    """One line with the address and the system's words."""
    assert main(["jobs", "--api", "http://127.0.0.1:9"]) == 3
    assert (
        capsys.readouterr().err
        == "error: no answer from http://127.0.0.1:9: [Errno 111] Connection refused\n"
    )


def test_accounts_on_the_command_line():
    """Name and password; groups and a token if one likes."""
    assert read_account("a@b:pw").groups == ("users", "workers")
    account = read_account("a@b:pw:workers,cloud:tok:en")
    assert (account.groups, account.static_token) == (("workers", "cloud"), "tok:en")
    with pytest.raises(UsageError):
        read_account("a")


def test_help_teaches(capsys):
    """Examples and exit codes."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    out = capsys.readouterr().out
    assert "exit codes:" in out
    assert "ACCESS_TOKEN=" in out


def test_serve_as_a_process(tmp_path):
    """Says when it is ready, stops on a signal with exit 0 and takes its files along."""
    ready = tmp_path / "ready"
    command = [
        sys.executable,
        "-m",
        "mock_api",
        "serve",
        "--port",
        "0",
        "--storage",
        "s3",
        "--ready-file",
        ready,
    ]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        wait_until(ready.exists)
        url = ready.read_text().strip()
        assert main(["jobs", "--api", url]) == 0
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 0
    assert url in out
    assert "worker1-token" in out
    assert list(tmp_path.iterdir()) == []
