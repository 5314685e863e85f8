"""Any JSON in place of a job spec: the job fails or runs, and nothing outside of its folder is touched."""

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core.intake import record_of
from agent.core.models import Offer, Word
from agent.steps import fetch_jobs
from tests.fakes.engine import Script
from tests.hostile import Yard, tries
from tests.unit.world import SLOT, World

CANARY = "CANARY"
"""Stands for the path of files that nobody may touch, wherever a spec has it."""

GOOD: dict[str, Any] = {
    "app": {"cmd": ["sh", "-c", "true"], "env": {"EPOCHS": "2"}},
    "handler": {
        "image_url": "demo:1",
        "image_name": "demo",
        "image_version": "1",
        "entrypoint": None,
        "files_down": {"data/in.csv": "/u/in", "config/c.yaml": "/u/c"},
        "files_up": {"output": "output", "log": "log", "artifact": "model"},
    },
    "meta": {"job_id": 1, "date_created": "2026-01-01T00:00:00"},
    "hardware": {"cpu_cores": 1, "memory": 512, "gpu_model": None, "gpu_archi": None, "gpu_mem": None},
}
WORDS = [
    *("", ".", "..", "/", "//", "./", "../", "a/..", "../..", "a/../../b", "/etc/passwd", "~", "~/x"),
    *("\0", "a\0b", "a\nb", "\ud800", "é", "x" * 256, "x/" * 2100 + "x", "container.log", "files", "parts"),
    *("../container.log", "../parts/x", "../../agent.db", "../8/files/x", "..\\x", "${HOME}", "$(id)", "-v"),
    *(CANARY, f"{CANARY}/x", f"../{CANARY}", "../" * 20 + CANARY + "/x", "../../../../canary/x", "/u/in"),
    *("/u/c", "output", "log", "artifact", "demo:1", "demo", "@", "a@sha256:0", "NVIDIA_VISIBLE_DEVICES"),
]
TEXT = st.sampled_from(WORDS) | st.text(st.characters(), max_size=12)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, 1e308])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
NEST = st.integers(1, 200).map(lambda depth: json.loads("[" * depth + "]" * depth))


def spots_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield from spots_of(below, (*path, key))


SPOTS = [spot for spot in spots_of(GOOD) if spot]


@st.composite
def almost_right(draw: Any) -> Any:
    """A good spec with one to three things in it replaced, renamed, added or left out."""
    spec = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(SPOTS))
        place = spec
        for key in above:
            place = place[key] if _has(place, key) else None
        if not _has(place, last):
            continue
        match draw(st.sampled_from(["replace", "word", "rename", "leave out", "add"])):
            case "replace":
                place[last] = draw(JSON | NEST)
            case "word":
                place[last] = draw(TEXT)
            case "rename" if isinstance(place, dict):
                place[draw(TEXT)] = place.pop(last)
            case "leave out":
                del place[last]
            case "add" if isinstance(place, dict):
                place[draw(TEXT)] = draw(TEXT | JSON)
    return spec


def _has(place: Any, key: Any) -> bool:
    if isinstance(place, dict):
        return key in place
    return isinstance(place, list) and isinstance(key, int) and key < len(place)


def with_files(down: Any = None, up: Any = None) -> Any:
    """A good spec with these files."""
    handler = GOOD["handler"]
    files = {"files_down": down or handler["files_down"], "files_up": up or handler["files_up"]}
    return {**GOOD, "handler": {**handler, **files}}


@tries(100)
@given(almost_right() | JSON | NEST)
@example(GOOD)
@example(with_files(down={"../../../../canary/x": "/u/in"}))
@example(with_files(down={f"{CANARY}/x": "/u/in"}))
@example(with_files(down={"../parts/x": "/u/in", "../../agent.db": "/u/c"}))
@example(with_files(up={"output": CANARY}))
@example(with_files(up={"output": "../../../../canary/new"}))
@example(with_files(up={"output": "data/in.csv"}))
@example(with_files(up={"output": "data/in.csv/x"}))
@example(with_files(up={"\x00": "output"}))
def test_any_json_in_place_of_a_job_spec(caplog: pytest.LogCaptureFixture, raw: Any) -> None:
    """One verdict with its reason on one line; nothing outside of its folder is touched, all is gone."""
    with Yard() as yard:
        world = World(yard.state)
        world.api.queue = {"7": with_canary(raw, yard)}
        world.engine.scripts[7] = Script(0, log=b"done\n", writes={"output/a": b"a", "model/m": b"m"})
        caplog.clear()
        with closing(world.journal()) as journal, caplog.at_level(logging.DEBUG):
            (job,) = fetch_jobs(world.heard, Offer(1024, 2))
            world.runner(world.tools(journal), record_of(job, SLOT, 1000.0), is_recovered=False).run()
            assert journal.active() == []
        ((word, details),) = world.api.verdicts(7)
        assert word in {Word.FINISHED, Word.ERROR}
        assert "the agent failed" not in details
        assert all(line.isprintable() for line in details.split("\n"))
        assert not [record for record in caplog.records if record.exc_info]
        assert yard.is_untouched()
        assert not list(yard.state.glob("jobs/*"))
        assert b"canary" not in b"".join(world.api.uploads.values())
        assert world.engine.list_ours() == []
        folders = {plan.folder for plan in world.engine.plans.values()}
        assert folders <= {str(yard.state / "jobs" / "7" / "files")}


def with_canary(value: Any, yard: Yard) -> Any:
    """The spec as it comes over the wire, the placeholder replaced."""
    return json.loads(json.dumps(value).replace(CANARY, str(yard.canary)))
