"""The Docker adapter without a Docker: foreign errors, engines that hang, cut off or talk nonsense."""

import gc
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import docker.errors
import pytest
import requests

from agent.adapters import docker_engine
from agent.adapters.docker_engine import DockerEngine
from agent.adapters.docker_engine_errors import translated
from agent.adapters.docker_engine_oom import OomWatch
from agent.core.engine_models import ContainerPlan, ImagePull
from agent.core.errors import AgentError, DiskTrouble, EngineTrouble, JobFailed, Stopped, Unkillable
from agent.core.stopping import Stop
from tests.fakes.waiting import LONG_S, SOON_S, once, wait_until

VERSION = b'{"Version": "9.9", "ApiVersion": "1.41"}'
RUNNING = (
    b'{"Id": "abc", "Name": "/decode-job-7", "State": {"Status": "running", "Pid": 0},'
    b' "Config": {"Labels": {"decode-agent.job-id": "7", "decode-agent.agent-id": "me"}}}'
)


PLAN = {
    "name": "decode-job-7",
    "image": "x",
    "entrypoint": None,
    "command": None,
    "env": (),
    "labels": (),
    "folder": "/x",
    "memory_mib": 64,
    "cpus": 0.0,
    "shm_mib": 64,
    "pids": 64,
    "network": "none",
    "capabilities": (),
    "log_max_mib": 1,
}


class NoProgress:
    @contextmanager
    def task(self, label, total_bytes):
        del label, total_bytes
        yield self

    def advance(self, size_bytes):
        pass


def errors_of(module):
    """Every exception that the module defines or hands on, warnings left out."""
    return sorted(
        {
            error
            for error in vars(module).values()
            if isinstance(error, type)
            and issubclass(error, Exception)
            and not issubclass(error, Warning)
            and error.__module__ != "builtins"
        },
        key=lambda error: error.__qualname__,
    )


def made(error):
    """An instance, whatever its constructor wants and its text is made of."""
    bare = {"__init__": lambda _: None, "__str__": lambda _: "bare"}
    return type(error.__name__, (error,), bare)()


@pytest.mark.parametrize(
    "error", errors_of(docker.errors) + errors_of(requests.exceptions), ids=lambda error: error.__qualname__
)
def test_every_foreign_error_istranslated(error):
    """A library's update that brings a new error fails here, not in a lab at night."""
    with pytest.raises(EngineTrouble, match="doing something"), translated("doing something"):
        raise made(error)


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), TimeoutError(), EOFError(), ValueError("x")]
)
def test_so_are_those_that_leak_from_below(error):
    expected = EngineTrouble if not isinstance(error, EOFError) else EOFError
    with pytest.raises(expected), translated("doing something"):
        raise error


@pytest.mark.parametrize("ours", [JobFailed("x"), DiskTrouble("x"), Stopped("x")])
def test_our_own_errors_pass(ours):
    with pytest.raises(AgentError) as caught, translated("doing something"):
        raise ours
    assert caught.value is ours


def test_whatever_fails_after_a_stop_is_the_stop():
    """Hanging up makes reads fail in many ways."""
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped), translated("doing something", stop=stop):
        raise ConnectionResetError


class Server:
    """Answers each request by its path: bytes are sent and that was it, a function may do as it likes."""

    def __init__(self, family, address):
        self._listener = socket.socket(family)
        self._listener.bind(address)
        self._listener.listen()
        self._lines = []
        self.answers = {"/version": ok(VERSION)}
        self.asked = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self):
        name = self._listener.getsockname()
        return f"unix://{name}" if isinstance(name, str) else f"tcp://127.0.0.1:{name[1]}"

    def _accept(self):
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._lines.append(line)
            threading.Thread(target=self._serve, args=[line], daemon=True).start()

    def _serve(self, line):
        try:
            request = line.makefile("rb")
            path = request.readline().split()[1].decode()
            while request.readline().strip():
                pass
            self.asked.append(path)
            answer = next((value for key, value in self.answers.items() if key in path), b"")
            if callable(answer):
                answer(line)
            else:
                line.sendall(answer)
            line.shutdown(socket.SHUT_RDWR)
        except (OSError, IndexError):
            pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()  # or it could accept on a descriptor that is another's by then
        self._listener.close()
        for line in self._lines:
            line.close()


def ok(body):
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def refused(status, body):
    return b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content):
    return b"%x\r\n%s\r\n" % (len(content), content)


def says_and_hangs(content):
    def serve(line):
        line.sendall(content)
        line.settimeout(LONG_S)
        line.recv(1)  # until the other side hangs up

    return serve


