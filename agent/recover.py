"""What a start finds from before: jobs to go on with."""

import logging
from collections.abc import Sequence

from agent.core.joblog import JobLog
from agent.core.models import Record, Slot
from agent.ports import Journal

log = logging.getLogger(__name__)


def load_resumed(journal: Journal, slots: Sequence[Slot]) -> list[tuple[Record, Slot]]:
    """Every job of the journal with the slot it holds; the first slot if its own is no more."""
    resumed = [(record, slot_of(record, slots)) for record in journal.active()]
    for record, slot in resumed:
        job_log = JobLog(log, record.job_id)
        job_log.info("Found in the journal in phase %s; going on with it on slot %d.", record.phase, slot.id)
    return resumed


def slot_of(record: Record, slots: Sequence[Slot]) -> Slot:
    """The slot that the job holds; the first one if its own is no more."""
    return next((slot for slot in slots if slot.id == record.slot), slots[0])
