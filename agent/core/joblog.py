"""Log lines about one job: they begin with its id and carry it as `job_id` for structured logs."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

_THREAD = re.compile(r"job-(\d+)\b", re.ASCII)


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """Prefixes every message with `Job <id>: ` and adds the record's attribute `job_id`."""

    def __init__(self, logger: logging.Logger, job_id: int) -> None:
        super().__init__(logger, {"job_id": job_id})
        self._prefix = f"Job {job_id}: "

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Called by the logging module for each line."""
        return self._prefix + str(msg), {**kwargs, "extra": self.extra}


def add_job_of_thread(record: logging.LogRecord) -> bool:
    """A filter of logging: what a job's threads say without naming the job is about it all the same."""
    found = _THREAD.match(record.threadName or "")
    if found and not hasattr(record, "job_id"):
        record.job_id = int(found[1])
        record.msg = f"Job {found[1]}: {record.msg}"
    return True
