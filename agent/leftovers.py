"""What is left of jobs that no record knows: it is adopted, given back or removed."""

import logging
from collections.abc import Callable, Collection, Iterable
from time import time

from agent.core.adoption import Fate, containers_of, fate_of, may_hold_the_gpu, record_from
from agent.core.container import container_name
from agent.core.engine_models import ContainerFact
from agent.core.errors import DiskTrouble, HostTrouble, JobGone
from agent.core.joblog import JobLog
from agent.core.models import Record, Word
from agent.toolbox import Tools

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 600.0
AGAIN_S = 10.0
"""After a sweep that had to leave something, or that failed."""

LOST_FOR_S = 3600.0
"""After that the API has long given a lost job away by itself (300 s of silence)."""

_LOST = "the worker lost its record of the job"


class Leftovers:
    """The main thread's. `due_at`: when to sweep next (monotonic seconds).

    `in_the_way`: a sentence while a container is left that may hold the GPU. `adopt` hears of a job that goes
    on, its record saved. `alive` is called between any two questions that may take long.
    """

    def __init__(
        self, tools: Tools, adopt: Callable[[Record], None], alive: Callable[[], None] = lambda: None
    ) -> None:
        self.due_at = 0.0
        self.in_the_way = ""
        self._tools = tools
        self._adopt = adopt
        self.alive = alive
        self._first_seen: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def sweep(self, now: float, busy: Collection[int], grace_s: float) -> int:
        """How many jobs were adopted. `busy`: the jobs under way.

        A folder goes once it has been there for `grace_s`. Raises `EngineTrouble`,
        `DiskTrouble`: the rest waits for the next sweep.
        """
        self.due_at = now + AGAIN_S
        journal = self._tools.journal
        facts = self._tools.engine.list_ours()
        known = {record.job_id for record in journal.active()} | set(busy)
        ours = [fact for fact in containers_of(facts, journal.agent_id) if fact.job_id not in known]
        lost = {job_id: since for job_id, since in journal.lost().items() if job_id not in known}
        adopted, left = self._settle_containers(ours)
        left |= self._settle_lost(lost, {fact.job_id for fact in facts})
        self.in_the_way = next(
            (left[fact.name] for fact in ours if fact.name in left and may_hold_the_gpu([fact])), ""
        )
        if not left:
            self.due_at = now + SWEEP_EVERY_S
        known |= adopted | lost.keys()
        seen = {fact.name for fact in ours} | left.keys() | self._remove_folders(now, known, grace_s)
        self._first_seen = {name: at for name, at in self._first_seen.items() if name in seen}
        self._said = {name: said for name, said in self._said.items() if name in seen}
        return len(adopted)

    def _settle_containers(self, ours: Iterable[ContainerFact]) -> tuple[set[int], dict[str, str]]:
        """The jobs adopted; by the names of containers why nothing could be done about them yet."""
        adopted, left = set(), {}
        for fact in ours:
            self.alive()
            try:
                if fact.job_id is not None and self._settle(fact, fact.job_id):
                    adopted.add(fact.job_id)
            except DiskTrouble:
                raise
            except HostTrouble as trouble:
                left[fact.name] = f"the container {fact.name} from before is left as it is: {trouble}"
                self._say(fact.name, left[fact.name])
        return adopted, left

    def _settle(self, fact: ContainerFact, job_id: int) -> bool:
        """Whether the job was adopted."""
        record = record_from(fact)
        match self._fate_of(job_id, can_be_adopted=record is not None):
            case Fate.ADOPT if record is not None:
                self._tools.journal.save(record)
                JobLog(log, job_id).warning("Adopted by the label of its container: no record knew it.")
                self._adopt(record)
                return True
            case Fate.GIVE_BACK | Fate.ADOPT:
                self._give_back(job_id)
                self._remove(fact, "nobody knows how its job goes on")
            case Fate.REMOVE:
                self._remove(fact, "its job is over")
        self._tools.journal.forget(job_id)
        return False

    def _settle_lost(self, lost: dict[int, float], with_container: Collection[int | None]) -> dict[str, str]:
        """Jobs of rows that cannot be read, and without a container; what could not be asked about yet."""
        left = {}
        for job_id in sorted(lost.keys() - with_container):
            self.alive()
            try:
                if time() - lost[job_id] < LOST_FOR_S and (
                    self._fate_of(job_id, can_be_adopted=False) is Fate.GIVE_BACK
                ):
                    self._give_back(job_id)
                self._tools.journal.forget(job_id)
            except DiskTrouble:
                raise
            except HostTrouble as trouble:
                name = f"lost job {job_id}"
                left[name] = f"the {name} cannot be given back yet: {trouble}"
                self._say(name, left[name])
        return left

    def _fate_of(self, job_id: int, *, can_be_adopted: bool) -> Fate:
        word: Word | None
        try:
            word = self._tools.api.status(job_id)
        except JobGone:
            word = None
        return fate_of(word, can_be_adopted=can_be_adopted)

    def _give_back(self, job_id: int) -> None:
        try:
            self._tools.api.say(job_id, Word.QUEUED, _LOST)
        except JobGone:
            return
        JobLog(log, job_id).error("Given back to the queue: %s.", _LOST)

    def _remove(self, fact: ContainerFact, why: str) -> None:
        log.warning("Removing the container %s: no record knows it, and %s.", fact.name, why)
        self._tools.engine.remove(fact.name)

    def _remove_folders(self, now: float, known: Collection[int], grace_s: float) -> set[str]:
        """Remove folders of jobs that nobody knows; the names of those that are still there."""
        left = set()
        for job_id in sorted(self._tools.folders() - set(known)):
            name = f"folder {job_id}"
            left.add(name)
            if not self._is_old(name, now, grace_s):
                continue
            self.alive()
            try:
                if self._tools.engine.look(container_name(job_id)) is None:  # whoever's it is
                    self._tools.folder_of(job_id).remove()
                    log.warning("Removed the folder of job %d: no record knows it.", job_id)
                    left.discard(name)
            except DiskTrouble as trouble:
                self._say(name, f"the folder of job {job_id}, which no record knows, is left: {trouble}")
        return left

    def _is_old(self, name: str, now: float, grace_s: float) -> bool:
        return now - self._first_seen.setdefault(name, now) >= grace_s

    def _say(self, name: str, text: str) -> None:
        if self._said.get(name) != text:
            self._said[name] = text
            log.warning("%s%s.", text[0].upper(), text[1:])
