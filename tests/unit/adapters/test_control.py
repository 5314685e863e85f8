"""The control socket: what it answers, to whom, and what it endures."""

import json
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent.adapters import control, control_http
from agent.adapters.control import LOG_SEATS, SEATS, ControlServer
from agent.adapters.control_client import ControlClient
from agent.core.control_api import json_of, status_body
from agent.core.errors import ConfigError, EngineTrouble, ServiceDown, ServiceTrouble, Stopped
from agent.core.status import Mode, PastJob, Released
from tests.fakes.controls import STATUS, FakeControls
from tests.fakes.waiting import LONG_S, once, wait_until

NOBODY = 65534
HEAD = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="only root can become somebody else"
)


@pytest.fixture
def path():
    """In a folder that other users can be let into, unlike pytest's."""
    with TemporaryDirectory(prefix="control-") as folder:
        yield Path(folder, "control.sock")


@pytest.fixture
def controls():
    return FakeControls()


@pytest.fixture
def server(path, controls):
    """A server; no thread is left when it ends."""
    before = set(threading.enumerate())
    with ControlServer(path, controls) as server:
        yield server
        controls.block.set()
        controls.end()
    assert set(threading.enumerate()) <= before
    assert not path.exists()


@pytest.fixture
def served(server):
    """Where it listens."""
    return server._path


@pytest.fixture
def client(served):
    return ControlClient(served, LONG_S)


