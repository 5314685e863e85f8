"""The agent dies before and after every side effect there is, and is started again.

However often and wherever: the verdict is the same and said once, the container ran no more often than it
had to, every output is there, and nothing is left over.
"""

import itertools
import random
import sqlite3
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.core.engine_models import ContainerStatus, EngineLife, ImagePull
from agent.core.errors import DiskTrouble
from agent.core.intake import record_of
from agent.core.models import Offer, Verdict, Word
from agent.core.reconcile import MAX_ATTEMPTS
from agent.leftovers import Leftovers
from agent.recover import load_resumed
from agent.steps import fetch_jobs
from tests.fakes.doom import Doom, Killed
from tests.fakes.engine import Script
from tests.unit.world import IMAGE, SLOT, World, spec

WRITES = {"output/a.csv": b"a", "output/deep/b.csv": b"bb"}
NAME = "decode-job-7"
ENDS = {
    Word.FINISHED: Verdict.FINISHED,
    Word.ERROR: Verdict.ERROR,
    Word.QUEUED: Verdict.RETURNED,
    None: Verdict.GONE,
}
SUCCESS = Script(0, log=b"last words\n", writes=WRITES)
ARRIVES = {
    "7/output/output/a.csv": b"a",
    "7/output/output/deep/b.csv": b"bb",
    "7/log/log/container.log": b"last words\n",
}


@dataclass(frozen=True)
class Case:
    """One job, and what must come of it; `word` None: not a word, since its user deleted it.

    `strike`: what else befalls the world, which it is called with.
    """

    word: Word | None
    details: str = ""
    spec: object = field(default_factory=spec)
    script: Script = SUCCESS
    deletes_on: Word | None = None
    runs: int = 1
    arrives: dict = field(default_factory=lambda: ARRIVES)
    policy: dict = field(default_factory=dict)
    strike: object = lambda _world: None


def before(port, name, act):
    """Have something happen before each call of a method, with its arguments."""
    method = getattr(port, name)

    def call(*args, **kwargs):
        act(*args, **kwargs)
        return method(*args, **kwargs)

    setattr(port, name, call)


def once(act):
    """It happens the first time only."""
    left = [act]
    return lambda *_, **__: left and left.pop()()


def restart_engine(world):
    """While the job's container runs; as an engine does that does not keep them."""

    def restart():
        world.engine.finish(NAME, 137)
        world.begin_life(EngineLife("boot-1", "start-2"))

    before(world.engine, "wait", once(restart))


def remove_container(world):
    before(world.engine, "wait", once(lambda: world.engine.vanish(NAME)))


def remove_image(world):
    world.engine.registry = {IMAGE}
    before(world.engine, "ensure_started", once(world.engine.images.clear))


def take_registry_away(world):
    world.engine.images, world.engine.is_registry_away = set(), True


def want_machine_back(world):
    """Its owner asks for it whenever the job runs."""
    before(world.engine, "wait", lambda *_, **__: world.working.release("wanted back"))


def hang_in_kernel(world):
    """Neither killed nor removed at the first tries."""
    left = [1] * 5
    world.engine.unkillable = {NAME}

    def try_again(*_, **__):
        if not left or not left.pop():
            world.engine.unkillable = set()

    before(world.engine, "kill", try_again)
    before(world.engine, "remove", try_again)


def fill_disk(world):
    """Every third time that something is written down it is not."""
    world.full = itertools.cycle([False, False, True])


def end_running(engine, code):
    for fact in engine.list_ours():
        if fact.status is ContainerStatus.RUNNING:
            engine.finish(fact.name, code)


