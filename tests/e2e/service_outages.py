"""Three minutes without the API, three minutes without Docker: what a service makes of them."""

import re
import time

from tests.e2e.service_hosts import AGAIN_S, ServiceHost

OUTAGE_S = 180.0
WATCHDOG = "WatchdogSec=20"
"""So that a watchdog that is not fed in an outage would strike in it."""
SINCE = r"\(since \d\d:\d\d\)"


class Outage:
    """So many seconds from now on; what is asked meanwhile is known to have been asked in time."""

    def __init__(self, host: ServiceHost) -> None:
        self._host = host
        self._began_at = time.monotonic()

    def last(self, seconds: float) -> None:
        """Wait until it has lasted so long."""
        time.sleep(max(0.0, self._began_at + seconds - time.monotonic()))

    def is_shown(self, doing: str) -> None:
        """Wait until status line, exit code and `decode-agent status` all say what is in the way."""
        host = self._host
        host.await_true(lambda: re.search(doing, host.station.status_line), f"the status line has {doing}")
        code, said = host.ask("status")
        assert code == 4, said
        assert "degraded" in said


def without_the_api(host: ServiceHost) -> str:
    """Nothing listens, then somebody does but never answers; a job ends meanwhile. What was found wrong."""
    host.override(WATCHDOG)
    job_id, container = host.start_job()
    life = host.life()
    host.refuse()
    outage = Outage(host)
    outage.last(OUTAGE_S / 3)
    assert host.station.container_id(job_id) == container
    host.let_go(job_id)
    outage.last(OUTAGE_S / 2)
    host.hang()
    outage.is_shown(f"no good answer from the API {SINCE}")
    assert host.verdicts(job_id) == []
    outage.last(OUTAGE_S)
    assert host.life() == life
    host.answer()
    host.await_true(lambda: host.verdicts(job_id), f"job {job_id} is reported", AGAIN_S)
    assert host.mock.output(job_id, "output/result") == b"done\n"
    assert host.verdicts(host.do_a_job()) == ["finished"]
    assert host.verdicts(job_id) == ["finished"]
    assert host.ask("status")[0] == 0
    assert host.life() == life
    return job_id


def without_docker(host: ServiceHost) -> str:
    """Docker ends, and the running container with it; the job runs again when it is back."""
    host.override(WATCHDOG)
    job_id, _ = host.start_job()
    life = host.life()
    host.run("systemctl stop docker.socket docker")
    outage = Outage(host)
    outage.is_shown(rf"job {job_id}: Docker .*{SINCE}")
    outage.last(OUTAGE_S)
    assert host.life() == life
    assert host.verdicts(job_id) == []
    host.run("systemctl start docker.socket docker")
    host.await_running(job_id)
    host.let_go(job_id)
    host.await_true(lambda: host.verdicts(job_id), f"job {job_id} is reported", AGAIN_S)
    assert host.verdicts(host.do_a_job()) == ["finished"]
    assert host.verdicts(job_id) == ["finished"]
    assert host.ask("status")[0] == 0
    while_idle(host)
    assert host.life() == life
    return job_id


def while_idle(host: ServiceHost) -> None:
    """Docker is away when there is nothing to do: the status line says what is waited for."""
    host.run("systemctl stop docker.socket docker")
    Outage(host).is_shown(rf"^Waiting: Docker .*{SINCE}")
    host.run("systemctl start docker.socket docker")
    assert host.verdicts(host.do_a_job()) == ["finished"]
