"""What install.sh does not do: each ends in a clear line, exit code not 0, and the machine as it was."""

from pathlib import Path

import pytest

from tests.e2e.host_snapshot import snapshot
from tests.e2e.hosts import Kind
from tests.e2e.installed_host import ENV_FILE, SOURCE, WHEELS, a_chapter, workstation

pytestmark = [pytest.mark.host, pytest.mark.docker]

USUAL = f"--yes --env-file {ENV_FILE} --offline {WHEELS}"


@pytest.fixture(scope="module")
def one_station(host_engine, api_of_hosts):
    """One kind of host: nothing of this depends on the release."""
    with workstation(Kind.BOOKWORM, host_engine, api_of_hosts) as one:
        one.fresh = snapshot(one.host)
        yield one


@pytest.fixture
def station(one_station, request):
    """The host as it was; if a test has failed, it may not be so any more."""
    yield from a_chapter(one_station, request.session)


@pytest.fixture
def refused(station):
    """Whoever calls it sees the last error's line; afterwards the machine has to be as it was."""

    def run(options, said, code=1):
        done = station.install(options, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert said in done.stderr

    yield run
    assert snapshot(station.host) == station.fresh


def test_without_root(station):
    """The script says what it needs before it looks for anything."""
    done = station.run(f"cd /; runuser -u nobody -- bash -s -- --yes < {SOURCE}/install.sh", check=False)
    assert done.returncode == 1
    assert "this needs root: sudo ./install.sh --yes" in done.stderr


def test_wrong_options(refused):
    """Exit code 2."""
    refused("--frobnicate", "unknown option --frobnicate", code=2)
    refused("--yes --env-file", "--env-file needs a value", code=2)
    refused("--demo=x", "unknown option --demo=x", code=2)
    refused("--yes --demo", "--demo takes no further options", code=2)


def test_files_that_are_no_settings(station, refused):
    """No file, a folder, a picture, a file without the API's address, one with a relative folder."""
    refused("--yes", "no settings yet: cp .env.example .env")
    refused("--yes --env-file /root/none", "/root/none does not exist")
    refused("--yes --env-file /root", "/root is no file")
    station.write(Path("/root/picture"), b"\x89PNG\xff\xfe")
    refused("--yes --env-file /root/picture", "not text in UTF-8")
    odd = Path("/root/odd.env")
    station.write_env({"API_URL": ""}, odd)
    refused(f"--yes --env-file {odd}", f"API_URL is not set in {odd}")
    station.write_env({"PATH_HOST_BASE": "data"}, odd)
    refused(f"--yes --env-file {odd}", "PATH_HOST_BASE=data is not an absolute path")


def test_no_credentials_and_nobody_to_ask(station, refused):
    """It names the ways to give them."""
    odd = Path("/root/odd.env")
    station.write_env({"PASSWORD": ""}, odd)
    refused(f"--yes --env-file {odd}", "no credentials: set USERNAME and PASSWORD", code=2)


def test_a_full_disk(station, refused):
    """It says where how much is missing."""
    station.run("mount -t tmpfs -o size=100m,mode=755 tmpfs /opt")
    refused(USUAL, "/opt has 100 MiB free, 300 are needed")
    station.run("umount /opt")


def test_a_disk_that_fills_up(station, refused):
    """Room enough by the look of it, and then not: what was written is gone again."""
    checks = SOURCE / "packaging/install/checks.sh"
    station.run(f"sed -i 's/^NEEDED_MIB=.*/NEEDED_MIB=1/' {checks}")
    station.run("mount -t tmpfs -o size=20m,mode=755 tmpfs /opt && touch /opt/mine")
    refused(USUAL, "no space left for the program: /opt/decode-agent has")
    assert station.run("ls /opt").stdout.split() == ["mine"]
    station.run(f"umount /opt && sed -i 's/^NEEDED_MIB=.*/NEEDED_MIB=300/' {checks}")


def test_an_old_python(station, refused):
    """The newest that is there is named."""
    station.write(Path("/root/python"), b"#!/bin/sh\necho Python 3.9.2; exit 1\n", mode=0o755)
    real = station.run("realpath /usr/bin/python3").stdout.strip()
    station.run(f"mount --bind /root/python {real}")
    refused(USUAL, "Python 3.11 or newer is needed, only Python 3.9.2 is installed")
    station.run(f"umount {real}")


def test_docker_that_does_not_answer(station, refused):
    """It says how to start it."""
    station.run("systemctl stop docker.socket docker.service")
    refused(USUAL, "sudo systemctl")
    station.run("systemctl start docker")


def test_two_at_once(station, refused):
    """The second ends at once."""
    hold = "exec 9>>/run/decode-agent-install.lock; flock 9; touch /root/held; exec sleep 60"
    station.run(f"systemd-run --quiet --unit=other-install bash -c '{hold}'")
    station.await_true(
        lambda: not station.run("test -e /root/held", check=False).returncode, "the lock is held"
    )
    refused(USUAL, "another run of install.sh is at work")
    station.run("systemctl stop other-install; rm /root/held")


def test_a_folder_of_wheels_that_lacks_some(station, refused):
    """All that is missing is named at once, and how to get it."""
    station.run(f"cp -r {WHEELS} /root/less && rm /root/less/requests-* /root/less/hatchling-*")
    refused(f"--yes --env-file {ENV_FILE} --offline /root/less", "/root/less lacks: requests hatchling.")
    refused(f"--yes --env-file {ENV_FILE} --offline /root/nowhere", "there is no folder /root/nowhere")


def test_failures_after_the_program_was_installed(station, refused):
    """A refused password, a setting that the agent refuses: program, user and files are gone again."""
    odd = Path("/root/odd.env")
    for wrong, said in ({"PASSWORD": "wrong"}, "password"), ({"TIMEOUT_JOB": "soon"}, "TIMEOUT_JOB=soon"):
        station.write_env(wrong, odd)
        refused(f"--yes --env-file {odd} --offline {WHEELS}", said)


def test_an_end_in_the_middle(station, refused):  # noqa: ARG001  which looks afterwards
    """A signal while pip is at work, to all of it as Ctrl-C does: what was made is gone again."""
    station.run(f"systemd-run --quiet --unit=cut-short {SOURCE}/install.sh {USUAL}")
    at_work = "test -d /opt/decode-agent/versions/*/venvs"
    station.await_true(lambda: not station.run(at_work, check=False).returncode, "pip is at work")
    station.run("systemctl kill --signal=TERM cut-short")
    is_over = "systemctl show -P ActiveState cut-short"
    station.await_true(lambda: station.run(is_over).stdout.strip() in {"failed", "inactive"}, "it has ended")
    assert "The machine is as it was before." in station.run("journalctl -q -u cut-short -o cat").stdout
    station.run("systemctl reset-failed cut-short")


def test_no_network(station, refused):
    """What pip says last is shown, and the way to do without."""
    station.run("ip route > /root/routes; ip route del default")
    station.write(Path("/root/.config/pip/pip.conf"), b"[global]\nretries = 0\n")
    refused(f"--yes --env-file {ENV_FILE}", "Without a network: --offline DIR")
    station.run("ip route add $(grep default /root/routes); rm -r /root/.config/pip")