def cut_power(world):
    """The machine dies with its agent, and every container with it; twice."""
    boots = ["boot-3", "boot-2"]

    def reboot():
        if boots:
            end_running(world.engine, 255)
            world.begin_life(EngineLife(boots.pop(), "start-2"))

    world.on_death = reboot


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
    "engine restarted": Case(Word.FINISHED, runs=2, strike=restart_engine),
    "container removed": Case(Word.FINISHED, runs=2, strike=remove_container),
    "image removed": Case(Word.FINISHED, policy={"pull": ImagePull.MISSING}, strike=remove_image),
    "power cut": Case(Word.FINISHED, runs=3, strike=cut_power),
    "disk full": Case(Word.FINISHED, strike=fill_disk),
    "given back": Case(
        Word.QUEUED,
        "this machine cannot run it: the registry does not give the image",
        policy={"pull": ImagePull.ALWAYS, "host_patience_s": 0.0},
        strike=take_registry_away,
        runs=0,
        arrives={},
    ),
    "given back after so many attempts": Case(
        Word.QUEUED,
        "its container vanished",
        runs=MAX_ATTEMPTS,
        arrives={},
        strike=lambda world: before(world.engine, "wait", lambda name, **_: world.engine.vanish(name)),
    ),
    "released": Case(
        Word.QUEUED, "wanted back", script=Script(None, writes=WRITES), strike=want_machine_back, arrives={}
    ),
    "released while it is staged in": Case(
        Word.QUEUED,
        "wanted back",
        runs=0,
        arrives={},
        strike=lambda world: before(
            world.engine, "ensure_image", lambda *_, **__: world.working.release("wanted back")
        ),
    ),
    "unkillable": Case(
        Word.ERROR,
        "timed out after 0 s\nend of the log:\nlast words",
        script=Script(None, log=b"last words\n", writes=WRITES),
        policy={"max_runtime_s": 0.0},
        strike=hang_in_kernel,
    ),
}
EXACTLY = [case for name, case in CASES.items() if not case.deletes_on and name != "power cut"]
"""Their containers run exactly so often; in the others, at most."""


class Doomed(World):
    """A workstation whose agent dies."""

    def __init__(self, path, case):
        super().__init__(path, **case.policy)
        self.full = itertools.repeat(False)
        self.on_death = lambda: None
        self.working = None
        self.api.queue["7"] = case.spec
        self.api.deletes_on = case.deletes_on
        self.engine.scripts[7] = case.script
        before(self.api, "say", self.look_before_others_begin)
        case.strike(self)

    def look_before_others_begin(self, _job_id, word, _details=""):
        """Who gives a job back has removed its container: from then on another worker may run it."""
        assert word is not Word.QUEUED or self.engine.list_ours() == []

    def begin_life(self, life):
        """The engine was started anew."""
        self.engine.engine_info = replace(self.engine.engine_info, life=life)

    def journal(self):
        """On a disk that may be full."""
        journal = super().journal()
        for name in ("save", "mark_uploaded", "close_job"):
            before(journal, name, self.write)
        return journal

    def write(self, *_, **__):
        if next(self.full):
            raise DiskTrouble("the disk is full")

    def runner(self, tools, record, *, is_recovered):
        """Known to whoever wants the machine back."""
        self.working = super().runner(tools, record, is_recovered=is_recovered)
        return self.working

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
        is_over = self.api.verdicts(7) or self.api.deleted or self.api.states.get(7) is Word.QUEUED
        if not journal.active() and not is_over:
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
            world.on_death()
            world.time_out(case)
        else:
            return world, at
    for _ in range(3):
        world.live(Doom(None))
    return world, None


def assert_books_balance(world, case, where):
    """The user, the API, the engine and the disk: each has what it should and nothing else."""
    ends = [(word, details) for _, word, details in world.api.said if word in ENDS]
    assert [word for word, _ in ends] == ([case.word] if case.word else []), where
    assert all(details.startswith(case.details) for _, details in ends), where
    assert world.api.said[-1:] == [] or case.word in {world.api.said[-1][1], None}, where
    assert world.api.uploads == case.arrives, where
    assert world.engine.starts[NAME] <= max(case.runs, 1 if case.deletes_on else 0), where
    assert world.engine.starts[NAME] == case.runs or case not in EXACTLY, where
    assert world.engine.list_ours() == [], where
    jobs = world.path / "jobs"
    assert not jobs.exists() or list(jobs.iterdir()) == [], where
    assert rows(world.path, "SELECT job_id FROM jobs UNION SELECT job_id FROM uploads") == [], where
    assert rows(world.path, "SELECT verdict FROM history") == [(ENDS[case.word],)], where


def rows(path, query):
    db = sqlite3.connect(path / "agent.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


@pytest.fixture(autouse=True)
def no_patience_with_the_kernel(monkeypatch):
    """No waiting for a container that cannot be killed: time plays no part here."""
    monkeypatch.setattr("agent.watching.KILL_PATIENCE_S", 0.0)


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
