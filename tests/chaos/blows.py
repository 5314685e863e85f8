"""The blows: how each one falls, and what takes it back."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from agent.core.errors import AgentError
from agent.core.status import Mode
from mock_api.job import TERMINAL, Offer
from mock_api.server import RunningMock
from mock_api.specs import JobState
from tests.chaos.facts import Fallen
from tests.chaos.plan import Blow, BlowKind
from tests.chaos.workstation import Workstation, docker_quickly, kill_container

JOB_TIMEOUT_S = 100_000
"""The stand-in's patience with a silent job: none times out by accident, `AWAY` sets its clock forward."""

OTHER = "worker2@example.com"
_PROXY_PAGE = "<html><head><title>404 Not Found</title></head><body>nginx</body></html>"
_STATUS = "/jobs/[0-9]+/status$"
_DOWN = "(/download$|^/decode-data/)"
_UP = "(/files/upload$|^/decode-data$)"

FAULTS: dict[BlowKind, tuple[dict[str, object], ...]] = {
    BlowKind.API_500: ({"kind": "status", "path": "^/(jobs|files)"},),
    BlowKind.API_SILENT: ({"kind": "hang", "path": _STATUS, "times": 2},),
    BlowKind.API_CUT: ({"kind": "truncate", "path": "^/(jobs|files/.*/url)", "at_bytes": 7},),
    BlowKind.API_401: (
        {"kind": "status", "path": "^/(jobs|files)", "status": 401, "body": '{"detail":"Not verified"}'},
    ),
    BlowKind.API_PROXY: (
        {
            "kind": "status",
            "path": "^/(jobs|files)",
            "status": 404,
            "headers": {"content-type": "text/html"},
            "body": _PROXY_PAGE,
        },
    ),
    BlowKind.LOST_ANSWER: (
        {"kind": "drop", "path": _STATUS, "after": True, "times": 6},
        {"kind": "drop", "path": "/files/upload$", "after": True, "times": 3},
        {"kind": "drop", "path": "^/jobs$", "after": True},
    ),
    BlowKind.LOGIN_AWAY: ({"kind": "status", "method": "POST", "path": "^/$", "status": 503},),
    BlowKind.STORAGE_CUT: (
        {"kind": "truncate", "method": "GET", "path": _DOWN, "times": 8},
        {"kind": "drop", "method": "POST", "path": _UP, "times": 8},
    ),
    BlowKind.STORAGE_SLOW: ({"kind": "slow", "path": f"({_DOWN}|{_UP})", "bytes_per_s": 40_000},),
    # Announced too long: a body cut to a length that is too short looks like any good one.
    BlowKind.STORAGE_LIES: ({"kind": "length", "method": "GET", "path": _DOWN, "times": 6, "length_off": 5},),
    BlowKind.STORAGE_STALLS: (
        {"kind": "stall", "method": "GET", "path": _DOWN, "times": 3},
        {"kind": "hang", "method": "POST", "path": _UP, "times": 3},
    ),
    BlowKind.STORAGE_403: (
        {
            "kind": "status",
            "path": f"({_DOWN}|{_UP})",
            "status": 403,
            "body": "<Error><Code>AccessDenied</Code></Error>",
        },
    ),
}
_AIM_S = 1.5
_AT_BYTES = {BlowKind.STORAGE_CUT, BlowKind.STORAGE_STALLS}