@contextmanager
def connected(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plug:
        plug.settimeout(LONG_S)
        plug.connect(str(path))
        yield plug


def said_to(path, request):
    """All that comes back to these bytes until the connection ends."""
    with connected(path) as plug:
        with suppress(BrokenPipeError):
            plug.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := plug.recv(65536):
                answer += piece
        return answer


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def curl(path, *arguments, user=None, groups=()):
    """The real one, perhaps as another user; exit code and what it printed."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run every test: curl is not here")
        pytest.skip("curl is not here")
    other = {} if user is None else {"user": user, "group": user, "extra_groups": list(groups)}
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            str(LONG_S),
            "--unix-socket",
            str(path),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=2 * LONG_S,
        check=False,
        **other,
    )
    return done.returncode, done.stdout, done.stderr


# What it answers


def test_the_status_arrives(client):
    """As the agent says it."""
    assert client.status() == STATUS


def test_curl_is_a_client(served):
    """A person without decode-agent can ask too."""
    code, out, err = curl(served, "http://localhost/v1/status")
    assert (code, err) == (0, "")
    assert json.loads(out)["jobs"][0]["job_id"] == 7
    assert out.endswith("}\n")


def test_the_history_is_as_long_as_asked(client, controls):
    """The last first, a limit for each question."""
    controls.past = [PastJob(number, "finished", "", 0, "i", 1.0, 2.0) for number in range(9, 0, -1)]
    assert client.history(2) == controls.past[:2]
    assert client.history(100) == controls.past
    assert controls.limits == [2, 100]


def test_a_long_history_arrives_whole(client, controls):
    """10,000 jobs with reasons of some length."""
    controls.past = [PastJob(number, "error", "x" * 300, 1, "i", 1.0, 2.0) for number in range(10_000)]
    assert client.history(10_000) == controls.past


def test_the_owner_steers(client, path, controls):
    """By the command as by curl."""
    client.steer(Mode.PAUSED)
    code, out, _ = curl(path, "http://localhost/v1/mode", "--data", '{"mode": "taking"}')
    assert (code, json.loads(out)) == (0, {"mode": "taking"})
    assert controls.modes == [Mode.PAUSED, Mode.TAKING]


def test_a_release(client, path, controls):
    """By the client and by hand; what cannot be done is told by name."""
    controls.released = Released((7,), (8,))
    assert client.release([7, 8], "a demo") == controls.released
    code, out, _ = curl(path, "http://localhost/v1/release", "--data", '{"jobs": [7]}')
    assert (code, json.loads(out)) == (0, {"given_back": [7], "left": [8]})
    assert controls.releases == [((7, 8), "a demo"), ((7,), "released by this machine's owner")]
    controls.error = LookupError("job 9 is not under way")
    with pytest.raises(ServiceTrouble, match="job 9 is not under way"):
        client.release([9], "x")


def test_a_reload_tells_what_changed(client, path, controls):
    """A sentence each; curl has to POST."""
    assert client.reload() == ()
    controls.changes = ("LOG_LEVEL is debug now", "API_URL takes effect at the next restart")
    assert client.reload() == controls.changes
    code, out, _ = curl(path, "http://localhost/v1/reload", "--request", "POST")
    assert (code, json.loads(out)["changes"]) == (0, list(controls.changes))
    code, out, _ = curl(path, "http://localhost/v1/reload", "--write-out", "%{http_code}")
    assert out.endswith("404")


def test_settings_that_are_wrong_come_as_such(client, controls):
    """With every line, so that the command ends with 78."""
    controls.error = ConfigError("A=1 is wrong\nB=2 too")
    with pytest.raises(ConfigError, match="A=1 is wrong\nB=2 too"):
        client.reload()


@pytest.mark.parametrize("error", [EngineTrouble("Docker is away"), LookupError("no log is known")])
def test_trouble_comes_in_its_own_words(client, controls, error):
    """What the agent says is what the person reads."""
    controls.error = error
    with pytest.raises(ServiceTrouble, match=str(error)):
        client.history(1)
    with pytest.raises(ServiceTrouble, match=str(error)):
        list(client.log(7, follow=False))


def test_a_mistake_of_ours_is_logged_and_costs_one_answer(client, controls, caplog):
    """Its traceback is for the log, not for the one who asked."""
    controls.error = ZeroDivisionError("why")
    with pytest.raises(ServiceTrouble, match=r"^unexpected ZeroDivisionError: the agent's log tells more$"):
        client.status()
    assert "ZeroDivisionError: why" in caplog.text
    controls.error = None
    assert client.status() == STATUS


# Logs


def test_a_log_arrives_as_it_is(client, path, controls):
    """Bytes, also those that are no text; in curl's hands too."""
    controls.logs[7] = [b"line 1\n", b"", b"\xff\x00\x1b[31m", b"x" * 300_000]
    whole = b"".join(controls.logs[7])
    assert b"".join(client.log(7, follow=False)) == whole
    code, _, _ = curl(path, "http://localhost/v1/jobs/7/log", "--output", str(path.parent / "log"))
    assert (code, (path.parent / "log").read_bytes()) == (0, whole)


def test_an_empty_log_is_no_error(client, controls):
    """A container may say nothing."""
    controls.logs[7] = []
    assert list(client.log(7, follow=False)) == []


def test_a_log_nobody_knows(client):
    """A sentence, not an empty log."""
    with pytest.raises(ServiceTrouble, match="no log of job 8 is known"):
        list(client.log(8, follow=True))


def test_a_log_is_followed_to_its_end(client, controls):
    """Each piece comes when it is written."""
    controls.logs[7] = [b"first\n"]
    with closing(client.log(7, follow=True)) as pieces:
        assert next(pieces) == b"first\n"
        for text in (b"second\n", b"third\n"):
            controls.more(text)
            assert next(pieces) == text
        controls.end()
        assert list(pieces) == []


def test_a_log_that_breaks_off_is_not_taken_for_a_whole_one(client, controls):
    """The engine goes away in the middle of it."""
    controls.logs[7] = [b"half"]
    controls.late_error = EngineTrouble("Docker is away")
    pieces = client.log(7, follow=False)
    assert next(pieces) == b"half"
    with pytest.raises(ServiceTrouble, match="broke off"):
        next(pieces)


def test_who_leaves_a_silent_log_is_noticed(client, controls):
    """Nothing goes on for somebody who is not there any more."""
    controls.logs[7] = [b"first\n"]
    with closing(client.log(7, follow=True)) as pieces:
        assert next(pieces) == b"first\n"
        wait_until(lambda: controls.stops)
        assert not controls.stops[0].is_set()
    wait_until(controls.stops[0].is_set)


def test_who_leaves_before_the_first_line_is_noticed_too(served, controls):
    """A container that has said nothing yet."""
    controls.logs[7] = []
    with connected(served) as plug:
        plug.sendall(b"GET /v1/jobs/7/log?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: controls.stops)
    wait_until(controls.stops[0].is_set)


def test_one_that_has_sent_all_may_say_so(served, controls):
    """`nc -N` shuts its half down and still wants the answer."""
    controls.logs[7] = [b"first\n"]
    with connected(served) as plug:
        plug.sendall(b"GET /v1/jobs/7/log?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plug.shutdown(socket.SHUT_WR)
        wait_until(lambda: controls.stops)
        controls.more(b"second\n")
        controls.end()
        assert b"second" in b"".join(iter(lambda: plug.recv(65536), b""))


def test_many_logs_leave_room_for_a_status(client, controls):
    """Those who read logs for hours do not keep others from asking."""
    controls.logs[7] = [b"first\n"]
    with ExitStack() as stack:
        for _ in range(LOG_SEATS):
            assert next(stack.enter_context(closing(client.log(7, follow=True)))) == b"first\n"
        with pytest.raises(ServiceTrouble, match=f"{LOG_SEATS} logs are being read already"):
            next(client.log(7, follow=True))
        assert client.status() == STATUS

    def is_free():
        try:
            return list(client.log(7, follow=False))
        except ServiceTrouble:
            return False

    wait_until(is_free)


def test_a_reader_who_reads_nothing_is_let_go(path, server, controls, monkeypatch):
    """A pager may pause for minutes, but not for ever."""
    monkeypatch.setattr(control_http, "LOG_ANSWER_S", 0.2)
    controls.logs[7] = [b"x" * 65536] * 100
    with connected(path) as plug:
        plug.sendall(b"GET /v1/jobs/7/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: server._open)
        wait_until(lambda: not server._open)


# What it endures


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n", b""),
        (b"\x00\xff\xfe\r\n\r\n", b"400"),
        (b"hello\r\n", b"400"),
        (b"GET /v1/status\r\n\r\n", b"505"),
        (b"GET /v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n", b"505"),
        (b"GET /v1/status HTTP/9.9\r\nHost: localhost\r\n\r\n", b"505"),
        (b"GET /v1/status SPDY\r\n\r\n", b"400"),
        (b"DELETE /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n", b"431"),
        (HEAD + b"X: y\r\n" * 1_000_000, b"431"),
        (HEAD + b"Origin: https://evil.example\r\n\r\n", b"403"),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", b"403"),
        (b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        (b"POST /v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", b"413"),
        (b"POST /v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999999\r\n\r\n", b"413"),
        (b"POST /v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (b"POST /v1/mode HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
    ],
)
def test_nonsense_is_refused(served, client, controls, caplog, request_, status):
    """With a status and a sentence where there is one to answer; the next one is served."""
    answer = said_to(served, request_)
    if status:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[:2] == [b"HTTP/1.1", status]
        assert json.loads(body)["error"]
    else:
        assert answer == b""
    assert client.status() == STATUS
    assert not controls.modes
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_who_still_sends_can_read_the_refusal(served, tmp_path):
    """It would get "Broken pipe" if the connection were closed at once."""
    (tmp_path / "big").write_bytes(b"x" * 20_000_000)
    send = ("--header", "Expect:", "--data-binary", f"@{tmp_path / 'big'}")
    code, out, err = curl(served, "http://localhost/v1/mode", *send)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"error": "the body is too large"}


def test_a_request_that_never_ends_is_cut_off(served, client, monkeypatch):
    """One byte now and then does not buy more time."""
    monkeypatch.setattr(control_http, "REQUEST_S", 0.3)
    with connected(served) as plug:
        over = threading.Event()

        def drip():
            try:
                while not over.wait(0.05):
                    plug.send(b"G")
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert plug.recv(1) == b""
        finally:
            over.set()
            thread.join()
    assert client.status() == STATUS


def test_a_body_that_never_comes_is_said(served, monkeypatch):
    """The head was good: there is somebody to tell."""
    monkeypatch.setattr(control_http, "REQUEST_S", 0.2)
    answer = said_to(served, b"POST /v1/mode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
    assert answer.split()[1] == b"408"


def test_a_flood_is_bounded_and_passes(path, server, client):
    """No more threads than seats, the others are told; afterwards all is as before."""
    with ExitStack() as stack:
        plugs = [stack.enter_context(connected(path)) for _ in range(SEATS)]
        wait_until(lambda: len(server._open) == SEATS)
        for _ in range(100):
            assert b"503" in said_to(path, HEAD + b"\r\n")
        with pytest.raises(ServiceTrouble, match="try again"):
            client.status()
        assert len(server._open) == SEATS
        assert len(plugs) == SEATS
    wait_until(lambda: not server._open)
    assert client.status() == STATUS


def test_many_in_turn_leave_nothing(client, server):
    """No descriptor and no thread stays for an answered question."""
    client.status()
    before = descriptors()
    for _ in range(200):
        client.status()
    wait_until(lambda: not server._open)
    assert descriptors() <= before


def test_no_descriptors_left_is_no_end(client, monkeypatch):
    """It takes connections again as soon as it can."""
    monkeypatch.setattr(control, "_BREATH_S", 0.01)
    real, failures = socket.socket.accept, [OSError(24, "Too many open files")] * 3

    def accept(listener):
        if failures:
            raise failures.pop()
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    assert client.status() == STATUS
    assert not failures


# Its end


def test_the_end_waits_for_nobody(path, controls):
    """Not for one who is silent, not for one who reads a log, not for a log that is silent."""
    controls.logs[7] = [b"first\n"]
    with ExitStack() as stack:
        with ControlServer(path, controls) as server:
            stack.enter_context(connected(path))
            pieces = ControlClient(path, LONG_S).log(7, follow=True)
            assert next(pieces) == b"first\n"
            wait_until(lambda: len(server._open) == 2)
            threads = list(server._open)
        with pytest.raises(ServiceTrouble):
            list(pieces)
    assert not any(thread.is_alive() for thread in threads)


def test_an_answer_under_way_is_finished(path, controls):
    """Whoever asked for the end hears that it was understood."""
    controls.block.clear()
    with ControlServer(path, controls) as server:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(ControlClient(path, LONG_S).status()))
        asking.start()
        wait_until(lambda: server._open)
        with once(server._stop.is_set, controls.block.set):
            server.__exit__()
    asking.join()
    assert answers == [STATUS]


def test_a_stopping_agent_says_so(client, controls):
    """Not "unexpected"."""
    controls.error = Stopped("asked to stop")
    with pytest.raises(ServiceTrouble, match="the agent is stopping"):
        client.status()


# The socket itself


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_socket_is_the_groups(path, controls, umask):
    """Whatever the umask; nobody else may connect."""
    before = os.umask(umask)
    try:
        with ControlServer(path, controls):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_a_dead_socket_is_replaced(path, controls):
    """The agent before was killed."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with ControlServer(path, controls):
        assert ControlClient(path).status() == STATUS
    assert not path.exists()


def test_a_live_socket_is_left_alone(served, client, caplog):
    """The second server goes without, and takes nothing with it."""
    with ControlServer(served, FakeControls()):
        assert "another agent listens there" in caplog.text
    assert client.status() == STATUS


@pytest.mark.parametrize("kind", ["file", "folder", "link", "link to nothing"])
def test_what_is_no_socket_is_left_alone(path, controls, caplog, kind):
    """Somebody's file is worth more than our socket."""
    other = path.with_name("other")
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "link":
            other.write_text("precious")
            path.symlink_to(other)
        case _:
            path.symlink_to(other)
    before = path.lstat()
    with ControlServer(path, controls):
        assert "a file that is no socket is in its place" in caplog.text
    assert path.lstat() == before
    assert other.exists() == (kind == "link")


def test_a_socket_that_was_replaced_is_left_alone(path, controls):
    """At the end only our own file goes."""
    with ControlServer(path, controls):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_where_no_socket_can_be_the_agent_goes_without(tmp_path, controls, caplog):
    """A path that is too long for the kernel, a folder that is not there."""
    long = tmp_path / ("x" * 100) / "control.sock"
    long.parent.mkdir()
    for path in (long, tmp_path / "no" / "control.sock"):
        caplog.clear()
        with ControlServer(path, controls):
            pass
        assert f"No control socket at {path} (" in caplog.text
        assert [one.levelname for one in caplog.records] == ["WARNING"]


# Who may ask


@pytest.fixture
def open_path(served):
    """The socket, where every user can reach and connect to it, as if somebody had been careless."""
    served.parent.chmod(0o755)
    served.chmod(0o666)
    return served


@needs_root
def test_a_stranger_is_refused(open_path, controls):
    """The kernel says who it is, whatever the file's mode."""
    for more in ((), ("--data", '{"mode": "paused"}')):
        url = "http://localhost/v1/mode" if more else "http://localhost/v1/status"
        code, out, _ = curl(open_path, url, *more, "--write-out", "%{http_code}", user=NOBODY)
        assert (code, out[-3:]) == (0, "403")
        assert json.loads(out[:-3]) == {"error": "you may not talk to this agent"}
    assert not controls.modes


@needs_root
def test_a_stranger_is_told_what_to_do(open_path):
    """Join the group, or sudo."""
    done = as_user(NOBODY, [], ask_status(open_path))
    assert "ServiceTrouble you may not talk to this agent: run it with sudo, or join the group" in done


@needs_root
def test_the_mode_alone_keeps_strangers_out(open_path):
    """They do not even connect; the client says the same."""
    open_path.chmod(0o660)
    done = as_user(NOBODY, [], ask_status(open_path))
    assert "ServiceTrouble this user may not talk to the agent at" in done
    assert "sudo usermod -aG decode-agent $USER" in done


@needs_root
@pytest.mark.parametrize("groups", [[4242], [*range(5000, 5300), 4242]])
def test_a_member_of_the_folders_group_may_ask(path, controls, groups):
    """By a supplementary group; the mode and the peer's credentials agree."""
    os.chown(path.parent, -1, 4242)
    with ControlServer(path, controls):
        path.parent.chmod(0o750)
        assert path.stat().st_gid == 4242
        done = as_user(NOBODY, groups, ask_status(path))
    if len(groups) == 1:
        assert done.startswith("running")
    else:  # more than the kernel tells us of: those of the user's login count, and 4242 is none of them
        assert "may not talk" in done


@needs_root
def test_strangers_do_not_take_the_seats(open_path):
    """However many of them sit there."""
    sit = f"""
plugs = []
for _ in range(50):
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plug.connect({str(open_path)!r})
    plugs.append(plug)
print("sitting", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        python_as(NOBODY, [], sit), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as strangers:
        assert strangers.stdout.readline() == b"sitting\n"
        assert ControlClient(open_path, LONG_S).status() == STATUS
        strangers.stdin.close()


def ask_status(path):
    return f"""
try:
    print("running", ControlClient(Path({str(path)!r}), {LONG_S}).status().pid)
except Exception as error:
    print(type(error).__name__, error)
"""


def python_as(user, groups, code):
    """Python that becomes another user once it has loaded what that one may not read."""
    begin = f"""
import encodings.idna, os, socket, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from agent.adapters.control_client import ControlClient
os.setgroups({groups}); os.setgid({user}); os.setuid({user})
"""
    return [sys.executable, "-c", begin + code]


def as_user(user, groups, code):
    """What this Python code prints when that user runs it."""
    command = python_as(user, groups, code)
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LONG_S, check=True)
    return done.stdout


# The client alone


def test_nobody_is_there(path):
    """No file, a dead socket: the agent does not run."""
    with pytest.raises(ServiceDown, match=f"decode-agent is not running .nobody listens on {path}"):
        ControlClient(path).status()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as dead:
        dead.bind(str(path))
    with pytest.raises(ServiceDown, match="is not running"):
        ControlClient(path).status()
    path.unlink()
    path.write_text("a file")
    with pytest.raises(ServiceDown):
        ControlClient(path).status()
    with pytest.raises(ServiceDown, match="too long"):
        ControlClient(path.parent / ("x" * 200)).status()


def test_a_full_queue_is_waited_for(path):
    """Many who connect at once do not turn others away."""
    with ExitStack() as stack, closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(str(path))
        listener.listen(0)
        stack.enter_context(connected(path))
        with pytest.raises(ServiceTrouble, match="does not answer: try again"):
            ControlClient(path, 0.2).status()
        answers = []
        asking = threading.Thread(target=lambda: answers.append(ControlClient(path, LONG_S).status()))
        asking.start()
        asking.join(0.1)
        assert asking.is_alive()
        listener.accept()[0].close()
        plug, _ = listener.accept()
        with plug:
            body = json_of(status_body(STATUS))
            plug.recv(65536)
            plug.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            asking.join()
    assert answers == [STATUS]


def test_an_agent_that_hangs_is_said(served, controls):
    """In a bounded time, with the place to look."""
    controls.block.clear()
    with pytest.raises(ServiceTrouble, match="did not answer in 0 s: journalctl -u decode-agent"):
        ControlClient(served, 0.3).status()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)
def test_somebody_else_answers(path, answer):
    """One line, whatever it is."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            plug, _ = listener.accept()
            with plug:
                plug.recv(65536)
                plug.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ServiceTrouble) as caught:
            ControlClient(path).status()
        thread.join()
    assert str(caught.value).isprintable()
