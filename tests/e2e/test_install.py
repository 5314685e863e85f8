"""A workstation's story, in the order of the tests: tried dry, installed, upgraded, broken, removed."""

import re
from pathlib import Path

import pytest

from tests.e2e.host_snapshot import snapshot
from tests.e2e.hosts import Kind
from tests.e2e.installed_host import ACCOUNT, ENV_FILE, SOURCE, WHEELS, a_chapter, workstation
from tests.engine_host import IMAGES

pytestmark = [pytest.mark.host, pytest.mark.docker]

UNTIL_LET_GO = "until [ -e /files/output/go ]; do sleep 0.2; done; echo done > /files/output/result"
# What a container may leave behind, as root: closed files, closed folders, a folder with the sticky bit.
AWKWARD = (
    "cd /files/output; umask 077; mkdir closed && echo x > closed/secret; chmod 0 closed/secret closed;"
    "mkdir -m 1777 sticky; echo y > sticky/file; chmod 400 sticky/file"
)
HIGHEST_EXPOSURE = 2.2


@pytest.fixture(scope="module", params=list(Kind), ids=str)
def one_station(request, host_engine, api_of_hosts):
    with workstation(request.param, host_engine, api_of_hosts) as one:
        make_gpus_losable(one)
        # Once the usual folders, once job folders on another disk.
        one.base = {Kind.BOOKWORM: "/var/lib/decode-agent/jobs", Kind.TRIXIE: "/srv/decode jobs"}[one.kind]
        one.settings = {} if one.kind is Kind.BOOKWORM else {"PATH_HOST_BASE": one.base}
        one.write_env(one.settings)
        one.fresh = snapshot(one.host)
        yield one


@pytest.fixture
def station(one_station, request):
    """The host as the test before has left it; after a failure the story is over."""
    yield from a_chapter(one_station, request.session)


def make_gpus_losable(station):
    """Let systemd keep the containers' cgroups, and a stand-in of NVIDIA's hook give them their GPUs."""
    station.write(Path("/usr/bin/nvidia-container-runtime-hook"), b"#!/bin/sh\nexit 0\n", mode=0o755)
    station.write(Path("/etc/docker/daemon.json"), b'{"exec-opts": ["native.cgroupdriver=systemd"]}')
    station.run("systemctl restart docker")


@pytest.fixture
def long_job(station):
    """A job that runs until `let_go`; the same one for all tests that ask."""
    if not hasattr(station, "long_job"):
        station.long_job = station.submit(UNTIL_LET_GO)
        station.await_status(station.long_job, "running")
    return station.long_job


def facts_of(station, job_id):
    """What changes if anybody touches the container."""
    template = "'{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.RestartCount}}'"
    return station.run(f"docker inspect --format {template} decode-job-{job_id}").stdout


def set_version(station, version, also="true"):
    number = f's/^__version__ = .*/__version__ = "{version}"/'
    station.run(f"cd {SOURCE} && sed -i '{number}' agent/__init__.py && {also}")


def test_dry_run_changes_nothing(station):
    """It names the service, the program and the user; not a file differs afterwards."""
    said = station.install(f"--dry-run --yes --env-file {ENV_FILE} --offline {WHEELS}").stdout
    for change in (
        "decode-agent.service",
        "/opt/decode-agent/versions/",
        "user decode-agent",
        "would restart",
    ):
        assert change in said
    assert snapshot(station.host) == station.fresh


def test_installs_without_a_network_and_takes_a_job(station, tell):
    """With every way out cut: the service is active when install.sh ends, and a job is finished."""
    station.run("ip route del default")
    done = station.install()
    assert station.is_active
    assert [line.split(":")[0] for line in done.stdout.splitlines()[-3:]] == ["Runs", "Logs", "Next"]
    job_id = station.submit(f"{AWKWARD}; cp /files/data /files/output/result", files={"data": b"42"})
    station.await_status(job_id, "finished")
    assert station.mock.output(job_id, "output/result") == b"42"
    assert station.mock.output(job_id, "output/closed/secret") == b"x\n"
    station.await_true(lambda: not station.run(f"ls '{station.base}'").stdout, "its folder is gone")
    shown = station.run("systemctl status --no-pager decode-agent").stdout
    assert re.search(r'Status: "Idle · next look in .* free"', shown)
    tell_exposure(station, tell)
    station.first_job = job_id


def tell_exposure(station, tell):
    """What systemd itself thinks of the sandbox."""
    said = station.run("systemd-analyze security --no-pager decode-agent").stdout
    exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", said).group(1))
    tell(f"{station.kind}: systemd-analyze security decode-agent: {exposure}")
    assert exposure <= HIGHEST_EXPOSURE


def test_the_journal_tells_the_story_of_one_job(station):
    """`journalctl JOB_ID=` finds the job's lines and no others."""
    job_id = station.first_job
    lines = station.journal(f"JOB_ID={job_id}").splitlines()
    assert len(lines) > 1
    assert all(f"Job {job_id}" in line for line in lines)


def test_nobody_else_gets_at_settings_credentials_or_state(station):
    """agent.env is the group's, the keyring root's, the state the agent's; agent.env has no password."""
    modes = station.run(
        "stat -c '%a %U:%G %n' /etc/decode-agent/agent.env /etc/decode-agent/keyring.* /var/lib/decode-agent"
    ).stdout.splitlines()
    assert modes[0] == "640 root:decode-agent /etc/decode-agent/agent.env"
    assert all(mode.startswith("600 root:root") for mode in modes[1:-1])
    assert modes[-1] == "700 decode-agent:decode-agent /var/lib/decode-agent"
    kept = station.run("cat /etc/decode-agent/agent.env").stdout
    assert "API_URL=" in kept
    assert "PASSWORD" not in kept
    assert "USERNAME" not in kept


