"""The commands that talk to the running service: what they say, how they end."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from agent import cli
from agent.adapters.control import ControlServer
from agent.adapters.journal import SqliteJournal
from agent.cli import arguments_service, release, steer
from agent.core import control_api
from agent.core.errors import ConfigError, DiskTrouble, EngineTrouble, ServiceTrouble
from agent.core.models import Outcome, Phase, Record, Verdict
from agent.core.status import Mode, PastJob, Released, Trouble
from tests.fakes.controls import STATUS, FakeControls
from tests.fakes.waiting import LONG_S, once, wait_until

WELL = replace(STATUS, jobs=(), gates=(), troubles=(), recent=())
GATES = (Trouble("drained by this machine's owner", 1_700_000_000.0),)
RUNNING = replace(WELL, jobs=(replace(STATUS.jobs[0], phase=Phase.RUNNING, doing="", trouble=None),))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@pytest.fixture
def controls(path):
    controls = FakeControls()
    controls.now = WELL
    with ControlServer(path, controls):
        yield controls
        controls.end()


@pytest.fixture
def run(path, capsys):
    """Run a command on that socket: exit code, what it printed, what it complained of."""

    def act(*words):
        code = cli.main([*words, "--socket", str(path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return act


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(steer, "_LOOK_S", 0.01)
    monkeypatch.setattr(release, "_LOOK_S", 0.01)


@pytest.fixture
def journal_dir(tmp_path):
    """The state of an agent that has had a job."""
    folder = tmp_path / "state"
    folder.mkdir()
    with closing(SqliteJournal(folder / "agent.db")) as journal:
        record = Record(6, Phase.STAGING_IN, None, 0, 1000.0, outcome=Outcome(Verdict.ERROR, "why", 3))
        journal.save(record)
        journal.close_job(record, 2000.0, "its \x1b[31mlog\n")
    return folder


def as_service(path, *words):
    """The command as a process of its own."""
    return [sys.executable, "-m", "agent", *words, "--socket", str(path)]


def on_terminal(path, *words, columns=80):
    """What the command prints on a terminal of that width, and its exit code."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    environ |= {"TERM": "xterm", "PYTHONWARNINGS": "error"}
    with subprocess.Popen(as_service(path, *words), stdout=inner, stderr=inner, env=environ) as process:
        os.close(inner)
        said = b""
        try:
            while piece := os.read(outer, 65536):
                said += piece
        except OSError:  # a terminal's way to say that nobody writes any more
            pass
        os.close(outer)
    return process.returncode, said.decode().replace("\r\n", "\n")


def test_both_ends_mean_the_same():
    """What --help says is what the API has."""
    assert arguments_service.SOCKET_PATH == control_api.SOCKET_PATH
    assert arguments_service.HISTORY_MAX == control_api.HISTORY_MAX
    assert arguments_service._REASON == control_api.RELEASE_REASON
    assert arguments_service._REASON_MAX_CHARS == control_api.REASON_MAX_CHARS


# status


@pytest.mark.parametrize(
    ("status", "code", "health"),
    [
        (WELL, 0, "running"),
        (RUNNING, 0, "running"),
        (replace(WELL, mode=Mode.PAUSED), 0, "running"),
        (replace(WELL, troubles=STATUS.troubles), 4, "degraded"),
        (STATUS, 4, "degraded"),
    ],
)
def test_the_exit_code_is_the_health(run, controls, status, code, health):
    """For people and for programs."""
    controls.now = status
    assert run("status")[0] == code
    done, out, err = run("status", "--json")
    assert (done, json.loads(out)["health"], err) == (code, health, "")


def test_the_status_says_what_runs(run, controls):
    """And what is in its way."""
    controls.now = STATUS
    _, out, err = run("status")
    assert out.startswith("decode-agent 1.0 is degraded, since ")
    assert "job 7  downloading inputs" in out
    assert "the storage answers 503" in out
    assert "no job is taken now\n  Docker does not answer" in out
    assert "6    error" in out
    assert "\x1b" not in out
    assert err == ""


def test_json_holds_all(run, controls):
    """A script gets what the agent says, as it says it."""
    controls.now = STATUS
    _, out, _ = run("status", "--json")
    assert control_api.status_in(out.encode()) == STATUS