@pytest.fixture(params=["unix", "tcp"])
def server(request, tmp_path):
    if request.param == "unix":
        server = Server(socket.AF_UNIX, str(tmp_path / "sock"))
    else:
        server = Server(socket.AF_INET, ("127.0.0.1", 0))
    yield server
    server.close()


@pytest.fixture
def engine(server):
    return DockerEngine(server.url, "me")


def impatient(server, **patience):
    """One that has agreed with the server already: that takes its time."""
    engine = DockerEngine(server.url, "me", **patience)

    def agrees():
        with suppress(EngineTrouble):
            return engine.ping()

    wait_until(agrees)
    return engine


def pull(engine, stop=None, image="lab/decode:1"):
    engine.ensure_image(image, ImagePull.MISSING, stop=stop or Stop(), progress=NoProgress())


def test_the_constructor_asks_nothing():
    """Docker may be down when the agent starts."""
    DockerEngine("unix:///nonexistent/socket", "me")


@pytest.mark.parametrize("url", ["unix:///nonexistent/socket", "tcp://127.0.0.1:1"])
def test_an_engine_that_is_away_is_trouble_that_says_why(url, tmp_path):
    engine = DockerEngine(url, "me")
    for ask in (
        engine.ping,
        engine.list_ours,
        lambda: engine.look("decode-job-7"),
        lambda: engine.wait("decode-job-7", timeout_s=5, stop=Stop()),
        lambda: engine.save_log("decode-job-7", tmp_path / "log", stop=Stop()),
        lambda: engine.kill("decode-job-7", grace_s=0),
        lambda: engine.remove("decode-job-7"),
        lambda: pull(engine),
    ):
        with pytest.raises(EngineTrouble, match=r"No such file or directory|Connection refused"):
            ask()


def test_it_comes_back_when_the_engine_does(server):
    engine = DockerEngine(server.url, "me")
    version = server.answers.pop("/version")
    with pytest.raises(EngineTrouble):
        engine.ping()
    server.answers["/version"] = version
    assert engine.ping() == "9.9"


def test_a_docker_that_was_updated_is_agreed_with_anew(server, engine):
    engine.ping()
    server.answers["/version"] = ok(b'{"Version": "29.0", "ApiVersion": "1.52"}')
    assert engine.ping() == "29.0"
    server.answers["/v1.52/containers/json"] = ok(b"[]")
    assert engine.list_ours() == []


def test_an_engine_that_does_not_answer_is_trouble_in_time(server):
    engine = impatient(server, timeout_s=1)
    server.answers["/containers"] = says_and_hangs(b"")
    began = time.monotonic()
    with pytest.raises(EngineTrouble, match=r"did not answer in time \(looking at container decode-job-7\)"):
        engine.look("decode-job-7")
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        ok(b"nonsense"),
        ok(b'{"half'),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_nonsense_is_trouble(server, engine, answer):
    server.answers["/containers"] = answer
    with pytest.raises(EngineTrouble):
        engine.look("decode-job-7")


def test_a_pull_that_stalls_ends_by_inactivity(server):
    """Not by its total time: each event starts the clock anew."""
    idle_s = 2
    has_said_all = threading.Event()
    engine = DockerEngine(server.url, "me", pull_idle_s=idle_s)

    def trickle(line):
        line.sendall(STREAM)
        end = time.monotonic() + 1.5 * idle_s
        while time.monotonic() < end:
            line.sendall(chunk(b'{"status": "Downloading"}\r\n'))
            time.sleep(0.05)
        has_said_all.set()
        says_and_hangs(b"")(line)

    server.answers["/images/create"] = trickle
    server.answers["/images/lab"] = refused(404, b'{"message": "no such image"}')
    began = time.monotonic()
    with pytest.raises(EngineTrouble, match="did not answer in time"):
        pull(engine)
    assert has_said_all.is_set()
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("said", [b"", STREAM, STREAM + chunk(b'{"status": "Pulling"}\r\n')])
def test_a_stop_ends_a_pull_at_once_even_before_it_began(server, said):
    engine = DockerEngine(server.url, "me")
    server.answers["/images/create"] = says_and_hangs(said)
    server.answers["/images/lab"] = refused(404, b'{"message": "no such image"}')
    stop = Stop()
    with once(lambda: "create" in "".join(server.asked), stop.set) as passed_s:
        with pytest.raises(Stopped):
            pull(engine, stop)
        assert passed_s() < SOON_S


@pytest.mark.parametrize(
    "said",
    [
        STREAM + chunk(b'{"status": "Pulling"}\r\n'),
        STREAM + chunk(b"nonsense\r\n") + b"0\r\n\r\n",
        STREAM + chunk(b'{"status": "Pulling"}\r\n') + b"0\r\n\r\n",
    ],
    ids=["cut off", "nonsense", "no image afterwards"],
)
def test_a_pull_that_ends_oddly_is_trouble(server, engine, said):
    server.answers["/images/create"] = said
    server.answers["/images/lab"] = refused(404, b'{"message": "no such image"}')
    with pytest.raises(EngineTrouble):
        pull(engine)