class Fists:
    """Deals the blows out. `jobs`: the queue's ids of this storm's jobs by their names, as they come.

    `fall` and `lift` must be called in turn for each blow, from the main thread.
    """

    def __init__(self, station: Workstation, jobs: dict[str, str]) -> None:
        self.fallen: list[Fallen] = []
        self.taken_away: list[str] = []
        self._station = station
        self._mock: RunningMock = station.mock
        self._dockerd = station.lab.dockerd
        self._jobs = jobs
        self._faults: dict[Blow, list[str]] = {}
        self._on: dict[Blow, int] = {}

    def fall(self, blow: Blow) -> None:
        """Let it fall; nothing is on record if there was nothing to hit."""
        began_at = time.time()
        at = len(self.fallen)
        self.fallen.append(Fallen(blow.kind, began_at))
        target = self._strike(blow)
        if target is None:
            del self.fallen[at]
            return
        self.fallen[at] = replace(self.fallen[at], target=target)
        self._on[blow] = at

    def lift(self, blow: Blow) -> None:
        """Take it back."""
        at = self._on.pop(blow, None)
        if at is None:
            return
        self._take_back(blow.kind)
        for name in self._faults.pop(blow, ()):
            self._mock.state.faults.remove(name)
        self.fallen[at] = replace(self.fallen[at], ended_at=time.time())

    def heal(self) -> None:
        """Take everything back; the agent runs and takes jobs."""
        for blow in list(self._on):
            self.lift(blow)
        self._mock.state.faults.clear()
        self._dockerd.resume()
        if not self._dockerd.is_running:
            self._dockerd.start()
        self._station.empty_disk()
        self._station.thaw()
        self._station.start()

    def _strike(self, blow: Blow) -> str | None:
        """What was hit; None: there was nothing to hit."""
        if blow.kind in FAULTS:
            return self._set_faults(blow)
        if (act := self._plain_acts().get(blow.kind)) is not None:
            return "" if act() else None
        match blow.kind:
            case BlowKind.KILL_CONTAINER:
                return self._hit_container(blow.draw, kill_container)
            case BlowKind.REMOVE_CONTAINER:
                return self._hit_container(
                    blow.draw, lambda one: docker_quickly(self._dockerd, "rm", "--force", one)
                )
            case BlowKind.DELETE:
                return self._delete(blow.draw)
            case BlowKind.JUMP_CLOCK:
                self._station.lab.jump((blow.draw - 0.5) * 6 * 3600)
                return ""
            case BlowKind.RELEASE:
                return self._release(blow.draw)
        raise ValueError(blow.kind)

    def _plain_acts(self) -> dict[BlowKind, Callable[[], bool]]:
        station = self._station
        return {
            BlowKind.KILL_AGENT: station.kill,
            BlowKind.STOP_AGENT: station.stop,
            BlowKind.FREEZE_AGENT: station.freeze,
            BlowKind.RESTART_ENGINE: self._restart_engine,
            BlowKind.KILL_ENGINE: self._kill_engine,
            BlowKind.FREEZE_ENGINE: self._freeze_engine,
            BlowKind.TOKENS_EXPIRE: self._expire_tokens,
            BlowKind.FILL_DISK: self._fill_disk,
            BlowKind.PAUSE: lambda: station.steer(Mode.PAUSED),
            BlowKind.AWAY: self._give_away,
        }

    def _take_back(self, kind: BlowKind) -> None:
        match kind:
            case BlowKind.KILL_AGENT | BlowKind.STOP_AGENT | BlowKind.AWAY:
                self._station.start()
            case BlowKind.FREEZE_AGENT:
                self._station.thaw()
            case BlowKind.KILL_ENGINE if not self._dockerd.is_running:
                self._dockerd.start()
            case BlowKind.FREEZE_ENGINE:
                self._dockerd.resume()
            case BlowKind.FILL_DISK:
                self._station.empty_disk()
            case BlowKind.PAUSE | BlowKind.RELEASE:
                self._station.steer(Mode.TAKING)
            case _:
                pass

    def _set_faults(self, blow: Blow) -> str:
        names = []
        for rule in FAULTS[blow.kind]:
            more: dict[str, object] = {"times": None, **rule}
            if blow.kind in _AT_BYTES:
                more["at_bytes"] = int(2_000_000 ** (blow.draw * 1.0))
            names.append(self._mock.fault(**more))  # type: ignore[arg-type]
        self._faults[blow] = names
        return ""

    def _hit_container(self, draw: float, hit: Callable[[str], bool]) -> str | None:
        """A container that runs now, or begins to within a moment."""
        deadline = time.monotonic() + _AIM_S
        while time.monotonic() < deadline:
            running = [one for one in self._station.lab.ledger.running() if one[0] in self._jobs]
            while running:
                _, container = running.pop(int(draw * len(running)))
                if hit(container):
                    return container
            time.sleep(0.05)
        return None

    def _delete(self, draw: float) -> str | None:
        under_way = [job_id for job_id in self._jobs.values() if not self._mock.job(job_id).is_over]
        if not under_way:
            return None
        job_id = under_way[int(draw * len(under_way))]
        self._mock.cancel(job_id)
        return None if self._mock.job(job_id).status in TERMINAL else job_id

    def _release(self, draw: float) -> str | None:
        status = self._station.status()
        if status is None or not status.jobs:
            return None
        job_id = status.jobs[int(draw * len(status.jobs))].job_id
        with suppress(AgentError):
            released = self._station.control.release((job_id,), "its owner wants the machine")
            return str(job_id) if job_id in released.given_back else None
        return None

    def _restart_engine(self) -> bool:
        if not self._dockerd.is_running:
            return False
        self._dockerd.restart()
        return True

    def _kill_engine(self) -> bool:
        if not self._dockerd.is_running:
            return False
        self._dockerd.end(9)
        return True

    def _freeze_engine(self) -> bool:
        self._dockerd.pause()
        return self._dockerd.is_running

    def _expire_tokens(self) -> bool:
        self._mock.expire_tokens()
        return True

    def _fill_disk(self) -> bool:
        self._station.fill_disk()
        return True

    def _give_away(self) -> bool:
        """The agent is away for too long, and another worker gets two of its jobs."""
        if not self._station.kill():
            return False
        self._mock.advance(JOB_TIMEOUT_S + 1)
        self.taken_away += claim_for_other(self._mock, limit=2)
        return True


def claim_for_other(mock: RunningMock, limit: int) -> list[str]:
    """Another account gets jobs from the queue; their ids."""
    account = mock.state.accounts.find(OTHER)
    assert account is not None
    offer = Offer(memory=1 << 20, cpu_cores=64, gpu_mem=1 << 20, limit=limit)
    return list(mock.state.queue.claim(account, offer))


def finish_for_other(mock: RunningMock, job_ids: list[str]) -> None:
    """The other worker is done with these jobs."""
    account = mock.state.accounts.find(OTHER)
    assert account is not None
    for job_id in job_ids:
        with suppress(Exception):  # one that its user deleted, or that was taken from the other worker too
            mock.state.queue.put_status(job_id, account, JobState.finished, None)
