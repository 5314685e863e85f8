"""Looks for jobs: is every gate open, what does the API have, when to look again."""

import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from time import time

from agent.core.errors import DiskTrouble, EngineTrouble, HostTrouble
from agent.core.gates import TROUBLES, Facts, Gate, closed_gates
from agent.core.models import Job, RefusedJob, Slot
from agent.core.retry import Backoff, delay_after
from agent.core.room import lack_of_room
from agent.core.slots import offer_of
from agent.core.status import Mode, Trouble, troubles_of
from agent.leftovers import Leftovers
from agent.steps import fetch_jobs
from agent.toolbox import Tools

log = logging.getLogger(__name__)

LOOK_BACKOFF = Backoff(base_s=2.0, cap_s=120.0)


@dataclass(frozen=True, slots=True)
class Options:
    """How the agent looks for jobs. `look_s`: seconds between looks; the flags end it early.

    `min_free_bytes`: with less on a disk no job is taken. `leftover_grace_s`: see `Leftovers.sweep`.
    """

    look_s: float
    groups: tuple[str, ...] = ()
    once: bool = False
    until_idle: bool = False
    min_free_bytes: int = 0
    leftover_grace_s: float = 600.0


class Looking:
    """The main thread's; others may read `gates`, `troubles` and `due_at` (monotonic seconds).

    `busy` tells the jobs under way. `leftovers` are looked through along the way.
    """

    def __init__(
        self, tools: Tools, options: Options, leftovers: Leftovers, busy: Callable[[], Collection[int]]
    ) -> None:
        self.options = options
        self.due_at = 0.0
        self.is_queue_empty = False
        self.gates: dict[Gate, Trouble] = {}
        self.troubles: dict[Gate, Trouble] = {}
        self._tools = tools
        self._leftovers = leftovers
        self._busy = busy
        self._failed_looks = 0
        self._leftovers_unknown = True
        self._said = ""

    def look(
        self, slot: Slot, now: float, mode: Mode, *, took_a_job: bool, resting: str = ""
    ) -> list[Job | RefusedJob]:
        """Ask for a job if every gate is open, and set when to look again."""
        self.is_queue_empty = False
        begun = len(self._busy())
        self._note(replace(self._facts(now, mode, took_a_job=took_a_job), resting=resting))
        self._say()
        self._leftovers.alive()
        if len(self._busy()) > begun:  # one that was adopted may have taken the slot
            self.due_at = now
            return []
        try:
            claimed = [] if self.gates else fetch_jobs(self._tools.api, offer_of(slot, self.options.groups))
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

    def rest(self, now: float, mode: Mode) -> float:
        """Every slot is busy: nobody asks Docker but the jobs, which tell their troubles themselves.

        But for what is left over: when that is due next (monotonic seconds).
        """
        if now >= self._leftovers.due_at:
            self._ask_around(now)
        self._note(Facts(leftovers_unknown=False, engine_trouble="", took_its_one_job=False, mode=mode))
        return self._leftovers.due_at

    def _facts(self, now: float, mode: Mode, *, took_a_job: bool) -> Facts:
        engine_trouble, disk_trouble = self._ask_around(now)
        was_lacking = Gate.ROOM in self.gates
        rooms = self._tools.rooms(not engine_trouble)
        lacking = lack_of_room(rooms, self.options.min_free_bytes, was_lacking=was_lacking)
        if lacking and not was_lacking:
            self._leftovers.due_at = 0.0  # they may be what takes it
        return Facts(
            self._leftovers_unknown,
            engine_trouble,
            took_its_one_job=self.options.once and took_a_job,
            mode=mode,
            disk_trouble=disk_trouble,
            lack_of_room=lacking,
            left_over=self._leftovers.in_the_way,
        )

    def _ask_around(self, now: float) -> tuple[str, str]:
        """What is wrong with the engine, and with the disk; empty where nothing is."""
        try:
            if now >= self._leftovers.due_at:
                self._leftovers.sweep(now, self._busy(), self.options.leftover_grace_s)
                self._leftovers_unknown = False
            else:
                self._tools.engine.ping()
        except EngineTrouble as error:
            return str(error), ""
        except DiskTrouble as error:
            return "", str(error)
        except HostTrouble as error:
            log.warning("Looking through what is left from before failed: %s.", error)
        return "", ""

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
