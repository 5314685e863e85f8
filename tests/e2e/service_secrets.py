"""A service's full life under watch, and secrets that are planted to see that a sweep would find them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mock_api.faults import FaultKind
from tests.e2e.installed_host import ACCOUNT, ENV_FILE
from tests.e2e.service_hosts import FILES_UP, SEEN, ServiceHost
from tests.engine_host import IMAGES

PASSWORD = "Quagga-7f3a/zebra&okapi"
MARK = "Planted-51c9/under the&fig tree"
FORCED = "/var/lib/decode-agent/forced"
OPEN_FOLDERS = ("/etc", "/var/log", "/run", "/tmp", "/opt/decode-agent", "/usr/local/share")
CLOSED_FOLDERS = ("/etc", "/var/lib/decode-agent", "/var/lib/systemd/coredump")
UNIT_PLANT = Path("/run/systemd/system/decode-agent.service.d/99-planted.conf")
WITH_MARK = """X="$(cat /root/mark)" bash -c 'exec -a "x$X" "$@" >/dev/null 2>&1' bash"""
# Fails like any library may: with an error that holds all that was to be sent.
SABOTAGE = f"""
def _fail_or_send(self, request, _send=Session.send, **options):
    held = f"{{request.url}} {{dict(request.headers)}} {{request.body}}"
    if os.path.exists("{FORCED}") and open("{FORCED}").read().strip() in held:
        raise RuntimeError("forced: " + held)
    return _send(self, request, **options)
import os
Session.send = _fail_or_send
"""


def secret_life(host: ServiceHost) -> str:
    """Everything that has to do with secrets, under watch; the job that runs in the end."""
    host.station.write(Path("/root/password"), PASSWORD.encode(), mode=0o600)
    sabotage(host)
    host.station.write(Path("/root/mark"), MARK.encode(), mode=0o600)
    with host.watched():
        both_seen = f"[ $(grep -cFf /root/mark {SEEN}) -ge 2 ]"
        host.run(f"{WITH_MARK} sleep 1000 & until {both_seen}; do sleep 0.1; done; kill $!")
        commands = (
            f"login --from {ENV_FILE}",
            f"login --username {ACCOUNT[0]} --password-stdin < /root/password",
            f"login --username {ACCOUNT[0]} --password-stdin --no-restart <<< {PASSWORD[:-1]!r}",
            "whoami", "doctor", "check", "status", "status --json", "jobs",
        )  # fmt: skip
        said = [host.ask(command) for command in commands]
        assert [code for code, _ in said[:4]] == [0, 0, 78, 0], said
        host.said += "".join(text for _, text in said)
        work_with_trouble(host)
        fail_with_all_in_hand(host)
        job_id, _ = host.start_job(files={"data": b"42"})
        host.said += host.ask(f"logs {job_id}")[1] + host.ask("whoami --json")[1]
    return job_id


def work_with_trouble(host: ServiceHost) -> None:
    """Inputs and outputs over a storage that cuts and refuses, with tokens that run out and are revoked."""
    accounts = host.mock.state.accounts
    copy = "cat /files/data > /files/output/result; echo seen > /files/log/log"
    host.mock.fault(FaultKind.drop, "GET", "^/decode-data/", times=2)
    host.mock.fault(FaultKind.status, "GET", "^/decode-data/", status=403, body="<Code>AccessDenied</Code>")
    host.mock.fault(FaultKind.drop, "POST", "^/decode-data", times=2)
    host.mock.expire_tokens()
    done = host.do_a_job(f"mkdir -p /files/log; {copy}", files={"data": b"42"}, files_up=FILES_UP)
    assert host.verdicts(done) == ["finished"]
    host.mock.expire_tokens()
    accounts.revoke_refresh_tokens()
    host.mock.fault(FaultKind.status, "PUT", "^/jobs/", status=500, body="<html>no</html>")
    assert host.verdicts(host.do_a_job("exit 3")) == ["error"]


def sabotage(host: ServiceHost) -> None:
    """Change the installed library; it takes effect with the next start of the service."""
    path = "/opt/decode-agent/current/venvs/decode-agent/lib/python3*/site-packages/requests/sessions.py"
    host.station.write(Path("/root/sabotage"), SABOTAGE.encode())
    host.run(f"for one in {path}; do cat /root/sabotage >> $one; done")
    host.run(f"rm -f {path.replace('sessions.py', '__pycache__/sessions.*')}")


def fail_with_all_in_hand(host: ServiceHost) -> None:
    """Errors that hold an ID token, a refresh token, the password, in the service and in commands."""
    job_id, _ = host.start_job()
    forced_by(host, "Authorization")
    host.mock.expire_tokens()
    forced_by(host, "REFRESH_TOKEN")
    host.run(f"echo PASSWORD > {FORCED}; systemctl restart decode-agent")
    host.said += host.ask(f"login --from {ENV_FILE} --no-restart")[1] + host.ask("whoami")[1]
    host.await_true(lambda: forced_errors(host, "PASSWORD"), "an error has held the password")
    host.run(f"rm {FORCED}; systemctl restart decode-agent")
    host.let_go(job_id)
    host.await_true(lambda: host.verdicts(job_id) == ["finished"], f"job {job_id} is finished")


def forced_by(host: ServiceHost, what: str) -> None:
    """Requests that have this in them fail, until the service has said so."""
    host.run(f"echo {what} > {FORCED}")
    host.await_true(lambda: forced_errors(host, what), f"an error has held {what}")


def forced_errors(host: ServiceHost, what: str) -> bool:
    """Whether the service's log has such an error."""
    return bool(re.search(rf"RuntimeError: forced: .*{what}", host.station.journal()))