def test_a_second_run_changes_nothing(station, long_job):
    """The same process, the same container, the same files; it says so."""
    before = snapshot(station.host), station.main_pid, facts_of(station, long_job)
    done = station.install()
    assert "Nothing to change" in done.stdout
    assert (snapshot(station.host), station.main_pid, facts_of(station, long_job)) == before


@pytest.mark.usefixtures("long_job")
def test_wrong_credentials_leave_the_right_ones(station):
    """A refused password ends with a clear line; service and keyring are as they were."""
    before = snapshot(station.host), station.main_pid
    for wrong, said in (
        ({"PASSWORD": "wrong"}, "password"),
        ({"USERNAME": "user2@example.com", "PASSWORD": "user2-password"}, "worker"),
    ):
        station.write_env(station.settings | wrong)
        done = station.install(check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert "as it was" in done.stderr
        assert (snapshot(station.host), station.main_pid) == before
    station.write_env(station.settings)


def test_an_upgrade_does_not_touch_a_running_job(station, long_job):
    """The new version runs, in the same container goes on what ran."""
    before = facts_of(station, long_job)
    set_version(station, "7.1.0")
    station.install("--yes --offline /root/wheels")
    assert station.run("decode-agent --version").stdout.strip() == "decode-agent 7.1.0"
    assert facts_of(station, long_job) == before
    assert station.is_active


BROKEN = {
    Kind.BOOKWORM: "raise SystemExit(5)",
    # It gets ready, and dies soon after.
    Kind.TRIXIE: "import threading; threading.Timer(2, os._exit, [5]).start()",
}


def test_a_broken_version_is_rolled_back(station, long_job):
    """Exit 1, the version before runs again, the job does not notice."""
    before = snapshot(station.host), facts_of(station, long_job)
    station.run(f"cp -a {SOURCE}/agent /root/kept")
    set_version(
        station, "7.2.0", also=f"sed -i 's/^def run(.*/&\\n    {BROKEN[station.kind]}/' agent/cli/run.py"
    )
    done = station.install("--yes --offline /root/wheels", check=False)
    assert done.returncode == 1
    assert "7.2.0 did not become ready" in done.stderr
    assert "Rolled back: decode-agent 7.1.0 is back and running" in done.stderr
    assert station.is_active
    assert (snapshot(station.host), facts_of(station, long_job)) == before
    station.run(f"rm -r {SOURCE}/agent && mv /root/kept {SOURCE}/agent")


def test_no_reload_of_systemd_while_a_job_would_lose_its_gpu(station, long_job):
    """The unit has changed and such a container runs: it says so, and nothing was changed."""
    station.run(f"docker run -d --rm --name training --gpus all {IMAGES.busybox} sleep 1000")
    station.run(
        f"cp -a {SOURCE}/systemd /root/kept && echo '# changed' >> {SOURCE}/systemd/decode-agent.service"
    )
    before = snapshot(station.host), station.main_pid, facts_of(station, long_job)
    done = station.install("--yes --offline /root/wheels", check=False)
    assert done.returncode == 1
    assert re.search("nothing was changed.* daemon-reload.* training.* drain", done.stderr)
    assert (snapshot(station.host), station.main_pid, facts_of(station, long_job)) == before
    station.run(f"docker rm -f training; rm -r {SOURCE}/systemd && mv /root/kept {SOURCE}/systemd")


def test_the_job_of_all_these_versions_is_finished(station, long_job):
    """One container from its start to its end, whatever was installed meanwhile."""
    station.run(f"touch '{station.base}/{long_job}/files/output/go'")
    station.await_status(long_job, "finished")
    assert station.mock.output(long_job, "output/result") == b"done\n"
    assert len(station.mock.mails(long_job)) == 1


def test_uninstall_keeps_what_an_install_goes_on_with(station):
    """The program and the unit are gone; agent.env, keyring and history are there for the next install."""
    history = station.run("ls /var/lib/decode-agent").stdout
    station.install("--uninstall --yes")
    assert station.run("ls /opt/decode-agent /usr/local/bin/decode-agent", check=False).returncode
    assert station.run("systemctl cat decode-agent", check=False).returncode
    assert "decode-agent" not in station.run("systemctl --all --no-pager list-units").stdout
    assert {"agent.db", "agent-id"} <= set(history.split())
    assert station.run("ls /var/lib/decode-agent").stdout.split() == [
        name for name in history.split() if not name.startswith("agent.db-")
    ]
    station.install(f"--yes --offline {WHEELS}")
    assert station.is_active


def test_asks_at_a_terminal_for_what_it_lacks(station):
    """After a logout there are no credentials: it asks for them, and the password is not shown."""
    station.run("decode-agent logout")
    name, password = ACCOUNT
    shown, code = station.install_at_terminal("", {"User name": name, "Password": password})
    assert code == 0, shown
    assert password not in shown
    assert station.is_active
    assert station.run("decode-agent whoami").stdout.count(name) == 1


def test_purge_leaves_nothing(station):
    """Not a file more than before the first install, no container, no user."""
    job_id = station.submit("sleep 600")
    station.await_status(job_id, "running")
    station.install("--purge --yes")
    assert snapshot(station.host) == station.fresh
    assert station.run("docker ps -aq").stdout == ""
    assert station.run("id decode-agent", check=False).returncode
