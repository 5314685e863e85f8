"""What systemd is told, on a real datagram socket."""

import os
import socket
import time

import pytest

from agent.adapters.systemd import Nobody, Systemd, service_manager, watchdog_of


@pytest.fixture(params=["path", "abstract"])
def listener(request, tmp_path, monkeypatch):
    """The other end of NOTIFY_SOCKET: a path, or an abstract address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = (
            f"@decode-agent-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
        )
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listener


@pytest.fixture
def systemd(listener):  # noqa: ARG001  it must be there first
    service = Systemd(watchdog_s=3.0)
    yield service
    service.close()


def said(listener):
    """Everything that has arrived."""
    listener.setblocking(False)
    messages = []
    while True:
        try:
            messages.append(listener.recv(65536).decode())
        except BlockingIOError:
            return messages


def test_the_words(systemd, listener):
    """sd_notify(3), each message as it is spelled there."""
    systemd.extend(1.5)
    systemd.ready()
    systemd.alive()
    systemd.stopping()
    assert said(listener) == ["EXTEND_TIMEOUT_USEC=1500000", "READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_reload_carries_the_time(systemd, listener):
    """Type=notify-reload tells by it that the reload is the one that was asked for."""
    before = time.monotonic_ns() // 1000
    systemd.reloading()
    (message,) = said(listener)
    head, _, stamp = message.partition("\nMONOTONIC_USEC=")
    assert head == "RELOADING=1"
    assert before <= int(stamp) <= time.monotonic_ns() // 1000


def test_the_status_is_utf8(systemd, listener):
    """A line that is not is dropped by systemd, and ours has dots in it."""
    systemd.status("Idle · wörker → 41 min")
    assert said(listener) == ["STATUS=Idle · wörker → 41 min"]


def test_the_status_is_one_line(systemd, listener):
    """A newline from outside would be a message of its own: READY=1, say."""
    systemd.status("Waiting: x\nREADY=1\x1b[31m\r\ud800" + "y" * 1000)
    (message,) = said(listener)
    assert message.startswith("STATUS=Waiting: x READY=1[31m")
    assert message.isprintable()
    assert len(message) < 400


def test_a_status_is_not_said_twice(systemd, listener):
    """Only what has changed."""
    for line in ("a", "a", "b", "a"):
        systemd.status(line)
    assert said(listener) == ["STATUS=a", "STATUS=b", "STATUS=a"]


def test_without_a_watchdog_nothing_is_fed(listener):
    """WatchdogSec= is not set."""
    service = Systemd(watchdog_s=None)
    service.alive()
    assert said(listener) == []
    service.close()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # sdnotify drops one it cannot connect
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_socket_is_complained_of_once_and_tried_again(tmp_path, monkeypatch, caplog):
    """A typo must not be silence, and never an error; a line that was lost is said again."""
    path = tmp_path / "late"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    service = Systemd(watchdog_s=1.0)
    service.ready()
    service.status("a")
    assert caplog.text.count("systemd does not hear us") == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        service.status("a")
        assert said(listener) == ["STATUS=a"]
    service.close()


def test_off_systemd_nobody_is_told():
    """A null object: every word is allowed and does nothing."""
    nobody = service_manager({})
    assert isinstance(nobody, Nobody)
    assert not nobody.is_there
    assert nobody.watchdog_s is None
    for act in (nobody.ready, nobody.alive, nobody.reloading, nobody.stopping, nobody.close):
        act()
    nobody.status("a")
    nobody.extend(1.0)


@pytest.mark.usefixtures("listener")
def test_systemd_is_found():
    """By the variables it sets."""
    environ = {"NOTIFY_SOCKET": os.environ["NOTIFY_SOCKET"], "WATCHDOG_USEC": "180000000"}
    service = service_manager(environ)
    assert isinstance(service, Systemd)
    assert service.is_there
    assert service.watchdog_s == 180.0
    service.close()


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "43"}, None),  # inherited: it is about our parent
        ({"WATCHDOG_PID": "42"}, None),
    ],
)
def test_the_watchdog(environ, watchdog_s):
    """sd_watchdog_enabled(3): only if it waits for this very process."""
    assert watchdog_of(environ, 42) == watchdog_s