@contextmanager
def planted(host: ServiceHost) -> Iterator[tuple[list[str], Callable[[str], set[str]]]]:
    """What is planted, and patterns of the places where that user must find it (empty: root)."""
    for folder in OPEN_FOLDERS:
        host.station.write(Path(folder, "planted-open"), f"x{MARK}y".encode())
    for folder in CLOSED_FOLDERS:
        host.station.write(Path(folder, "planted-closed"), f"x{MARK}y".encode(), mode=0o600)
    host.station.write(UNIT_PLANT, f'[Service]\nEnvironment="X={MARK}"\n'.encode())
    host.run("systemctl daemon-reload")
    host.run("""printf 'MESSAGE=x\\nFIELD=%s\\n' "$(cat /root/mark)" | logger --journald""")
    host.run("echo -n user:$(cat /root/mark) | base64 -w0 > /tmp/planted-base64")
    host.run(f'docker run -d --name planted --label "x=$(cat /root/mark)" {IMAGES.busybox} cat /etc/mark')
    host.run(f"{WITH_MARK} sleep 1000 & echo $! > /root/planted.pid")
    try:
        yield [MARK], places
    finally:
        paths = [f"{folder}/planted-*" for folder in (*OPEN_FOLDERS, *CLOSED_FOLDERS)]
        host.run(f"rm -f {' '.join(paths)} {UNIT_PLANT}; systemctl daemon-reload; docker rm -f planted")
        host.run("kill $(cat /root/planted.pid)")


def places(user: str) -> set[str]:
    """Patterns of the places where a planted secret is found by that user (empty: root)."""
    files = {f"^{folder}/planted-open$" for folder in OPEN_FOLDERS} | {"^/tmp/planted-base64$"}
    everybody = files | {"^systemctl show$", "^systemctl cat$"}
    if user:
        return everybody
    closed = {f"^{folder}/planted-closed$" for folder in CLOSED_FOLDERS}
    tools = {"^journal$", "^docker inspect$"}
    return everybody | closed | tools | {f"^{what} of a process" for what in ("environ", "cmdline")}


__all__ = ["MARK", "PASSWORD", "places", "planted", "secret_life"]
