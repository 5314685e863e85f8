"""What a container's label tells an agent that lost its journal."""

import json
from dataclasses import replace

import pytest

from agent.core.adoption import NOTE_MAX_CHARS, Fate, fate_of, may_hold_the_gpu, note_of, record_from
from agent.core.container import Limits, labels_of, plan_container, with_note
from agent.core.engine_models import ContainerFact, ContainerStatus, EngineLife
from agent.core.intake import parse_job
from agent.core.models import Outcome, Phase, Record, Slot, Verdict, Word

SPEC = {
    "app": {"cmd": ["fit", "--fast"], "env": {"K": "Wert ä\n"}},
    "handler": {"image_url": "i:1", "files_down": {"a": "/u/a"}, "files_up": {"output": "o", "log": "l"}},
    "hardware": {"memory": 4096, "gpu_model": "RTX"},
}
JOB = parse_job("7", SPEC)
RECORD = Record(7, Phase.RUNNING, JOB.spec, 2, 1500.25, container_started=True, attempts=1)
NOTE = note_of(RECORD)


def fact(note=NOTE, *, status=ContainerStatus.RUNNING, job_id=7):
    return ContainerFact("decode-job-7", status, job_id, "us", 1600.0, job_note=note)


@pytest.mark.parametrize("status", list(ContainerStatus))
def test_a_label_brings_the_job_back(status):
    """The record goes on in phase RUNNING; a container that never ran is still to be started."""
    found = record_from(fact(status=status))
    assert found == replace(RECORD, container_started=status is not ContainerStatus.CREATED)


def test_the_label_is_on_the_container_and_small():
    """Fields without a value are left out; the other labels stay."""
    plan = plan_container(JOB, Slot(2, 1024, 2), Limits(), agent_id="us", version="1", folder="/f")
    assert with_note(plan, NOTE).labels == (*labels_of(7, "us", "1"), ("decode-agent.job", NOTE))
    assert with_note(plan, "") == plan
    assert "gpu_mem" not in NOTE


def test_what_comes_later_is_not_on_the_label():
    """A container is labelled once, at its creation: only what is known then can be there."""
    later = replace(RECORD, outcome=Outcome(Verdict.ERROR, "secret"), notes=("secret",))
    assert note_of(later) == NOTE


def test_no_label_for_what_does_not_fit():
    """Docker would take it and carry it through every list of containers."""
    huge = parse_job("7", SPEC | {"app": {"env": {"K": "x" * NOTE_MAX_CHARS}}}).spec
    assert note_of(replace(RECORD, spec=huge)) == ""
    assert note_of(replace(RECORD, spec=None)) == ""


def changed(**fields):
    return json.dumps(json.loads(NOTE) | fields)


def test_the_life_of_the_engine_is_told_too():
    """A power cut may take the journal along: whoever adopts what it ended knows that the machine did it."""
    life = EngineLife("boot-1", "start-1")
    assert record_from(fact(note_of(replace(RECORD, life=life)))).life == life
    for odd in (None, "boot-1", ["boot-1"], ["boot-1", 1], {"boot": "x"}):
        note = json.dumps(json.loads(NOTE) | {"life": odd})
        assert record_from(fact(note)).life is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "x",
        NOTE[:-1],
        "[]",
        "null",
        "7",
        '"v"',
        "{}",
        "[" * 100_000,
        changed(v=2),
        changed(slot="0"),
        changed(slot=-1),
        changed(slot=None),
        changed(claimed_at="now"),
        changed(claimed_at=-1),
        changed(claimed_at=10**400),
        changed(claimed_at=float("nan")),
        changed(claimed_at=float("inf")),
        changed(spec=None),
        changed(spec={"app": {}}),
        changed(spec=SPEC | {"app": {"cmd": ["\ud800"]}}),
        NOTE + " " * NOTE_MAX_CHARS,
    ],
    ids=lambda note: note[:40],
)
def test_a_label_that_cannot_be_believed_is_none(note):
    """Anybody who may use Docker can set labels."""
    assert record_from(fact(note)) is None


def test_a_label_without_a_job_id_is_none():
    """Nobody could be told about it."""
    assert record_from(fact(job_id=None)) is None


@pytest.mark.parametrize(
    ("word", "with_note", "without"),
    [
        (None, Fate.REMOVE, Fate.REMOVE),
        (Word.FINISHED, Fate.REMOVE, Fate.REMOVE),
        (Word.ERROR, Fate.REMOVE, Fate.REMOVE),
        (Word.QUEUED, Fate.ADOPT, Fate.REMOVE),
        (Word.PULLED, Fate.ADOPT, Fate.GIVE_BACK),
        (Word.PREPROCESSING, Fate.ADOPT, Fate.GIVE_BACK),
        (Word.RUNNING, Fate.ADOPT, Fate.GIVE_BACK),
        (Word.POSTPROCESSING, Fate.ADOPT, Fate.GIVE_BACK),
    ],
)
def test_the_api_decides(word, with_note, without):
    """A verdict that was said is never followed by a keep-alive, and nothing is given back twice."""
    assert fate_of(word, can_be_adopted=True) is with_note
    assert fate_of(word, can_be_adopted=False) is without


def test_what_may_hold_the_gpu():
    """A paused container keeps its GPU memory (field notes); one that has ended does not."""
    assert may_hold_the_gpu([fact(), fact(status=ContainerStatus.EXITED)])
    assert may_hold_the_gpu([fact(status=ContainerStatus.PAUSED)])
    assert not may_hold_the_gpu([fact(status=ContainerStatus.EXITED), fact(status=ContainerStatus.CREATED)])
