"""A record as the text of a row, with a check sum: what a broken disk changed is seen, not believed."""

import re
import zlib

from pydantic import TypeAdapter

from agent.core.models import Record

_RECORD = TypeAdapter(Record)
_SUM = re.compile(rb',"crc":"([0-9a-f]{8})"\}\Z')


def text_of(record: Record) -> str:
    """JSON with the check sum as its last field, which older agents read over."""
    body = _RECORD.dump_json(record)
    return f'{body[:-1].decode()},"crc":"{zlib.crc32(body):08x}"}}'


def record_from(job_id: int, phase: str, text: str) -> Record:
    """The record of a row. `ValueError` if it is damaged, or if only a newer agent knows its words.

    One with a right sum is believed even where the columns beside it differ; an older agent's has none.
    """
    body = text.encode("utf-8", "surrogateescape")
    found = _SUM.search(body)
    if found:
        body = body[: found.start()] + b"}"
        if zlib.crc32(body) != int(found[1], 16):
            raise ValueError("its check sum is wrong")
    record = _RECORD.validate_json(body)
    if not found and (record.job_id, record.phase.value) != (job_id, phase):
        raise ValueError("it contradicts itself")
    return record
