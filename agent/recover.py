"""What a start finds from before: jobs to go on with, containers that nobody needs."""

import logging
from collections.abc import Callable, Sequence

from agent.core.joblog import JobLog
from agent.core.models import Record, Slot
from agent.core.reconcile import orphans_of
from agent.ports import Engine, Journal

log = logging.getLogger(__name__)


def load_resumed(journal: Journal, slots: Sequence[Slot]) -> list[tuple[Record, Slot]]:
    """Every job of the journal with the slot it holds; the first slot if its own is no more."""
    by_id = {slot.id: slot for slot in slots}
    resumed = [(record, by_id.get(record.slot, slots[0])) for record in journal.active()]
    for record, slot in resumed:
        job_log = JobLog(log, record.job_id)
        job_log.info("Found in the journal in phase %s; going on with it on slot %d.", record.phase, slot.id)
    return resumed


def reap_orphans(engine: Engine, journal: Journal, alive: Callable[[], None] = lambda: None) -> None:
    """Remove containers of this agent that no record knows; `alive` is called before each.

    Raises `EngineTrouble`, `DiskTrouble`.
    """
    recorded = {record.job_id for record in journal.active()}
    for fact in orphans_of(engine.list_ours(), journal.agent_id, recorded):
        alive()
        log.warning("Removing the container %s: the journal knows no such job.", fact.name)
        engine.remove(fact.name)
