"""The service in a machine's hard life: steered, stopped, cut off, rebooted, searched for secrets.

Four booted hosts for all tests here: on two the API and Docker are away for minutes, which is waited for at
the end; on the other two, one of each kind, the rest happens meanwhile, on both at the same time.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.hosts import Kind
from tests.e2e.service_hosts import Disclosed, ServiceHost, on_each, service_host
from tests.e2e.service_outages import WATCHDOG, without_docker, without_the_api
from tests.e2e.service_secrets import PASSWORD, planted, secret_life

pytestmark = [pytest.mark.host, pytest.mark.docker]

MAIN, API_AWAY, DOCKER_AWAY = "main", "API away", "Docker away"
HELD_UP = "The machine goes down: outputs on their way out get 30 s."
ROLES = [(MAIN, Kind.BOOKWORM), (MAIN, Kind.TRIXIE), (API_AWAY, Kind.BOOKWORM), (DOCKER_AWAY, Kind.TRIXIE)]


@pytest.fixture(scope="module")
def disclosed():
    with Disclosed().noted() as everything:
        yield everything


@pytest.fixture(scope="module")
def world(host_engine, disclosed, tmp_path_factory):  # noqa: ARG001  notes from the first on
    """The hosts by their role, and what goes on in the background."""

    def begin(role, kind, root):
        host = stack.enter_context(service_host(kind, host_engine, root, PASSWORD, watch=role == MAIN))
        host.run("useradd -m mallory; useradd -m -G decode-agent olga")
        return host

    with ExitStack() as stack, ThreadPoolExecutor(len(ROLES)) as pool:
        begun = [
            (role, pool.submit(begin, role, kind, tmp_path_factory.mktemp("api"))) for role, kind in ROLES
        ]
        hosts = {MAIN: [future.result() for role, future in begun if role == MAIN]}
        outages = {
            role: pool.submit(outage, future.result())
            for role, future in begun
            for outage in {API_AWAY: [without_the_api], DOCKER_AWAY: [without_docker]}.get(role, [])
        }
        yield hosts[MAIN], outages


@pytest.fixture
def hosts(world):
    """The two for all but outages; a test that fails leaves nothing that is in the way of the next."""
    yield world[0]
    on_each(world[0], ServiceHost.let_all_go)


def messages(host: ServiceHost, *matches: str) -> list[str]:
    return [str(entry["MESSAGE"]) for entry in host.entries("-u", "decode-agent", *matches)]


def test_systemctl_status_tells_what_goes_on(hosts):
    """The status line names the job that runs, when the API was heard, and what the disk has left."""

    def tell(host):
        job_id, _ = host.start_job()
        shown = rf'Status: "Running job {job_id}.* · API \d+ s ago · \d+ GB free"'
        host.await_true(
            lambda: re.search(shown, host.run("systemctl status --no-pager decode-agent").stdout), shown
        )
        host.let_go(job_id)
        host.await_true(lambda: host.verdicts(job_id) == ["finished"], "it is finished")

    on_each(hosts, tell)


def test_the_journal_tells_the_story_of_one_job(hosts):
    """`JOB_ID=` finds what concerns a job and nothing else; what failed stands out by its level."""

    def tell(host):
        good = host.do_a_job("cat /files/data > /files/output/result", files={"data": b"42"})
        bad = host.do_a_job("echo no; exit 3")
        host.await_true(lambda: any("DONE" in one for one in messages(host, f"JOB_ID={bad}")), "it is over")
        levels = {}
        for job_id in (good, bad):
            entries = host.entries("-u", "decode-agent", f"JOB_ID={job_id}")
            assert len(entries) > 4
            assert all(entry["MESSAGE"].startswith(f"Job {job_id}: ") for entry in entries)
            assert {entry["JOB_ID"] for entry in entries} == {job_id}
            everything = messages(host)
            assert sum(one.startswith(f"Job {job_id}: ") for one in everything) == len(entries)
            levels[job_id] = min(int(entry["PRIORITY"]) for entry in entries)
        assert levels[good] >= 6
        assert levels[bad] <= 4
        assert any("exit code 3" in one for one in messages(host, f"JOB_ID={bad}", "-p warning"))

    on_each(hosts, tell)


def test_a_reload_touches_neither_process_nor_job(hosts):
    """A changed setting is taken up and said; with a broken one the reload fails and says why."""

    def tell(host):
        job_id, container = host.start_job()
        life = host.life()
        host.tune("TIMEOUT_STATUS", "2")
        host.run("systemctl reload decode-agent")
        assert any("TIMEOUT_STATUS" in one for one in messages(host))
        host.tune("TIMEOUT_STATUS", "often")
        done = host.run("systemctl reload decode-agent", check=False)
        assert done.returncode != 0
        said = [one for one in messages(host) if "TIMEOUT_STATUS" in one and "often" in one]
        assert said
        assert all("Traceback" not in one for one in said)
        host.tune("TIMEOUT_STATUS", "1")
        host.run("systemctl reload decode-agent")
        assert host.station.is_active
        assert host.life() == life
        assert host.station.container_id(job_id) == container
        host.let_go(job_id)
        host.await_true(lambda: host.verdicts(job_id) == ["finished"], "it is finished")

    on_each(hosts, tell)


def test_a_pause_outlives_a_restart(hosts):
    """Nothing is taken until `resume`; the status line says how to go on."""

    def tell(host):
        assert host.ask("pause")[0] == 0
        host.run("systemctl restart decode-agent")
        job_id = host.station.submit("true")
        paused = "Paused (resume with: decode-agent resume)"
        host.await_true(lambda: host.station.status_line.startswith(paused), paused)
        looks = len(host.mock.requests("GET", r"^/jobs$"))
        host.run("sleep 3")  # several looks long
        assert len(host.mock.requests("GET", r"^/jobs$")) == looks
        assert host.mock.job(job_id).status == "queued"
        assert host.ask("resume")[0] == 0
        host.await_true(lambda: host.verdicts(job_id) == ["finished"], "it is finished")

    on_each(hosts, tell)


def test_a_drain_ends_the_service_after_its_job(hosts):
    """`drain --exit` waits for the job; the service has ended then and stays so until it is started."""

    def tell(host):
        job_id, _ = host.start_job()
        host.run("systemd-run --quiet --unit=drain --property=RemainAfterExit=yes decode-agent drain --exit")
        line = f"Leaving: job {job_id} still runs"
        host.await_true(lambda: host.station.status_line.startswith(line), line)
        waiting = host.station.submit("true")
        host.let_go(job_id)
        host.await_true(lambda: not host.station.is_active, "the service has ended")
        assert host.verdicts(job_id) == ["finished"]
        state = "systemctl show -P SubState drain"
        host.await_true(lambda: host.run(state).stdout.strip() == "exited", "the command has ended well")
        host.run("sleep 12")  # longer than RestartSec
        assert host.station.show("ActiveState") == "inactive"
        assert host.ask("status")[0] == 3
        assert host.mock.job(waiting).status == "queued"
        host.run("systemctl stop drain; systemctl start decode-agent")
        host.await_true(lambda: host.verdicts(waiting) == ["finished"], "it is finished")

    on_each(hosts, tell)


def test_the_watchdog_restarts_an_agent_that_hangs(hosts):
    """A stopped process is aborted, its stacks are in the journal, its job goes on in the same container."""

    def tell(host):
        host.override(WATCHDOG)
        job_id, container = host.start_job()
        pid, restarts = host.life()
        host.run(f"kill -STOP {pid}")
        host.await_true(
            lambda: host.station.is_active and host.station.main_pid not in {0, pid}, "it was restarted"
        )
        assert int(host.station.show("NRestarts")) == int(restarts) + 1
        assert host.station.container_id(job_id) == container
        said = messages(host, f"_PID={pid}")
        stacks = [one for one in said if one.startswith(("Thread 0x", "Current thread 0x"))]
        assert len(stacks) >= 3  # main, heartbeat, the job's
        assert any("in wait" in one or "in _watch" in one for one in said)
        assert any("Watchdog timeout" in one for one in messages(host))
        found = host.run("find / -xdev -path /proc -prune -o -type f -name 'core*' -size +1M -print").stdout
        assert found == "", "a core dump holds the password"
        host.let_go(job_id)
        host.await_true(lambda: host.verdicts(job_id), "it is over")
        assert host.verdicts(job_id) == ["finished"]
        assert len(host.mock.mails(job_id)) == 1

    on_each(hosts, tell)


def test_other_users_get_at_nothing(hosts):
    """Neither files nor the socket nor the process; the group may ask the service, and no more."""

    def tell(host):
        job_id, _ = host.start_job()
        pid = host.station.main_pid
        folder = f"/var/lib/decode-agent/jobs/{job_id}"
        socket = "/run/decode-agent/control.sock"
        secret = [
            "cat /etc/decode-agent/keyring.*", "cat /run/credentials/decode-agent.service/*",
            "ls /var/lib/decode-agent", "cat /var/lib/decode-agent/agent.db", f"ls {folder}",
            f"touch {folder}/files/output/go", f"cat {folder}/files/output/*", f"cat /proc/{pid}/environ",
            f"head -c1 /proc/{pid}/mem", f"kill {pid}", "systemctl stop decode-agent",
            "systemctl reload decode-agent", "journalctl -q -u decode-agent | grep .", "docker ps",
        ]  # fmt: skip
        closed = [
            "cat /etc/decode-agent/agent.env", "decode-agent status", "decode-agent pause",
            "decode-agent logs 1", f"curl -sf --unix-socket {socket} http://localhost/v1/jobs",
            f"rm {socket}",
        ]  # fmt: skip
        for user, commands in (("mallory", secret + closed), ("olga", secret)):
            for command in commands:
                done = host.run(command, user=user, check=False)
                assert done.returncode != 0, f"{user} may: {command}"
        said = host.run("decode-agent status", user="mallory", check=False)
        assert "group decode-agent" in said.stderr
        assert "Traceback" not in said.stderr
        assert f"job {job_id}" in host.run("decode-agent status", user="olga").stdout
        assert host.station.main_pid == pid
        assert host.mock.job(job_id).status == "running"
        host.let_go(job_id)
        host.await_true(lambda: host.verdicts(job_id) == ["finished"], "it is finished")

    on_each(hosts, tell)


def test_no_secret_is_anywhere(hosts, disclosed):
    """After a full life with debug logs: none in any place; each kind of place gives a planted one away."""

    def tell(host):
        job_id = secret_life(host)
        secrets = {"password": [PASSWORD], **disclosed.secrets()}
        assert all(secrets.values())
        found = {}
        for user in ("", "mallory"):
            with planted(host) as (marks, places):
                found[user] = host.sweep({**secrets, "planted": marks}, user)
            told = {place for place, kind in found[user] if kind == "planted"}
            assert [place for place in places(user) if not any(re.search(place, one) for one in told)] == []
        host.let_go(job_id)
        leaks = {user: {one for one in found[user] if one[1] != "planted"} for user in found}
        # Decrypted for the service by systemd, in memory, for its user and root alone.
        kept = ("/run/credentials/decode-agent.service/decode-agent.keyring", "password")
        assert leaks == {"": {kept}, "mallory": set()}
        assert "RuntimeError: forced" in host.said
        assert not [text for texts in secrets.values() for text in texts if text in host.said]

    on_each(hosts, tell)


def test_a_reboot_is_not_the_jobs_fault(hosts):
    """In order or by a power cut: the service comes up by itself and runs the job again, to one verdict."""

    def tell(host):
        for how in (ServiceHost.power_off, ServiceHost.cut_power):
            job_id, _ = host.start_job()
            held_up = messages(host).count(HELD_UP)
            host.reboot(how)
            host.await_true(lambda: host.station.is_active, "the service is up")
            runs = f"Container decode-job-{job_id} runs."
            host.await_true(
                lambda job_id=job_id, runs=runs: (
                    sum(runs in one for one in messages(host, f"JOB_ID={job_id}")) == 2
                ),
                "its second attempt",
            )
            assert messages(host).count(HELD_UP) == held_up
            host.let_go(job_id)
            host.await_true(lambda job_id=job_id: host.verdicts(job_id), "it is over")
            assert host.verdicts(job_id) == ["finished"]
            assert len(host.mock.mails(job_id)) == 1

    on_each(hosts, tell)


def test_a_shutdown_waits_for_an_upload(hosts):
    """It is delivered first; one that takes too long goes on after the boot."""
    size_bytes = 600_000

    def tell(host):
        for delivered, bytes_per_s in (([], 600), (["finished"], 60_000)):
            slow = host.mock.fault("slow", "POST", "^/decode-data", times=None, bytes_per_s=bytes_per_s)
            job_id = host.station.submit(f"head -c {size_bytes} /dev/zero > /files/output/result")
            match = f"JOB_ID={job_id}"
            host.await_true(
                lambda match=match: any("Phase STAGING_OUT" in one for one in messages(host, match)),
                "uploads",
            )
            held_up = messages(host).count(HELD_UP)
            host.reboot(ServiceHost.power_off)
            assert host.verdicts(job_id) == delivered
            assert messages(host).count(HELD_UP) == held_up + 1
            host.mock.state.faults.remove(slow)
            host.await_true(lambda job_id=job_id: host.verdicts(job_id) == ["finished"], "it is delivered")
            assert len(host.mock.output(job_id, "output/result")) == size_bytes

    on_each(hosts, tell)


@pytest.mark.parametrize("role", [API_AWAY, DOCKER_AWAY])
def test_an_outage_of_minutes_restarts_nothing(world, role):
    """The same process throughout, degraded meanwhile; then it goes on, and each job has one verdict."""
    world[1][role].result()
