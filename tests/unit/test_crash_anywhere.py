"""The agent dies before and after every side effect there is, and is started again.

However often and wherever: the verdict is the same and said once, the container ran at most once, every
output is there, and nothing is left over.
"""

import itertools
import random
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.core.intake import record_of
from agent.core.models import Offer, Word
from agent.leftovers import Leftovers
from agent.recover import load_resumed
from agent.steps import fetch_jobs
from tests.fakes.doom import Doom, Killed
from tests.fakes.engine import Script
from tests.unit.world import SLOT, World, spec

WRITES = {"output/a.csv": b"a", "output/deep/b.csv": b"bb"}
SUCCESS = Script(0, log=b"last words\n", writes=WRITES)
ARRIVES = {
    "7/output/output/a.csv": b"a",
    "7/output/output/deep/b.csv": b"bb",
    "7/log/log/container.log": b"last words\n",
}


@dataclass(frozen=True)
class Case:
    """One job, and what must come of it; `word` None: not a word, since its user deleted it."""

    word: Word | None
    details: str = ""
    spec: object = field(default_factory=spec)
    script: Script = SUCCESS
    deletes_on: Word | None = None
    runs: int = 1
    arrives: dict = field(default_factory=lambda: ARRIVES)


CASES = {
    "finished": Case(Word.FINISHED),
    "exit 3": Case(
        Word.ERROR,
        "exit code 3\nend of the log:\nlast words",
        script=Script(3, log=b"last words\n", writes=WRITES),
    ),
    "out of memory": Case(
        Word.ERROR, "killed: out of memory", script=Script(137, oom=True, log=b"last words\n", writes=WRITES)
    ),
    "hostile input": Case(
        Word.ERROR, "files_down: '../x'", spec=spec(down={"../x": "/u/in"}), runs=0, arrives={}
    ),
    "missing input": Case(Word.ERROR, "input 'a'", spec=spec(down={"a": "/u/none"}), runs=0, arrives={}),
    "missing image": Case(
        Word.ERROR, "image not found: none:1", spec=spec(image="none:1"), runs=0, arrives={}
    ),
    "malformed": Case(Word.ERROR, "malformed job spec: app", spec={}, runs=0, arrives={}),
    "deleted while staged in": Case(None, deletes_on=Word.PREPROCESSING, runs=0, arrives={}),
    "deleted while running": Case(None, deletes_on=Word.RUNNING, runs=0, arrives={}),
    "deleted while staged out": Case(None, deletes_on=Word.POSTPROCESSING, arrives={}),
}


class Doomed(World):
    """A workstation whose agent dies."""

    def __init__(self, path, case):
        super().__init__(path)
        self.api.queue["7"] = case.spec
        self.api.deletes_on = case.deletes_on
        self.engine.scripts[7] = case.script

    def live(self, doom):
        """One life of the agent: from its start to its end or its death."""
        journal = self.journal()
        tools = self.tools(journal, doom.over)
        try:
            resumed = load_resumed(tools.journal, (SLOT,))
            Leftovers(tools, lambda record: self.runner(tools, record, is_recovered=True).run()).sweep(
                0.0, (), 0.0
            )
            for record, _ in resumed:
                self.runner(tools, record, is_recovered=True).run()
            for job in fetch_jobs(tools.api, Offer(1024, 2)):
                self.runner(tools, record_of(job, SLOT, 1000.0), is_recovered=False).run()
        finally:
            journal.close()

    def time_out(self, case):
        """The API puts a job back that was claimed and never heard of again."""
        journal = self.journal()
        if not journal.active() and not self.api.verdicts(7) and not self.api.deleted:
            self.api.queue["7"] = case.spec
        journal.close()


def die_and_live(path, case, *deaths):
    """The world after an agent that died at these moments, and the moment that was never reached, if any."""
    world = Doomed(path, case)
    for at in deaths:
        doom = Doom(at)
        try:
            world.live(doom)
        except Killed:
            world.time_out(case)
        else:
            return world, at
    for _ in range(3):
        world.live(Doom(None))
    return world, None


def assert_books_balance(world, case, where):
    """The user, the API, the engine and the disk: each has what it should and nothing else."""
    verdicts = world.api.verdicts(7)
    assert [word for word, _ in verdicts] == ([case.word] if case.word else []), where
    assert all(details.startswith(case.details) for _, details in verdicts), where
    assert world.api.said[-1:] == [] or case.word in {world.api.said[-1][1], None}, where
    assert world.api.uploads == case.arrives, where
    assert world.engine.starts["decode-job-7"] <= 1, where
    assert case.deletes_on or world.engine.starts["decode-job-7"] == case.runs, where
    assert world.engine.list_ours() == [], where
    jobs = world.path / "jobs"
    assert not jobs.exists() or list(jobs.iterdir()) == [], where
    assert rows(world.path, "SELECT job_id FROM jobs UNION SELECT job_id FROM uploads") == [], where
    ends = rows(world.path, "SELECT verdict FROM history")
    assert ends == [(case.word.value if case.word else "gone",)], where


def rows(path, query):
    db = sqlite3.connect(path / "agent.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


@pytest.fixture
def disk():
    """A folder in memory if there is one: these tests write thousands of journals through to the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as path:
        yield Path(path)


@pytest.mark.parametrize("name", CASES)
def test_killed_once_anywhere(disk, name):
    """Every moment, one after the other, until the agent lives through them all."""
    case = CASES[name]
    for at in itertools.count():
        path = disk / str(at)
        path.mkdir()
        world, unreached = die_and_live(path, case, at)
        assert_books_balance(world, case, f"{name}, killed at moment {at}")
        if unreached is not None:
            break
    assert at > 15


@pytest.mark.parametrize("name", CASES)
def test_killed_twice_and_thrice(disk, name):
    """Also while it recovers."""
    chance = random.Random(20_26)
    for number in range(25):
        path = disk / str(number)
        path.mkdir()
        deaths = [chance.randrange(120), chance.randrange(60), chance.randrange(60)]
        world, unreached = die_and_live(path, CASES[name], *deaths)
        if unreached is not None:
            world.live(Doom(None))
        assert_books_balance(world, CASES[name], f"{name}, killed at {deaths}")