@pytest.mark.parametrize(
    "command", ["status", "pause", "resume", "drain", "release", "reload", "jobs", "logs"]
)
def test_a_service_that_is_down(run, path, command, tmp_path):
    """3, and which socket nobody listens on."""
    words = {"jobs": ["--state-dir", str(tmp_path)], "logs": ["7", "--state-dir", str(tmp_path)]}
    code, out, err = run(command, *words.get(command, []))
    assert (code, out) == (3, "")
    assert err.startswith(f"decode-agent: decode-agent is not running (nobody listens on {path})\n")
    assert ("sudo docker logs decode-job-7" in err) == (command == "logs")


def test_down_is_json_too(run):
    """One object, whatever happens."""
    code, out, _ = run("status", "--json")
    assert (code, json.loads(out)["health"]) == (3, "down")


@pytest.fixture
def usual(monkeypatch, tmp_path):
    """The machine's service, its socket nowhere, and systemd's word on it."""

    def act(shown):
        monkeypatch.setattr("agent.cli.service.SOCKET_PATH", str(tmp_path / "run" / "control.sock"))
        monkeypatch.setattr("agent.cli.service.is_booted", lambda: shown is not None)
        monkeypatch.setattr("agent.cli.service.show_unit", lambda *_: shown)

    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return act


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (None, "there is no service decode-agent on this machine"),
        ("LoadState=not-found\nActiveState=inactive\n", "there is no service decode-agent on this machine"),
        (
            "LoadState=loaded\nActiveState=failed\nResult=exit-code\nExecMainStatus=78\n",
            "a setting or the credentials are wrong; the last lines of its log name them\n  sudo journalctl",
        ),
        ("LoadState=loaded\nActiveState=inactive\n", "it was stopped, or not started yet\n  start it: sudo"),
    ],
)
def test_down_says_why(usual, capsys, shown, said):
    """What systemd knows, and what to do."""
    usual(shown)
    assert cli.main(["status"]) == 3
    assert said in capsys.readouterr().err
    assert cli.main(["status", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["reasons"][0] == said.partition("\n")[0]


def test_a_users_own_service_is_found(usual, monkeypatch, tmp_path, capsys):
    """Where the machine has none."""
    usual(None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "decode-agent").mkdir()
    controls = FakeControls()
    with ControlServer(tmp_path / "decode-agent" / "control.sock", controls):
        assert cli.main(["pause"]) == 0
    capsys.readouterr()
    assert controls.modes == [Mode.PAUSED]


def test_a_terminal_gets_colour_and_its_width(path, controls):
    """The health in colour; tables are cut, not wrapped."""
    controls.now = replace(WELL, recent=(replace(STATUS.recent[0], reason="why " * 50),))
    code, said = on_terminal(path, "status", columns=50)
    assert code == 0
    assert said.startswith("decode-agent 1.0 is \x1b[32mrunning\x1b[0m, since")
    table = said.partition("last jobs\n")[2].splitlines()
    assert [len(line) for line in table] == [len(table[0]), 50]


@pytest.mark.usefixtures("controls")
def test_watching_shows_it_again(path):
    """Until Ctrl-C."""
    outer, inner = pty.openpty()
    with subprocess.Popen(as_service(path, "status", "--watch"), stdout=inner, stderr=inner) as process:
        os.close(inner)
        said = b""
        while said.count(b"is running") + said.count(b"running\x1b[0m, since") < 2:
            said += os.read(outer, 65536)
        process.send_signal(signal.SIGINT)
    os.close(outer)
    assert process.returncode == 130
    assert b"\x1b[H\x1b[2J" in said
    assert b"Traceback" not in said


# jobs, logs


def test_the_jobs_that_are_over(run, controls):
    """As many as asked for, the last first; as a table or for programs."""
    controls.past = [PastJob(number, "finished", "", 0, "i", 1.0, 2.0) for number in range(30, 0, -1)]
    _, out, err = run("jobs")
    assert [line.split()[0] for line in out.splitlines()] == ["JOB", *map(str, range(30, 10, -1))]
    assert err == ""
    _, out, _ = run("jobs", "--limit", "2", "--json")
    assert [one["job_id"] for one in json.loads(out)] == [30, 29]
    controls.past = []
    assert run("jobs") == (0, "No job has ended on this machine yet.\n", "")
    assert run("jobs", "--json") == (0, "[]\n", "")


def test_the_journal_is_read_where_nobody_answers(run, journal_dir):
    """Root still sees what ran, and is told that this is all there is."""
    code, out, err = run("jobs", "--state-dir", str(journal_dir))
    assert code == 0
    assert out.splitlines()[1].split()[:2] == ["6", "error"]
    assert "is not running" in err
    assert "this is from its journal" in err
    code, out, err = run("logs", "6", "--state-dir", str(journal_dir))
    assert (code, out) == (0, "its \x1b[31mlog\n")
    assert "this is from its journal" in err


def test_a_log_as_it_is(path, controls, tmp_path):
    """Byte by byte into a file."""
    controls.logs[7] = [b"\x1b[31mred\xff\x00\n", b"x" * 100_000]
    target = tmp_path / "log"
    with target.open("wb") as file:
        subprocess.run(as_service(path, "logs", "7"), stdout=file, timeout=LONG_S, check=True)
    assert target.read_bytes() == b"".join(controls.logs[7])


def test_a_log_on_a_terminal(path, controls):
    """What a job writes moves no cursor and sets no title."""
    controls.logs[7] = [b"\x1b[31mred\x1b[0m\x1b]0;ti", b"tle\x07\n"]
    assert on_terminal(path, "logs", "7") == (0, "red␛]0;title␇\n")


def test_a_log_is_followed(path, controls):
    """Each line when it is written, to the end of the job."""
    controls.logs[7] = [b"first\n"]
    with subprocess.Popen(as_service(path, "logs", "7", "-f"), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"first\n"
        controls.more(b"second\n")
        assert process.stdout.readline() == b"second\n"
        controls.end()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_whoever_reads_a_log_may_leave(path, controls):
    """`decode-agent logs 7 -f | head -1`."""
    controls.logs[7] = [b"first\n"]
    with subprocess.Popen(
        as_service(path, "logs", "7", "-f"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        controls.more(b"second\n")
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [(None, "no log of job 8 is known"), (EngineTrouble("Docker is away"), "Docker is away")],
)
def test_a_log_that_cannot_be_had(run, controls, error, said):
    """A sentence and 1."""
    controls.error = error
    assert run("logs", "8") == (1, "", f"decode-agent: {said}\n")


# pause, resume, drain, reload


def test_pause_and_resume(run, controls):
    """What was asked, and what becomes of the jobs under way."""
    assert run("pause") == (0, "Paused: no further job is taken until `decode-agent resume`.\n", "")
    controls.now = RUNNING
    assert run("pause")[1].endswith("\nJob 7 is under way; not touched.\n")
    assert run("resume") == (0, "Jobs are taken again.\n", "")
    assert controls.modes == [Mode.PAUSED, Mode.PAUSED, Mode.TAKING]


def test_a_wish_that_cannot_be_kept(run, controls):
    """A full disk: nothing has changed, and it is said."""
    controls.error = DiskTrouble("cannot write agent.db: disk full")
    assert run("pause") == (1, "", "decode-agent: cannot write agent.db: disk full\n")


class Draining(FakeControls):
    """A drain: each look finds the next of these statuses, the last for ever."""

    def __init__(self, *statuses):
        super().__init__()
        self.statuses = list(statuses)

    def status(self):
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@pytest.mark.usefixtures("quick")
def test_a_drain_waits_for_the_last_job(run, path):
    """A line for each change, then the end."""
    busy = replace(RUNNING, mode=Mode.DRAINING, gates=GATES)
    more = replace(busy, jobs=(*busy.jobs, replace(busy.jobs[0], job_id=8)))
    controls = Draining(more, more, busy, busy, replace(busy, jobs=()))
    with ControlServer(path, controls):
        code, out, err = run("drain")
    assert (code, err) == (0, "")
    assert out == (
        "No further job is taken.\nJobs 7, 8 are under way.\nJob 7 is under way.\n"
        "Drained: no job runs. Jobs are taken again after `decode-agent resume`.\n"
    )
    assert controls.modes == [Mode.DRAINING]


def test_a_drain_need_not_be_waited_for(run, controls):
    """It goes on all the same."""
    controls.now = RUNNING
    assert run("drain", "--no-wait") == (0, "No further job is taken.\n", "")
    assert run("drain", "--exit", "--no-wait") == (0, "No further job is taken.\n", "")
    assert controls.modes == [Mode.DRAINING, Mode.LEAVING]


@pytest.mark.usefixtures("quick")
def test_a_job_that_is_just_being_claimed_is_waited_for(run, path):
    """No job runs, but the agent has not come to close its gates yet: one may be on its way."""
    idle = replace(WELL, mode=Mode.DRAINING)
    busy = replace(RUNNING, mode=Mode.DRAINING, gates=GATES)
    controls = Draining(idle, idle, replace(idle, gates=GATES), busy, replace(idle, gates=GATES))
    with ControlServer(path, controls):
        code, out, _ = run("drain")
    assert code == 0
    assert "Job 7 is under way.\nDrained: no job runs." in out


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("says_taking", [False, True])
def test_a_drain_can_end_the_service(run, path, says_taking):
    """Nobody listens any more: that is what was waited for; the last word may be that of the next start."""
    leaving = replace(RUNNING, mode=Mode.LEAVING)
    controls = Draining(leaving, replace(leaving, jobs=(), mode=Mode.TAKING if says_taking else Mode.LEAVING))
    with (
        ControlServer(path, controls) as server,
        once(lambda: len(controls.statuses) == 1, server.__exit__),
    ):
        code, out, err = run("drain", "--exit")
    assert (code, err) == (0, "")
    assert out.endswith("decode-agent has ended. To start it again: sudo systemctl start decode-agent\n")
    assert controls.modes == [Mode.LEAVING]


@pytest.mark.usefixtures("quick")
def test_a_drain_outlasts_a_restart(run, path, monkeypatch):
    """The service that comes back goes on with it, and so does the waiting."""
    busy = replace(RUNNING, mode=Mode.DRAINING, gates=GATES)
    first, second = Draining(busy), Draining(busy, replace(busy, jobs=()))
    looks = []
    client = steer.ControlClient

    class Watched(client):
        def status(self):
            looks.append(1)
            return super().status()

    monkeypatch.setattr("agent.cli.service.ControlClient", Watched)

    def restart():
        with ControlServer(path, first):
            wait_until(lambda: len(looks) > 2)
        seen = len(looks)
        wait_until(lambda: len(looks) > seen + 2)
        with ControlServer(path, second):
            wait_until(lambda: len(second.statuses) == 1)
            over.wait(LONG_S)

    over = threading.Event()
    service = threading.Thread(target=restart)
    service.start()
    wait_until(path.exists)
    code, out, _ = run("drain")
    over.set()
    service.join()
    assert code == 0
    assert "waiting for its restart" in out
    assert "Drained: no job runs." in out


@pytest.mark.usefixtures("quick")
def test_an_answer_that_breaks_off_is_no_end(run, path, monkeypatch):
    """The service ends in the middle of it, or hangs for a moment: the next look will tell."""
    busy = replace(RUNNING, mode=Mode.DRAINING, gates=GATES)
    broken = [ServiceTrouble("the service broke off its answer")] * 3
    client = steer.ControlClient

    class Flaky(client):
        def status(self):
            if broken:
                raise broken.pop()
            return super().status()

    monkeypatch.setattr("agent.cli.service.ControlClient", Flaky)
    with ControlServer(path, Draining(busy, replace(busy, jobs=()))):
        assert run("drain")[0] == 0
        broken += [ServiceTrouble("it hangs")] * 1000
        monkeypatch.setattr(steer, "_AWAY_S", 0.1)
        assert run("drain")[::2] == (1, "decode-agent: it hangs\n")


@pytest.mark.usefixtures("quick")
def test_a_service_that_does_not_come_back(run, path, monkeypatch):
    """Not waited for for ever."""
    monkeypatch.setattr(steer, "_AWAY_S", 0.1)
    controls = Draining(replace(RUNNING, mode=Mode.DRAINING))
    with ControlServer(path, controls) as server, once(lambda: controls.modes, server.__exit__):
        code, _, err = run("drain")
    assert code == 3
    assert "does not come back; the drain stays in effect" in err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("words", "state", "code", "said"),
    [
        (["drain"], "inactive", 3, "does not come back; the drain stays in effect"),
        (["drain"], "failed", 3, "does not come back"),
        (["drain", "--exit"], "inactive", 0, "decode-agent has ended."),
        (["drain", "--exit"], "activating", 3, "does not come back"),
    ],
)
def test_systemd_knows_whether_it_comes_back(usual, capsys, monkeypatch, tmp_path, words, state, code, said):
    """What was stopped is not waited for, what is about to be started is, for a while."""
    usual(f"LoadState=loaded\nActiveState={state}\n")
    monkeypatch.setattr(steer, "_AWAY_S", 0.1)
    (tmp_path / "run").mkdir()
    controls = Draining(replace(RUNNING, mode=Mode.LEAVING if "--exit" in words else Mode.DRAINING))
    with (
        ControlServer(tmp_path / "run" / "control.sock", controls) as server,
        once(lambda: controls.modes, server.__exit__),
    ):
        assert cli.main(words) == code
    assert said in "".join(capsys.readouterr())


@pytest.mark.usefixtures("quick")
def test_a_drain_that_somebody_takes_back(run, path):
    """The wait ends, and says why."""
    draining = replace(RUNNING, mode=Mode.DRAINING)
    with ControlServer(path, Draining(draining, replace(draining, mode=Mode.TAKING))):
        code, _, err = run("drain")
    assert (code, err) == (1, "decode-agent: somebody asked for something else meanwhile (taking)\n")


def test_ctrl_c_leaves_the_drain_in_effect(path, controls):
    """The waiting ends, the drain does not."""
    controls.now = replace(RUNNING, mode=Mode.DRAINING)
    with subprocess.Popen(
        as_service(path, "drain"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"No further job is taken.\n"
        assert process.stdout.readline() == b"Job 7 is under way.\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert "the drain stays in effect; `decode-agent resume` takes it back" in said
    assert "Traceback" not in said
    assert controls.modes == [Mode.DRAINING]


def test_a_drain_on_a_terminal_is_one_line(path):
    """It is written over, not below."""
    busy = replace(RUNNING, mode=Mode.DRAINING, gates=GATES)
    with ControlServer(path, Draining(busy, replace(busy, jobs=()))):
        code, said = on_terminal(path, "drain", columns=30)
    assert code == 0
    assert "\r\x1b[Kjob 7 running for " in said
    assert said.endswith("\r\x1b[KDrained: no job runs. Jobs are taken again after `decode-agent resume`.\n")


def test_a_reload_says_what_changed(run, controls):
    """A line each; nothing is said as such."""
    assert run("reload") == (0, "Nothing has changed.\n", "")
    controls.changes = ("LOG_LEVEL is debug now", "API_URL takes effect at the next restart")
    assert run("reload") == (0, "LOG_LEVEL is debug now\nAPI_URL takes effect at the next restart\n", "")


def test_a_reload_of_bad_settings(run, controls):
    """78 and a line for each, as at the start."""
    controls.error = ConfigError("A=1 is wrong\nB=2 too")
    assert run("reload") == (78, "", "decode-agent: A=1 is wrong\ndecode-agent: B=2 too\n")


# The command line


@pytest.mark.parametrize(
    "words",
    [
        ["logs"],
        ["logs", "x"],
        ["logs", "-1"],
        ["logs", "9" * 19],
        ["jobs", "--limit", "0x1"],
        ["jobs", "--limit", "10001"],
        ["drain", "--wait"],
        ["status", "--jso"],
    ],
)
def test_usage(words, capsys):
    """2, and what is wrong."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: decode-agent" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["status", "jobs", "logs", "pause", "resume", "drain", "release", "reload"]
)
def test_help(command, capsys, monkeypatch):
    """It fits into a terminal."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_trouble_of_the_service_is_no_traceback(run, controls):
    """What went wrong there is one line here."""
    controls.error = ZeroDivisionError("why")
    assert run("status") == (
        1,
        "",
        "decode-agent: unexpected ZeroDivisionError: the agent's log tells more\n",
    )


# release


class Giving(Draining):
    """A release: `released` is answered, then each look finds the next of these statuses."""


UPLOADING = replace(RUNNING.jobs[0], job_id=8, phase=Phase.STAGING_OUT)
BOTH = replace(RUNNING, jobs=(*RUNNING.jobs, UPLOADING))


@pytest.mark.usefixtures("quick")
def test_a_release_says_what_is_lost_and_waits_for_the_containers(run, path):
    """What has ended is named and not waited for; a job that is only being reported needs no waiting."""
    reporting = replace(RUNNING.jobs[0], phase=Phase.REPORTING, trouble=Trouble("the API is away", 0.0))
    controls = Giving(
        BOTH,
        BOTH,
        replace(BOTH, jobs=(reporting, UPLOADING)),
        replace(BOTH, jobs=(replace(reporting, is_freed=True), UPLOADING)),
    )
    controls.released = Released((7,), (8,))
    with ControlServer(path, controls):
        code, out, err = run("release", "--yes", "--reason", "a demo")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("Job 7 was claimed ")
    assert lines[0].endswith(" (decode/fit:1): all of that is lost, it starts anew elsewhere.")
    assert lines[1].startswith("Job 8 is uploading outputs for ")
    assert lines[1].endswith(": its container has ended, it is left to that.")
    assert lines[2] == "Job 8 is left to upload: the container has ended."
    assert lines[3] == "Job 7 is given back to the queue."
    assert lines[4].startswith("job 7 running for ")
    assert "the API is away" in lines[-2]
    assert lines[-1].startswith("The machine is free of it: no container is left.")
    assert controls.releases == [((), "a demo")]


def test_a_release_of_named_jobs(run, controls):
    """Only these, with a reason that says who did it."""
    controls.now = BOTH
    assert run("release", "7", "--yes", "--no-wait")[0] == 0
    assert controls.releases == [((7,), "released by this machine's owner")]
    code, out, err = run("release", "9", "--yes")
    assert (code, out) == (1, "")
    assert err == "decode-agent: job 9 is not under way; see: decode-agent status\n"
    assert len(controls.releases) == 1


def test_a_release_is_not_done_by_mistake(run, controls):
    """Where nobody can be asked it takes a --yes, if there is something to lose."""
    controls.now = RUNNING
    code, _, err = run("release")
    assert (code, controls.releases) == (1, [])
    assert "say --yes if this is meant" in err
    controls.now = WELL
    controls.released = Released((), ())
    assert run("release") == (
        0,
        "No job was given back. Jobs are taken again after `decode-agent resume`.\n",
        "",
    )
    assert controls.releases == [((), "released by this machine's owner")]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answer", "code", "count"), [("y", 0, 1), ("Yes", 0, 1), ("", 1, 0), ("n", 1, 0), (EOFError, 1, 0)]
)
def test_a_person_is_asked(run, path, monkeypatch, answer, code, count):
    """Enter alone means no."""

    def reply(prompt):
        assert prompt == "Give back? [y/N] "
        if answer is EOFError:
            raise EOFError
        return answer

    controls = Giving(RUNNING, WELL)
    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with ControlServer(path, controls):
        assert run("release")[0] == code
    assert len(controls.releases) == count


@pytest.mark.usefixtures("quick")
def test_a_release_outlasts_a_restart(run, path, monkeypatch):
    """Nobody answers for a while: it goes on with the next start; one that stays away is told."""
    controls = Giving(RUNNING, RUNNING, WELL)
    looks = []

    def status():
        looks.append(1)
        if len(looks) == 3:
            raise EngineTrouble("broken off")
        return Draining.status(controls)

    monkeypatch.setattr(controls, "status", status)
    with ControlServer(path, controls):
        assert run("release", "--yes")[0] == 0
    monkeypatch.setattr(release, "_AWAY_S", -1.0)
    looks.clear()
    controls.statuses = [RUNNING]
    with ControlServer(path, controls):
        code, _, err = run("release", "--yes")
    assert code == 3
    assert "the release goes on with it" in err


@pytest.mark.parametrize("words", [["--reason", ""], ["--reason", "a\nb"], ["--reason", "x" * 201], ["x"]])
def test_what_cannot_be_released(run, words):
    """Refused before anybody is asked."""
    with pytest.raises(SystemExit) as caught:
        run("release", *words)
    assert caught.value.code == 2
