"""Storm after storm, on one dockerd and on several agents, and what it all came to."""

import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.chaos.blows import JOB_TIMEOUT_S
from tests.chaos.books import Account
from tests.chaos.plan import KILLS, STORMS_PER_LEG, BlowKind, LegPlan, plan_leg, plan_storm
from tests.chaos.storm import Result, StormRun
from tests.chaos.workstation import Holdings, Lab, Workstation
from tests.e2e.agent_process import wait_for

_FIRST_IDLE_S = 60.0


@dataclass
class Total:
    """What a campaign came to, so far."""

    seed: int
    began_at: float = field(default_factory=time.time)
    took_s: float = 0.0
    results: list[Result] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        """Jobs whose books were balanced."""
        return sum(len(result.accounts) for result in self.results)

    @property
    def accounts(self) -> Counter[Account]:
        """Jobs by how they ended."""
        return Counter(account for result in self.results for account in result.accounts)

    @property
    def blows(self) -> Counter[BlowKind]:
        """Blows that fell."""
        return Counter(fallen.kind for result in self.results for fallen in result.fallen)

    @property
    def kills(self) -> int:
        """SIGKILLs of the agent, of a container, of dockerd; an agent that is away was killed too."""
        return sum(count for kind, count in self.blows.items() if kind in KILLS | {BlowKind.AWAY})

    @property
    def violations(self) -> list[str]:
        """Sentences, the storm named."""
        return [
            f"storm {result.storm.number}: {text}" for result in self.results for text in result.violations
        ]


class Campaign:
    """Storms of one seed. `say` gets a line for each; `keep`: the folder with all logs stays."""

    def __init__(self, seed: int, say: Callable[[str], None], *, keep: bool = False) -> None:
        self.total = Total(seed)
        self._say = say
        self._keep = keep

    def run(self, goes_on: Callable[[Total], bool], first: int = 0) -> Total:
        """Storm until `goes_on` says no."""
        number = first
        with self._lab() as lab:
            while goes_on(self.total):
                leg = number // STORMS_PER_LEG
                with self._workstation(lab, leg) as (station, idle):
                    while number // STORMS_PER_LEG == leg and goes_on(self.total):
                        self._storm(station, number, idle)
                        number += 1
        return self.total

    def _storm(self, station: Workstation, number: int, idle: Holdings) -> None:
        result = StormRun(station, plan_storm(self.total.seed, number), idle).run()
        self.total.results.append(result)
        self.total.took_s = time.time() - self.total.began_at
        fell = ", ".join(one.kind for one in result.fallen)
        self._say(
            f"storm {number} ({result.storm.flavour}): {len(result.accounts)} jobs, {len(result.fallen)}"
            f" blows, {result.took_s:.0f} s, {len(result.violations)} violations ({fell})"
        )
        for text in result.violations:
            self._say(f"  {text}")

    @contextmanager
    def _lab(self) -> Iterator[Lab]:
        folder = Path(tempfile.mkdtemp(prefix="decode-chaos-"))
        lab = Lab(folder)
        try:
            lab.start()
            yield lab
        finally:
            lab.stop()
            if self._keep or self.total.violations:
                self._say(f"the agents' logs: {folder}/leg*.log")
            else:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _workstation(self, lab: Lab, leg: int) -> Iterator[tuple[Workstation, Holdings]]:
        plan = plan_leg(self.total.seed, leg)
        self._say(f"leg {leg}: {_text_of(plan)}")
        lab.configure_engine(keeps_containers=plan.keeps_containers)
        settings = Settings(storage=plan.storage, job_timeout_s=JOB_TIMEOUT_S)
        with RunningMock(settings) as mock, Workstation(lab, mock, f"leg{leg}") as station:
            station.start()
            yield station, _first_idle(station)


def _first_idle(station: Workstation) -> Holdings:
    """What the agent holds when it has looked for a job and got none."""
    claims = station.mock.requests
    wait_for(lambda: len(claims("GET", "^/jobs$")) >= 2, "a second look for a job", _FIRST_IDLE_S)
    return station.holdings()


def _text_of(plan: LegPlan) -> str:
    restarts = "keeps containers" if plan.keeps_containers else "ends its containers"
    return f"{plan.storage} storage, a restart of dockerd {restarts}"


def table_of(total: Total, command: str) -> str:
    """The run as Markdown."""
    rows = [
        ("command", f"`{command}`"),
        ("seed", total.seed),
        ("wall time", f"{total.took_s / 60:.1f} min"),
        ("storms", len(total.results)),
        ("jobs", total.jobs),
        *((f"- {account}", count) for account, count in total.accounts.most_common()),
        ("blows", sum(total.blows.values())),
        *((f"- {kind}", count) for kind, count in total.blows.most_common()),
        ("kills (SIGKILL of agent, container, dockerd)", total.kills),
        ("violations", len(total.violations)),
    ]
    return "\n".join(("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)))


def json_of(total: Total) -> str:
    """The run for programs."""
    return json.dumps(
        {
            "seed": total.seed,
            "took_s": round(total.took_s, 1),
            "storms": len(total.results),
            "jobs": total.jobs,
            "accounts": dict(total.accounts),
            "blows": dict(total.blows),
            "kills": total.kills,
            "violations": total.violations,
        },
        indent=2,
    )
