"""The lock against a shutdown: who holds it, for how long, and what becomes of a refusal."""

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.adapters import inhibitor
from agent.adapters.inhibitor import LogindInhibitor
from tests.fakes.waiting import wait_until

HOLDS = 'echo "$$ $@" >> {log}; env >> {log}; shift 4; exec "$@"'
REFUSES = 'echo "$$ $@" >> {log}; echo "Failed to inhibit: Access denied" >&2; exit 1'
HANGS = 'echo "$$ $@" >> {log}; exec sleep 1000'
OTHER = """
import os, signal, sys
from agent.adapters.inhibitor import LogindInhibitor
with LogindInhibitor(sys.argv[1])("x"):
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Logind:
    """A systemd-inhibit that does what it is told; what it was asked is in `calls`."""

    def __init__(self, folder):
        self.folder = folder
        self._log = folder / "log"
        self._log.touch()
        (folder / "cat").symlink_to(shutil.which("cat"))
        for name in ("env", "sleep"):
            (folder / name).symlink_to(shutil.which(name))

    def does(self, script):
        program = self.folder / "systemd-inhibit"
        program.write_text(f"#!/bin/sh\n{script.format(log=self._log)}\n")
        program.chmod(0o755)
        return LogindInhibitor(str(self.folder))

    @property
    def text(self):
        return self._log.read_text()

    @property
    def calls(self):
        """Each call's process and arguments."""
        lines = [line.split(" ", 1) for line in self.text.splitlines() if "--what=" in line]
        return [(int(pid), words) for pid, words in lines]

    @property
    def holders(self):
        """Those that still run."""
        return [pid for pid, _ in self.calls if is_alive(pid)]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.fixture
def logind(tmp_path):
    return Logind(tmp_path)


def test_the_lock_is_held_as_long_as_the_block_runs(logind, monkeypatch):
    """It delays a shutdown, says who wants it and why, and knows nothing of the agent's environment."""
    inhibit = logind.does(HOLDS)
    monkeypatch.setenv("DECODE_PASSWORD", "worker1-password")
    with inhibit("uploading the outputs of job 7"):
        wait_until(lambda: "PATH=" in logind.text)
        assert len(logind.holders) == 1
    assert logind.holders == []
    words = logind.calls[0][1]
    assert words.startswith("--what=shutdown --mode=delay --who=decode-agent")
    assert "--why=uploading the outputs of job 7" in words
    assert "worker1-password" not in logind.text


def test_uploads_at_the_same_time_share_one(logind):
    """The last one lets go; the next upload takes another."""
    inhibit = logind.does(HOLDS)
    with inhibit("a"):
        with inhibit("b"):
            wait_until(lambda: logind.holders)
        assert len(logind.holders) == 1
    assert logind.holders == []
    assert len(logind.calls) == 1
    with inhibit("c"):
        wait_until(lambda: len(logind.calls) == 2)
    assert logind.holders == []


def test_a_refusal_is_said_once(logind, caplog):
    """No polkit, say: uploads go on after the boot instead; nobody is asked again and again."""
    caplog.set_level("INFO", "agent")
    inhibit = logind.does(REFUSES)
    for _ in range(3):
        with inhibit("x"):
            pass
    assert caplog.text.count("Failed to inhibit: Access denied") == 1
    assert len(logind.calls) == 1


def test_a_machine_without_it(tmp_path, caplog):
    """No systemd: nothing is said, nothing fails."""
    caplog.set_level("INFO", "agent")
    with LogindInhibitor(str(tmp_path))("x"):
        pass
    assert caplog.text == ""


def test_one_that_cannot_be_started(logind, monkeypatch):
    """No memory for another process: the upload goes on."""

    def fail(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    inhibit = logind.does(HOLDS)
    monkeypatch.setattr(subprocess, "Popen", fail)
    with inhibit("x"):
        pass


def test_one_that_hangs_is_ended(logind, monkeypatch):
    """The bus does not answer: no upload waits for it, no process is left."""
    monkeypatch.setattr(inhibitor, "_END_S", 0.2)
    inhibit = logind.does(HANGS)
    with inhibit("x"):
        wait_until(lambda: logind.holders)
    assert logind.holders == []


def test_what_goes_wrong_in_the_block_goes_on(logind):
    """And the lock is let go."""
    inhibit = logind.does(HOLDS)

    def upload():
        with inhibit("x"):
            wait_until(lambda: logind.holders)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        upload()
    assert logind.holders == []


def test_a_killed_agent_holds_no_lock(logind):
    """Its end of the pipe is gone, and with it the child."""
    logind.does(HOLDS)
    words = [sys.executable, "-c", OTHER, str(logind.folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as agent:
        wait_until(lambda: logind.holders)
        agent.stdin.write(b"x")
        agent.stdin.flush()
        assert agent.wait() == -signal.SIGKILL
    wait_until(lambda: not logind.holders)


def test_many_threads_leave_nothing(logind):
    """However uploads come and go."""
    inhibit = logind.does(HOLDS)

    def upload():
        for _ in range(5):
            with inhibit("x"):
                pass

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logind.holders == []
    assert inhibit._users == 0
