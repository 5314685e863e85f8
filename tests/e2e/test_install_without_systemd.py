"""A machine that systemd does not run, such as a container or an old habit."""

import pytest

from tests.e2e.hosts import Kind
from tests.e2e.installed_host import workstation

pytestmark = [pytest.mark.host, pytest.mark.docker]


def test_installs_and_says_how_to_run_it(host_engine, api_of_hosts):
    """The command is there and takes a job in the foreground; purge leaves nothing."""
    with workstation(Kind.BOOKWORM, host_engine, api_of_hosts, systemd=False) as station:
        done = station.install()
        assert "systemd does not run this machine: sudo decode-agent run" in done.stdout
        job_id = station.submit("echo hello > /files/output/greeting")
        station.run("decode-agent run --until-idle")
        assert station.mock.job(job_id).status == "finished"
        assert "Nothing to change" in station.install().stdout
        station.install("--purge --yes")
        left = "ls -d /opt/decode-agent /etc/decode-agent /var/lib/decode-agent /usr/local/bin/decode-agent"
        assert station.run(left, check=False).stdout == ""
