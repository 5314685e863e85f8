"""`decode-agent doctor` where it belongs: on workstations with the service, their own systemd and Docker."""

import json
from pathlib import Path

import pytest

from agent import __version__
from tests.e2e.hosts import Kind
from tests.e2e.installed_host import ACCOUNT, a_chapter, installed

pytestmark = [pytest.mark.host, pytest.mark.docker]

STORE = "/etc/decode-agent/keyring.cred"
UNTIL_LET_GO = "until [ -e /files/output/go ]; do sleep 0.2; done"


@pytest.fixture(scope="module", params=list(Kind), ids=str)
def one_station(request, host_engine, api_of_hosts):
    with installed(request.param, host_engine, api_of_hosts) as one:
        yield one


@pytest.fixture
def station(one_station, request):
    """The host as the test before has left it; after a failure the story is over."""
    yield from a_chapter(one_station, request.session)


def examined(station, options="", user="root"):
    """The exit code, and the findings as (about, state, text), in their order."""
    done = station.run(f"decode-agent doctor --json {options}", user=user, check=False, timeout=180)
    assert done.stderr == ""
    assert ACCOUNT[1] not in done.stdout
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, [(one["about"], one["state"], one["text"]) for one in findings]


def only(findings, *states):
    return [one for one in findings if one[1] in states]


def traces(station):
    """What a doctor could leave behind or disturb."""
    return {
        "containers": station.run("docker ps --all --no-trunc --format '{{.ID}}'").stdout,
        "images": station.run("docker images --all --quiet").stdout,
        "state": station.run("ls -A /var/lib/decode-agent /var/lib/decode-agent/jobs").stdout,
        "units": station.run("systemctl list-units --all --plain --no-legend 'run-*.service'").stdout,
        "pid": station.main_pid,
        "runtime": station.run("ls -ln /run/decode-agent").stdout,
    }


def test_a_workstation_that_was_just_installed_is_well(station):
    """0 and nothing failed; the service's own eyes see credentials, API, folders and Docker."""
    code, findings = examined(station)
    assert (code, only(findings, "failed", "skipped")) == (0, [])
    good = {(about, text) for about, state, text in findings if state == "ok"}
    assert ("version", f"{__version__}: this program, the service's, what runs") in good
    texts = "\n".join(f"{about}: {text}" for about, text in good)
    for part in (
        "service: active (running)",
        "service: starts with the machine",
        f"credentials: the service can read them: {ACCOUNT[0]}",
        "account: the API takes it as a worker",
        "api: the service reaches it",
        "docker: the service reaches it",
        "container: a test container ran",
        "gpu: no GPU: works as a CPU worker",
        "folders: PATH_HOST_BASE=/var/lib/decode-agent/jobs",
    ):
        assert part in texts
    assert not [one for one in only(findings, "warning") if one[0] == "service"]


def test_it_leaves_nothing_and_disturbs_nobody(station):
    """A job that runs meanwhile runs on in the same container, under the same agent."""
    job_id = station.submit(UNTIL_LET_GO)
    station.await_true(lambda: station.container_id(job_id), "the job's container is there")
    before = traces(station)
    assert examined(station)[0] == 0
    assert traces(station) == before
    station.run(f"touch /var/lib/decode-agent/jobs/{job_id}/files/output/go")
    station.await_status(job_id, "finished")


def test_it_says_less_to_other_users(station):
    """Without root nothing fails for that reason: what may not be seen is skipped, and says so."""
    station.run("useradd --create-home visitor")
    code, findings = examined(station, user="visitor")
    assert (code, only(findings, "failed")) == (0, [])
    assert {about for about, _, text in findings if "needs root" in text} >= {"settings", "sandbox", "docker"}


def test_credentials_that_the_service_cannot_read(station):
    """It is seen from the unit: a store of another machine cannot be decrypted."""
    station.run(f"cp -a {STORE} /root/kept && head -c 300 /dev/urandom | base64 > {STORE}")
    code, findings = examined(station, "--no-container")
    station.run(f"mv /root/kept {STORE}")
    assert code == 1
    said = {about: text for about, state, text in findings if state == "failed"}
    assert "systemd cannot hand the credentials to the service" in said["credentials"]


def test_a_folder_that_the_sandbox_closes(station):
    """Root may write there, the service may not: only the trial as the service can tell."""
    env = "/etc/decode-agent/agent.env"
    station.run(
        f"mkdir -p /data && chmod 777 /data && cp -a {env} /root/env && echo PATH_HOST_BASE=/data >> {env}"
    )
    code, findings = examined(station, "--no-container")
    station.run(f"cp -a /root/env {env}")
    assert code == 1
    text = next(text for about, state, text in findings if (about, state) == ("folders", "failed"))
    assert text == "PATH_HOST_BASE=/data: cannot write in /data (Read-only file system)"


def test_fix_mends_what_is_harmless(station):
    """A service that is stopped and disabled, needrestart without its override; each is said, then well."""
    override = Path("/etc/needrestart/conf.d/decode-agent.conf")
    station.run("systemctl disable --no-reload --now decode-agent")
    station.run(f"mkdir -p {override.parent} && rm -f {override} && touch /etc/needrestart/needrestart.conf")
    code, findings = examined(station, "--no-container")
    assert code == 1
    assert ("service", "failed", "it does not run") in findings
    code, findings = examined(station, "--no-container --fix")
    assert (code, only(findings, "failed")) == (0, [])
    assert [text for about, _, text in findings if about == "fix"] == [
        "done: systemctl start decode-agent.service",
        "done: systemctl enable --no-reload decode-agent.service",
        f"done: wrote {override}",
    ]
    assert station.is_active
    assert station.run("systemctl is-enabled decode-agent").stdout.strip() == "enabled"
    assert "fix" not in {about for about, _, _ in examined(station, "--no-container --fix")[1]}
