"""A job's spec as it comes from outside: it becomes a job that can be kept, or a refusal that can be told."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from agent.core.models import Job, JobSpec, Outcome, Phase, Record, RefusedJob, Slot, Verdict
from agent.core.paths import shown

_JOB_ID = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def parse_job(key: str, raw: Any) -> Job | RefusedJob:
    """Read one entry of the answer to GET /jobs; the reason of a refusal names the field."""
    if not _JOB_ID.fullmatch(key):
        return RefusedJob(None, key, f"job id {key[:80]!r} is not a number")
    try:
        spec = JobSpec.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole spec"
        return RefusedJob(int(key), key, f"malformed job spec: {shown(field)[1:-1]}: {first['msg']}")
    if field := _field_not_unicode(spec.model_dump()):
        return RefusedJob(int(key), key, f"malformed job spec: {field}: not valid Unicode")
    return Job(int(key), spec)


def _field_not_unicode(value: Any, field: str = "") -> str:
    """The first field with half a surrogate pair in it, which JSON can carry and nothing can store."""
    if isinstance(value, str):
        return field if any("\ud800" <= char <= "\udfff" for char in value) else ""
    below: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        below = [
            (f"{field}.{name}" if name.isprintable() else field, (name, part)) for name, part in value.items()
        ]
    elif isinstance(value, tuple):
        below = [(field, part) for part in value]
    return next((found for name, part in below if (found := _field_not_unicode(part, name.strip(".")))), "")


def record_of(job: Job | RefusedJob, slot: Slot, now: float) -> Record:
    """The first record of a claimed job; one whose spec was refused has only its report before it."""
    if isinstance(job, Job):
        return Record(job.id, Phase.STAGING_IN, job.spec, slot.id, now)
    if job.id is None:
        raise ValueError("a job without an id cannot be recorded")
    outcome = Outcome(Verdict.ERROR, job.reason)
    return Record(job.id, Phase.REPORTING, None, slot.id, now, outcome=outcome)
