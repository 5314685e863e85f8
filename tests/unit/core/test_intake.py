"""Job specs as they come from outside: used or refused, never half of each."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agent.core.intake import parse_job
from agent.core.models import Job, Phase, Record, RefusedJob

RECORD = TypeAdapter(Record)
TEXT = st.text(st.characters(), max_size=8)  # surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {
        "app": st.fixed_dictionaries(
            {"cmd": JSON | st.lists(TEXT), "env": JSON | st.dictionaries(TEXT, TEXT)}
        ),
        "handler": st.fixed_dictionaries(
            {
                "image_url": TEXT,
                "files_down": JSON | st.dictionaries(TEXT, TEXT),
                "files_up": st.dictionaries(st.sampled_from(["output", "log", "artifact"]), TEXT),
            }
        ),
    },
    optional={"hardware": JSON, "meta": JSON},
)


@given(JSON | NEARLY)
def test_whatever_comes_is_a_job_that_can_be_kept_or_refused(raw):
    """A job that is taken survives the journal unchanged; a refusal says why in text that can be sent."""
    raw = json.loads(json.dumps(raw))
    match parse_job("7", raw):
        case Job(spec=spec):
            record = Record(7, Phase.STAGING_IN, spec, 0, 1.0)
            assert RECORD.validate_json(RECORD.dump_json(record)) == record
        case RefusedJob(id=job_id, reason=reason):
            assert job_id == 7
            assert reason.startswith("malformed job spec: ")
            reason.encode()


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"app": {"cmd": ["a", "\ud800"]}}, "app.cmd"),
        ({"app": {"env": {"A": "\udfff"}}}, "app.env.A"),
        ({"app": {"env": {"\ud800": "a"}}}, "app.env"),
        ({"handler": {"image_url": "\ud800"}}, "handler.image_url"),
        ({"handler": {"image_url": "x", "files_down": {"a": "\ud800"}}}, "handler.files_down.a"),
    ],
)
def test_half_a_surrogate_pair_is_refused_by_its_field(part, field):
    """JSON can carry it, no journal, path or environment can."""
    spec = {"app": {}, "handler": {"image_url": "x"}} | part
    refused = parse_job("7", spec)
    assert isinstance(refused, RefusedJob)
    assert refused.reason == f"malformed job spec: {field}: not valid Unicode"


@given(TEXT)
def test_only_plain_numbers_are_job_ids(key):
    """An id becomes a name of a container and a folder."""
    parsed = parse_job(key, {"app": {}, "handler": {"image_url": "x"}})
    assert isinstance(parsed, Job) == (key.isascii() and key.isdigit() and str(int(key)) == key)
