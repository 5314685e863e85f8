"""One job's life as a state machine: whatever happens in whatever order, the books balance in the end."""

from contextlib import closing, suppress
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core.engine_models import ContainerStatus, EngineInfo, EngineLife, ImagePull
from agent.core.errors import ApiTrouble, StorageTrouble
from agent.core.intake import record_of
from agent.core.models import Offer, Phase, Word
from agent.core.reconcile import MAX_ATTEMPTS
from agent.heartbeat import Heartbeat
from agent.recover import load_resumed
from agent.runner import Runner
from agent.steps import fetch_jobs
from tests.fakes.api import FakeApi, FakeTransfer
from tests.fakes.doom import Doom, Killed
from tests.fakes.engine import FakeEngine, Script
from tests.hostile import Yard, tries
from tests.unit.world import IMAGE, SLOT, World, spec

NAME = "decode-job-7"
OUTPUTS = {"output/a.csv": b"a", "output/deep/b.csv": b"bb"}
ENDS = {0: Word.FINISHED, 3: Word.ERROR}
SIGKILLED = 137


class MovedApi(FakeApi):
    """An API that may be away, or take a word and lose the answer."""

    is_away = False
    loses_answers = False

    def say(self, job_id, word, details=""):
        self.reach()
        super().say(job_id, word, details)
        if self.loses_answers:
            raise ApiTrouble("no answer")

    def status(self, job_id):
        self.reach()
        return super().status(job_id)

    def download_request(self, file_id):
        self.reach()
        return super().download_request(file_id)

    def upload_request(self, job_id, kind, base_path):
        self.reach()
        return super().upload_request(job_id, kind, base_path)

    def reach(self):
        if self.is_away:
            raise ApiTrouble("the API is away")


class MovedTransfer(FakeTransfer):
    """A storage that may break off in the middle."""

    is_away = False

    def download(self, request, part, *, stop, advance):
        if self.is_away:
            part.restart('"etag"')
            part.write(self.api.files[request.url][:1])
            raise StorageTrouble("cut off")
        super().download(request, part, stop=stop, advance=advance)

    def upload(self, request, source, **how):
        if self.is_away:
            raise StorageTrouble("cut off")
        super().upload(request, source, **how)


class MovedEngine(FakeEngine):
    """Waits for nothing, and sees that each start has a reason: it is the first, or the last one was lost."""

    def __init__(self):
        super().__init__()
        self.own_end = None
        self.may_start = True
        self.ends_by_itself = False

    def _start(self, plan, fact):
        assert self.may_start, "a job that was not lost was run twice"
        self.may_start, self.own_end = False, None
        return super()._start(plan, fact)

    def wait(self, name, *, timeout_s, stop):
        del timeout_s
        if self.ends_by_itself:
            self.end(0)
        return super().wait(name, timeout_s=0.0, stop=stop)

    def end(self, code):
        """The job's process comes to its own end."""
        fact = self._facts.get(NAME)
        if fact is not None and fact.status is ContainerStatus.RUNNING:
            self.own_end = code
            self.finish(NAME, code)

    def lose(self):
        """The machine's own doing ends it, or takes it away."""
        self.may_start = True


class BeatingHeartbeat(Heartbeat):
    """Beats in the thread that asks, so that every run is like the other."""

    def add(self, job_id, word, *, asks_first=False):
        pulse = super().add(job_id, word, asks_first=asks_first)
        pulse.beat(0.0)

        def confirm(stop, _note):
            while not pulse._settled.is_set():
                stop.check()
                pulse.beat(0.0)
            stop.check()

        pulse.wait_confirmed = confirm
        return pulse

    def say(self, pulse, word):
        super().say(pulse, word)
        pulse.beat(0.0)


class MovedWorld(World):
    """A workstation to which anything may happen."""

    def __init__(self, path):
        super().__init__(path, pull=ImagePull.MISSING)
        self.api = MovedApi(queue={"7": spec()}, files={"/u/in": b"input", "/u/c": b"epochs: 2"})
        self.transfer = MovedTransfer(self.api)
        self.engine = MovedEngine()
        self.engine.registry = {IMAGE}
        self.engine.scripts[7] = Script(None, log=b"last words\n", writes=OUTPUTS)

    def tools(self, journal, over=lambda port, *_: port):
        tools = super().tools(journal, over)
        return replace(tools, api=over(self.api), transfer=over(self.transfer))

    def live(self, doom, release=""):
        """One life of the agent, to its end or its death; whether it promised to release the job."""
        with closing(self.journal()) as journal:
            tools = self.tools(journal, doom.over)
            resumed = [(record, True) for record, _ in load_resumed(tools.journal, (SLOT,))]
            with suppress(ApiTrouble):
                self.api.reach()
                fresh = [] if resumed else fetch_jobs(tools.api, Offer(1024, 2))
                resumed += [(record_of(job, SLOT, 1000.0), False) for job in fresh]
            is_promised = False
            for record, is_recovered in resumed:
                heartbeat = BeatingHeartbeat(tools.api, 30.0)
                runner = Runner(tools, heartbeat, SLOT, record, self.stop, is_recovered=is_recovered)
                is_promised = bool(release) and runner.release(release)
                self.is_released |= is_promised
                runner.run()

    is_released = False


