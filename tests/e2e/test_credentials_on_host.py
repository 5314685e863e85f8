"""The account's password on really booted hosts: handed to the unit by systemd, and to nobody else."""

from pathlib import Path

import pytest

from tests.e2e.hosts import Kind
from tests.e2e.installed_host import ACCOUNT, ENV_FILE, installed

pytestmark = [pytest.mark.host, pytest.mark.docker]

DROP_IN = Path("/etc/systemd/system/decode-agent.service.d/10-credentials.conf")
STORES = "/etc/decode-agent/keyring.*"


@pytest.fixture(params=list(Kind), ids=str)
def host(request, host_engine, api_of_hosts):
    """A workstation whose service runs with the credentials that install.sh was given."""
    with installed(request.param, host_engine, api_of_hosts) as station:
        yield station


def test_story_of_a_password(host):
    """Encrypted, removed, put back, and where systemd cannot encrypt: the unit has it, others do not."""
    the_unit_reads_what_nobody_else_may(host, "keyring.cred (encrypted with this machine's key)")
    without_it_the_service_stays_down(host)
    logging_in_brings_it_back(host)
    a_wrong_password_changes_nothing(host)
    as_on_a_systemd_that_cannot_encrypt(host)
    the_unit_reads_what_nobody_else_may(host, "keyring.json (not encrypted, readable by root alone)")


def the_unit_reads_what_nobody_else_may(host, where):
    """The service works with it; another user sees neither file, and is told what to do."""
    host.await_true(lambda: host.is_active, "the service runs")
    assert where in host.run("decode-agent whoami").stdout
    denied = host.run(f"cat {STORES} /run/credentials/decode-agent.service/*", user="nobody", check=False)
    assert (denied.returncode, denied.stdout) == (1, "")
    host.write(Path("/tmp/other.env"), f"API_URL={host.mock.url}\n".encode())
    told = host.run("decode-agent whoami --env-file /tmp/other.env", user="nobody", check=False)
    assert told.returncode == 78
    assert "sudo decode-agent login" in told.stderr
    assert (
        ACCOUNT[1] not in host.run(f"systemctl show decode-agent; cat /proc/{host.main_pid}/environ").stdout
    )


def without_it_the_service_stays_down(host):
    """After logout a start ends with 78 and the way out, and is not tried again."""
    assert "systemctl stop decode-agent" in host.run("decode-agent logout").stdout
    assert host.is_active
    assert host.run("systemctl restart decode-agent", check=False).returncode != 0
    assert (host.show("ActiveState"), host.show("ExecMainStatus")) == ("failed", "78")
    assert "no credentials: sudo decode-agent login" in host.journal("-n", "6")
    assert host.run("decode-agent whoami", check=False).returncode == 78


def logging_in_brings_it_back(host):
    """A service that failed for lack of credentials is started by a login."""
    said = host.run(f"decode-agent login --from {ENV_FILE}").stdout
    assert "The service was restarted with them" in said
    assert host.is_active


def a_wrong_password_changes_nothing(host):
    """It is refused before it is stored, and the service runs on."""
    pid = host.main_pid
    words = f"decode-agent login --username {ACCOUNT[0]} --password-stdin <<< wrong"
    assert host.run(words, check=False).returncode == 78
    assert host.main_pid == pid
    assert "worker    yes" in host.run("decode-agent whoami").stdout


def as_on_a_systemd_that_cannot_encrypt(host):
    """What install.sh leaves there on systemd 247 to 249: the plain file and LoadCredential=."""
    host.run(f"rm {STORES} && install -m 600 /dev/null /etc/decode-agent/keyring.json")
    line = host.run("decode-agent login --store-only").stdout
    assert line == "LoadCredential=decode-agent.keyring:/etc/decode-agent/keyring.json\n"
    host.write(DROP_IN, f"[Service]\n{line}".encode())
    host.run("systemctl daemon-reload")
    host.run(f"decode-agent login --from {ENV_FILE}")
    assert host.run(f"stat -c '%a %U' {STORES}").stdout == "600 root\n"