@pytest.mark.parametrize(
    ("image", "query"),
    [
        ("lab/decode", "fromImage=lab%2Fdecode&tag=latest"),
        ("lab/decode:2", "fromImage=lab%2Fdecode&tag=2"),
        ("host:5000/lab/decode", "fromImage=host%3A5000%2Flab%2Fdecode&tag=latest"),
        ("host:5000/lab/decode:2", "fromImage=host%3A5000%2Flab%2Fdecode&tag=2"),
        ("lab/decode@sha256:ab", "fromImage=lab%2Fdecode&tag=sha256%3Aab"),
        ("lab/decode:1&tag=3", "fromImage=lab%2Fdecode&tag=1%26tag%3D3"),
    ],
)
def test_the_image_is_asked_for_by_its_parts(server, engine, image, query):
    server.answers["/images/create"] = refused(404, b'{"message": "manifest unknown"}')
    server.answers["/images"] = refused(404, b'{"message": "no such image"}')
    with pytest.raises(JobFailed, match="image not found"):
        pull(engine, image=image)
    assert server.asked[-1] == f"/v1.41/images/create?{query}"


def test_a_half_started_container_makes_room(server, engine):
    """A dockerd that was killed at the wrong moment can never start it: the next try makes another one."""
    server.answers |= {
        "/start": refused(500, b'{"message": "task 0f0f: already exists"}'),
        "v=True": refused(204, b""),
        "decode-job-7/json": ok(RUNNING.replace(b"running", b"created")),
    }
    with pytest.raises(EngineTrouble, match="already exists"):
        engine.ensure_started(ContainerPlan(**PLAN))
    assert "/v1.41/containers/decode-job-7?v=True&link=False&force=True" in server.asked


@pytest.mark.parametrize("answer", [ok(b""), refused(409, b'{"message": "x is not running"}')])
@pytest.mark.parametrize("grace_s", [0.0, 0.1])
def test_a_container_that_runs_on_whatever_docker_says_cannot_be_killed(
    server, engine, monkeypatch, answer, grace_s
):
    """Later versions may wait less for its end than those that say so themselves."""
    monkeypatch.setattr(docker_engine, "_DEAD_WITHIN_S", 0.2)
    server.answers |= {"/json": ok(RUNNING), "/kill": answer, "/wait": says_and_hangs(STREAM)}
    with pytest.raises(Unkillable, match="decode-job-7"):
        engine.kill("decode-job-7", grace_s=grace_s)
    signals = [path.partition("signal=")[2] for path in server.asked if "/kill" in path]
    assert signals == (["SIGTERM", "SIGKILL"] if grace_s else ["SIGKILL"])


def test_a_ping_waits_less_than_other_calls(server, monkeypatch):
    """The main thread pings, and has signals to obey."""
    monkeypatch.setattr(docker_engine, "_PING_S", 0.2)
    engine = impatient(server, timeout_s=int(LONG_S))
    server.answers["/version"] = says_and_hangs(b"")
    began = time.monotonic()
    with pytest.raises(EngineTrouble, match="did not answer in time"):
        engine.ping()
    assert time.monotonic() - began < SOON_S


def test_a_container_that_is_being_removed_is_waited_for(server, engine):
    """Docker kills it on the way: nobody is to take that for its end, nor it for gone before it is."""
    gone = refused(404, b'{"message": "No such container"}')
    removing = ok(RUNNING.replace(b'"running"', b'"removing"'))
    server.answers |= {"/json": removing, "/wait": ok(b'{"StatusCode": 137}')}
    with pytest.raises(EngineTrouble, match="decode-job-7 is being removed"):
        engine.look("decode-job-7")

    def end(line):
        server.answers["/json"] = gone
        line.sendall(ok(b'{"StatusCode": 137}'))

    server.answers["/wait"] = end
    assert engine.look("decode-job-7") is None
    assert "condition=removed" in server.asked[-2]


def test_a_wait_whose_stream_ends_for_nothing_goes_on(server, engine):
    """As when dockerd restarts with live-restore: the container runs, inspect says so."""
    server.answers["/wait"] = STREAM + b"0\r\n\r\n"
    server.answers["/json"] = ok(RUNNING)
    assert engine.wait("decode-job-7", timeout_s=0.5, stop=Stop()) is None
    assert len(server.asked) < 30  # it does not ask as fast as it can
    ended = RUNNING.replace(b'"running"', b'"exited", "ExitCode": 3')
    threading.Timer(0.3, server.answers.update, [{"/json": ok(ended)}]).start()
    assert engine.wait("decode-job-7", timeout_s=LONG_S, stop=Stop()).code == 3