class JobsLife(RuleBasedStateMachine):
    """The job with the id 7, from its claim to the last trace of it."""

    @initialize(keeps_containers=st.booleans())
    def begin(self, keeps_containers):
        self.yard = Yard().__enter__()
        self.world = MovedWorld(self.yard.state)
        self.lives = 1
        self.engine.engine_info = EngineInfo("0", EngineLife("boot-1", "start-1"), keeps_containers)

    @property
    def engine(self):
        return self.world.engine

    @property
    def api(self):
        return self.world.api

    @rule(at=st.integers(0, 80))
    def live_and_be_killed(self, at):
        with suppress(Killed):
            self.world.live(Doom(at))

    @rule(at=st.integers(10, 80))
    def live_and_be_asked_to_release(self, at):
        with suppress(Killed):
            self.world.live(Doom(at), release="its owner wants it back")

    @rule(code=st.sampled_from(sorted(ENDS)))
    def the_container_ends(self, code):
        self.engine.end(code)

    @rule()
    def somebody_removes_the_container(self):
        self.engine.lose()
        self.engine.vanish(NAME)

    @rule(status=st.sampled_from([ContainerStatus.PAUSED, ContainerStatus.RUNNING]))
    def somebody_pauses_or_resumes_it(self, status):
        fact = self.engine.look(NAME) if not self.engine.is_away else None
        if fact is not None and fact.status in {ContainerStatus.PAUSED, ContainerStatus.RUNNING}:
            self.engine.set_status(NAME, status)

    @rule(boots=st.booleans())
    def the_engine_or_the_machine_starts_anew(self, boots):
        self.lives += 1
        life = self.engine.engine_info.life
        boot = f"boot-{self.lives}" if boots else life.boot
        self.engine.engine_info = replace(
            self.engine.engine_info, life=EngineLife(boot, f"start-{self.lives}")
        )
        fact = self.engine._facts.get(NAME)
        is_alive = fact is not None and fact.status in {ContainerStatus.PAUSED, ContainerStatus.RUNNING}
        if is_alive and (boots or not self.engine.engine_info.keeps_containers):
            self.engine.finish(NAME, SIGKILLED)
        self.engine.lose()

    @rule()
    def somebody_removes_the_image(self):
        self.engine.images.clear()
        self.engine.lose()

    @rule(is_away=st.booleans())
    def docker_goes_or_comes(self, is_away):
        self.engine.is_away = is_away

    @rule(is_away=st.booleans(), loses=st.booleans())
    def the_api_goes_or_comes(self, is_away, loses):
        self.api.is_away, self.api.loses_answers = is_away, loses

    @rule(is_away=st.booleans())
    def the_storage_goes_or_comes(self, is_away):
        self.world.transfer.is_away = is_away

    @precondition(lambda self: 7 in self.api.states and 7 not in self.api.deleted)
    @rule()
    def the_user_deletes_the_job(self):
        self.api.deleted.add(7)

    def records(self):
        with closing(self.world.journal()) as journal:
            return journal.active()

    def last_words(self):
        """Every verdict, a job given back among them."""
        ends = {*ENDS.values(), Word.QUEUED}
        return [word for _, word, _ in self.api.said if word in ends]

    @invariant()
    def at_most_one_verdict_and_nothing_after_it(self):
        words = self.last_words()
        assert len(words) <= 1
        assert not words or self.api.said[-1][1] is words[0]
        assert not any("the agent failed" in details for *_, details in self.api.said)

    @invariant()
    def records_containers_and_folders_agree(self):
        records = self.records()
        has_container = any(fact.job_id == 7 for fact in self.engine._facts.values())
        assert records or not has_container
        assert records or not list(self.yard.state.glob("jobs/*"))
        assert all(record.attempts <= MAX_ATTEMPTS for record in records)
        computed = [record for record in records if record.phase in {Phase.STAGING_OUT, Phase.REPORTING}]
        assert all(record.outcome is not None for record in computed)

    def teardown(self):
        if not hasattr(self, "yard"):
            return
        try:
            self.heal()
            self.world.live(Doom(None))
            if (
                not self.last_words() and not self.api.deleted
            ):  # claimed, and killed before it was written down
                self.api.queue["7"] = spec()
                self.world.live(Doom(None))
            self.balance()
        finally:
            self.yard.__exit__(None, None, None)

    def heal(self):
        self.api.is_away = self.api.loses_answers = False
        self.engine.is_away = self.world.transfer.is_away = False
        self.engine.ends_by_itself = True
        with suppress(KeyError):
            if self.engine._facts[NAME].status is ContainerStatus.PAUSED:
                self.engine.set_status(NAME, ContainerStatus.RUNNING)

    def balance(self):
        words = self.last_words()
        assert self.records() == []
        assert self.engine.list_ours() == []
        assert not list(self.yard.state.glob("jobs/*"))
        assert self.yard.is_untouched()
        assert len(words) == 1 or (not words and self.api.deleted)
        if words == [Word.QUEUED]:
            lost = self.engine.starts[NAME] + len(self.engine.pulls)
            assert self.world.is_released or lost >= MAX_ATTEMPTS
        elif words:
            assert words == [ENDS[self.engine.own_end]]
            got = {path.removeprefix("7/output/"): content for path, content in self.api.uploads.items()}
            assert OUTPUTS.items() <= got.items()


TestJobsLife = JobsLife.TestCase
TestJobsLife.settings = settings(tries(40), stateful_step_count=20)
