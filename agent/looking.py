"""Looks for jobs: is every gate open, what does the API have, when to look again."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import time

from agent.core.errors import AgentError, DiskTrouble, EngineTrouble, HostTrouble
from agent.core.gates import TROUBLES, Facts, Gate, closed_gates
from agent.core.models import Job, RefusedJob, Slot
from agent.core.retry import Backoff, delay_after
from agent.core.slots import offer_of
from agent.core.status import Mode, Trouble, troubles_of
from agent.ports import Engine, JobApi, Journal
from agent.recover import reap_orphans
from agent.steps import fetch_jobs

log = logging.getLogger(__name__)

LOOK_BACKOFF = Backoff(base_s=2.0, cap_s=120.0)


@dataclass(frozen=True, slots=True)
class Options:
    """How the agent looks for jobs. `look_s`: seconds between looks; the flags end it early."""

    look_s: float
    groups: tuple[str, ...] = ()
    once: bool = False
    until_idle: bool = False


class Looking:
    """The main thread's; others may read `gates`, `troubles` and `due_at` (monotonic seconds).

    `alive` is called between any two questions that may take long.
    """

    def __init__(
        self, api: JobApi, engine: Engine, journal: Journal, options: Options, alive: Callable[[], None]
    ) -> None:
        self.options = options
        self.due_at = 0.0
        self.is_queue_empty = False
        self.gates: dict[Gate, Trouble] = {}
        self.troubles: dict[Gate, Trouble] = {}
        self._api = api
        self._engine = engine
        self._journal = journal
        self._alive = alive
        self._failed_looks = 0
        self._leftovers_unknown = True
        self._said = ""

    def look(
        self, slot: Slot, now: float, mode: Mode, *, took_a_job: bool, resting: str = ""
    ) -> list[Job | RefusedJob]:
        """Ask for a job if every gate is open, and set when to look again."""
        self.is_queue_empty = False
        self._note(replace(self._facts(mode, took_a_job=took_a_job), resting=resting))
        self._say()
        self._alive()
        try:
            claimed = [] if self.gates else fetch_jobs(self._api, offer_of(slot, self.options.groups))
        except HostTrouble as trouble:
            delay_s = delay_after(trouble, self._failed_looks, LOOK_BACKOFF, random.random())
            self._failed_looks += 1
            self.due_at = now + max(self.options.look_s, delay_s)
            log.warning("Looking for a job failed: %s", trouble)
            return []
        self._failed_looks = 0
        self.is_queue_empty = not claimed and not self.gates
        self.due_at = now if claimed else now + self.options.look_s * random.uniform(0.9, 1.1)
        return claimed

    def rest(self, mode: Mode) -> None:
        """Every slot is busy: nobody asks Docker but the jobs, which tell their troubles themselves."""
        self._note(Facts(leftovers_unknown=False, engine_trouble="", took_its_one_job=False, mode=mode))

    def _facts(self, mode: Mode, *, took_a_job: bool) -> Facts:
        engine_trouble = disk_trouble = ""
        try:
            if self._leftovers_unknown:
                reap_orphans(self._engine, self._journal, self._alive)
                self._leftovers_unknown = False
            else:
                self._engine.ping()
        except EngineTrouble as error:
            engine_trouble = str(error)
        except DiskTrouble as error:
            disk_trouble = str(error)
        except AgentError as error:
            log.warning("Looking through containers from before failed: %s", error)
        return Facts(
            self._leftovers_unknown,
            engine_trouble,
            took_its_one_job=self.options.once and took_a_job,
            mode=mode,
            disk_trouble=disk_trouble,
        )

    def _note(self, facts: Facts) -> None:
        closed = closed_gates(facts)
        now = time()
        self.gates = troubles_of(self.gates, closed, now)
        self.troubles = {gate: trouble for gate, trouble in self.gates.items() if gate in TROUBLES}

    def _say(self) -> None:
        said = "; ".join(trouble.text for trouble in self.gates.values())
        if said == self._said:
            return
        self._said = said
        log.log(
            logging.WARNING if self.troubles else logging.INFO,
            "%s",
            f"Taking no job: {said}." if said else "Taking jobs again.",
        )