def test_a_stop_ends_a_wait_that_gets_no_answer(server):
    engine = DockerEngine(server.url, "me")
    server.answers["/wait"] = says_and_hangs(b"")
    server.answers["/json"] = ok(RUNNING)
    stop = Stop()
    with once(lambda: "/wait" in "".join(server.asked), stop.set) as passed_s:
        assert engine.wait("decode-job-7", timeout_s=LONG_S, stop=stop) is None
        assert passed_s() < SOON_S


def test_a_log_that_is_cut_off_leaves_the_old_file_alone(server, engine, tmp_path):
    server.answers["/json"] = ok(RUNNING)
    server.answers["/logs"] = STREAM + chunk(b"\1\0\0\0\0\0\0\x09half")
    target = tmp_path / "log"
    target.write_text("old")
    with pytest.raises(EngineTrouble):
        engine.save_log("decode-job-7", target, stop=Stop())
    assert target.read_text() == "old"
    assert not (tmp_path / "log.part").exists()


def test_a_disk_that_takes_no_log_is_the_disks_trouble(server, engine, tmp_path):
    server.answers["/json"] = ok(RUNNING)
    server.answers["/logs"] = STREAM + chunk(b"\1\0\0\0\0\0\0\x04full") + b"0\r\n\r\n"
    (tmp_path / "full.part").symlink_to("/dev/full")
    with pytest.raises(DiskTrouble, match="No space left on device"):
        engine.save_log("decode-job-7", tmp_path / "full", stop=Stop())
    with pytest.raises(DiskTrouble, match="No such file or directory"):
        engine.save_log("decode-job-7", tmp_path / "missing" / "log", stop=Stop())


def test_no_descriptor_is_left_open(server, engine, tmp_path):
    server.answers["/wait"] = STREAM + b"0\r\n\r\n"
    server.answers["/logs"] = STREAM + chunk(b"\1\0\0\0\0\0\0\x04line") + b"0\r\n\r\n"
    server.answers["/decode-job-7/json"] = ok(RUNNING)
    server.answers["/images/create"] = refused(500, b'{"message": "no such host"}')
    server.answers["/images/lab"] = refused(404, b'{"message": "no such image"}')

    def use():
        assert engine.wait("decode-job-7", timeout_s=0.2, stop=Stop()) is None
        engine.save_log("decode-job-7", tmp_path / "log", stop=Stop())
        with pytest.raises(EngineTrouble, match="no such host"):
            pull(engine)

    def count_of_our_sockets():
        server_side = {line.fileno() for line in server._lines}
        return len([fd for fd in Path("/proc/self/fd").iterdir() if int(fd.name) not in server_side])

    use()
    gc.collect()
    before = count_of_our_sockets()
    for _ in range(5):
        use()
    gc.collect()
    assert count_of_our_sockets() <= before + 1


ID = "f00"


def cgroup_v2(tmp_path, kills, groups=f"0::/docker-{ID}.scope\n"):
    (tmp_path / "proc/7").mkdir(parents=True, exist_ok=True)
    (tmp_path / "proc/7/cgroup").write_text(groups)
    folder = tmp_path / f"cgroup/docker-{ID}.scope"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.events").write_text(f"low 0\nmax 9\noom 1\noom_kill {kills}\noom_group_kill 5\n")


def watch(tmp_path, container_id=ID, pid=7):
    return OomWatch(container_id, pid, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")


def test_kills_are_read_from_cgroup_v2(tmp_path):
    cgroup_v2(tmp_path, 0)
    with watch(tmp_path) as memory:
        assert not memory.has_killed()
        cgroup_v2(tmp_path, 2)
        assert memory.has_killed()


def test_kills_from_before_the_watch_count(tmp_path):
    cgroup_v2(tmp_path, 1)
    with watch(tmp_path) as memory:
        cgroup_v2(tmp_path, 0)
        assert memory.has_killed()


@pytest.mark.parametrize(("container_id", "pid"), [("bar", 7), (ID, 8)])
def test_a_process_that_is_not_the_containers_says_nothing(tmp_path, container_id, pid):
    """The engine may be another machine's, its process ids too."""
    cgroup_v2(tmp_path, 1)
    with watch(tmp_path, container_id, pid) as memory:
        assert not memory.has_killed()


def test_a_cgroup_without_memory_events_says_nothing(tmp_path):
    cgroup_v2(tmp_path, 1, f"4:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n")
    with watch(tmp_path) as memory:
        assert not memory.has_killed()
