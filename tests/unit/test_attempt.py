"""A job's container and the machine under it: what is found is dealt with, and whose fault its end was."""

import threading
from dataclasses import replace

import pytest

from agent.core.adoption import record_from
from agent.core.blame import NOTHING_LEFT_BYTES
from agent.core.container import LABEL_NOTE
from agent.core.engine_models import ContainerExit, ContainerFact, ContainerStatus, EngineLife, ImagePull
from agent.core.errors import ApiTrouble, DiskTrouble, EngineTrouble, JobGone, Unkillable
from agent.core.intake import parse_job
from agent.core.models import Gpu, Outcome, Phase, Record, Slot, Verdict, Word
from agent.core.reconcile import MAX_ATTEMPTS, Found
from tests.fakes.engine import Script
from tests.fakes.waiting import LONG_S, wait_until
from tests.unit.world import SLOT, World, spec

NAME = "decode-job-7"
OLD, NEW = EngineLife("boot-1", "start-0"), EngineLife("boot-1", "start-1")
STATUSES = {
    Found.CREATED: ContainerStatus.CREATED,
    Found.RUNNING: ContainerStatus.RUNNING,
    Found.PAUSED: ContainerStatus.PAUSED,
    Found.EXITED: ContainerStatus.EXITED,
    Found.FOREIGN: ContainerStatus.RUNNING,
    Found.OTHER_AGENT: ContainerStatus.RUNNING,
}
STRANGERS = (Found.FOREIGN, Found.OTHER_AGENT)


class Lab(World):
    """A world that notes what is done in which order, and whom the machine failed."""

    def __init__(self, path, **policy):
        super().__init__(path, **policy)
        self.api.claim(None, 1)
        self.record = Record(7, Phase.STAGING_IN, parse_job("7", spec()).spec, SLOT.id, 1000.0)
        self.attempts = []
        self.inhibited = []
        self.free_bytes = None
        self.slot = SLOT
        self.book = self.journal()

    def tools(self, journal, over=lambda port, *_: port):
        return replace(
            super().tools(journal, over),
            attempted=lambda slot, reason: self.attempts.append((slot.id, reason)),
            free_bytes=lambda: self.free_bytes,
            inhibit=self.inhibit,
        )

    def inhibit(self, why):
        world = self

        class Lock:
            def __enter__(self):
                world.inhibited.append((why, len(world.api.uploads)))

            def __exit__(self, *_):
                world.inhibited.append(("over", len(world.api.uploads)))

        return Lock()

    def resume(self, **changes):
        """Start over with this in the journal; the runner, which has not begun yet."""
        self.record = replace(self.record, **changes)
        self.book.save(self.record)
        return self.runner(self.tools(self.book), self.record, is_recovered=True)

    def put(self, found, code=0):
        """The engine has such a container of the job."""
        if found in STATUSES:
            status = STATUSES[found]
            ended = ContainerExit(code, False, "", 1000.0, 1060.0)
            self.engine._facts[NAME] = ContainerFact(
                NAME,
                status,
                8 if found is Found.FOREIGN else 7,
                "another" if found is Found.OTHER_AGENT else self.book.agent_id,
                1000.0,
                ended if status is ContainerStatus.EXITED else None,
            )

    def note_order(self):
        """Every removal of a container and every word to the API, in order."""
        order = []
        for port, name in ((self.engine, "remove"), (self.api, "say")):
            method = getattr(port, name)

            def call(*args, method=method, **kwargs):
                result = method(*args, **kwargs)
                order.append(args[0] if len(args) == 1 else args[1])
                return result

            setattr(port, name, call)
        return order

    def left(self):
        jobs = self.path / "jobs"
        return list(self.engine._facts), list(jobs.iterdir()) if jobs.exists() else [], self.book.active()


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.book.close()


def seen_fact(job_id):
    return ContainerFact(NAME, ContainerStatus.RUNNING, job_id, "us", 1000.0)


def in_thread(act):
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def join(thread):
    thread.join(LONG_S)
    assert not thread.is_alive()


def failing(port, name, errors):
    """Have a method raise these errors, one a call, before it works."""
    method, left = getattr(port, name), list(errors)

    def call(*args, **kwargs):
        if left:
            raise left.pop(0)
        return method(*args, **kwargs)

    setattr(port, name, call)


RECORDS = {
    "STAGING_IN": {},
    "RUNNING": {"phase": Phase.RUNNING},
    "STAGING_OUT": {"phase": Phase.STAGING_OUT, "outcome": Outcome(Verdict.FINISHED, exit_code=0)},
    "REPORTING": {"phase": Phase.REPORTING, "outcome": Outcome(Verdict.FINISHED, exit_code=0)},
    "returning": {"phase": Phase.REPORTING, "outcome": Outcome(Verdict.RETURNED, "why")},
    "DONE": {"phase": Phase.DONE, "outcome": Outcome(Verdict.FINISHED, exit_code=0)},
}


@pytest.mark.parametrize("found", Found)
@pytest.mark.parametrize("name", RECORDS)
def test_from_any_phase_and_find_to_the_end(tmp_path, name, found):
    """One word at the end, one start where a start was due, nothing left, no stranger's container touched."""
    lab = Lab(tmp_path, host_patience_s=0.0)
    lab.put(found)
    was_run = name not in {"STAGING_IN", "returning"} and found is not Found.NONE
    wait = lab.engine.wait
    lab.engine.wait = lambda *args, **kwargs: (
        lab.engine.look(NAME).exit or lab.engine.set_status(NAME, ContainerStatus.RUNNING),
        wait(*args, **kwargs),
    )[1]
    lab.resume(container_started=was_run or found is Found.VANISHED, attempts=1, **RECORDS[name]).run()
    is_blocked = found in STRANGERS and name in {"STAGING_IN", "RUNNING"}
    verdict = Word.QUEUED if is_blocked or name == "returning" else Word.FINISHED
    words = [word for _, word, _ in lab.api.said if word in {Word.QUEUED, Word.FINISHED, Word.ERROR}]
    assert words == ([] if name == "DONE" else [verdict])
    is_anew = name == "RUNNING" and found in {Found.NONE, Found.VANISHED, Found.CREATED}
    is_fresh = name == "STAGING_IN" and not is_blocked
    assert lab.engine.starts[NAME] == (1 if is_anew or is_fresh else 0)
    is_ended = found in {Found.RUNNING, Found.PAUSED} and name in {"STAGING_IN", "STAGING_OUT"}
    assert lab.engine.killed == ([NAME] if is_ended else [])
    assert lab.left() == ([NAME] if found in STRANGERS else [], [], [])
    lab.book.close()


@pytest.mark.parametrize("name", ["STAGING_IN", "RUNNING"])
def test_a_strangers_container_in_the_way_is_said(tmp_path, name):
    """What to do about it, to the machine's owner; the job waits as long as patience lasts."""
    lab = Lab(tmp_path)
    lab.put(Found.OTHER_AGENT)
    runner = lab.resume(**RECORDS[name])
    thread = in_thread(runner.run)
    wait_until(lambda: runner.track.status().trouble)
    assert "belongs to another agent (another)" in runner.track.status().trouble.text
    lab.engine.vanish(NAME)
    join(thread)
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]
    lab.book.close()


@pytest.mark.parametrize(("found", "keeps"), [(Found.CREATED, True), (Found.EXITED, False)])
def test_an_attempt_begins_with_the_inputs_alone(lab, found, keeps):
    """Half-written outputs and inputs that a container may have changed go; what it never saw stays."""
    lab.put(found)
    folder = lab.tools(lab.book).folder_of(7)
    folder.create()
    folder.make(("output",))
    (lab.path / "jobs/7/files/output/half.csv").write_text("half")
    lab.resume().run()
    assert ("7/output/output/half.csv" in lab.api.uploads) is keeps


def test_what_an_attempt_left_is_wiped_before_its_container_goes(lab):
    """The container is the mark that the folder is not clean: killed in between, the next start sees it."""
    lab.put(Found.EXITED)
    folder = lab.tools(lab.book).folder_of(7)
    folder.create()
    seen = []
    remove = lab.engine.remove
    lab.engine.remove = lambda name: (seen.append((lab.path / "jobs/7").exists()), remove(name))[1]
    lab.resume().run()
    assert seen[0] is False


@pytest.mark.parametrize("code", [137, 143, 255])
def test_what_the_engines_restart_killed_runs_again(lab, code):
    """Its end was read after the restart; the verdict is that of the second attempt."""
    lab.put(Found.EXITED, code)
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=OLD).run()
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]
    assert lab.engine.starts[NAME] == 1
    reason = "the container engine was started anew while its container ran"
    assert lab.attempts == [(0, reason), (0, "")]
    assert lab.left() == ([], [], [])


@pytest.mark.parametrize("code", [0, 1])
def test_who_saw_it_run_before_the_restart_knows_that_it_did_not_end_by_itself(lab, code):
    """A container that got SIGTERM from an engine that goes down may say anything."""
    lab.engine.scripts[7] = Script(None)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    lab.engine.is_away = True
    lab.engine.finish(NAME, code)
    wait_until(lambda: runner.track.status().trouble)
    lab.engine.scripts[7] = Script(5)
    lab.engine.engine_info = replace(lab.engine.engine_info, life=EngineLife("boot-1", "start-2"))
    lab.engine.is_away = False
    join(thread)
    assert lab.api.verdicts(7) == [(Word.ERROR, "exit code 5")]
    assert lab.engine.starts[NAME] == 2


def test_an_engine_that_tells_an_end_while_it_goes_down_is_not_believed(lab):
    """`docker` shutting down: waiting tells exit code 0, but its state cannot be asked any more."""
    lab.engine.scripts[7] = Script(None)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    info, lab.engine.info = lab.engine.info, lambda: (_ for _ in ()).throw(EngineTrouble("refused"))
    lab.engine.finish(NAME, 0)
    wait_until(lambda: runner.track.status().trouble)
    lab.engine.scripts[7] = Script(5)
    lab.engine.engine_info = replace(lab.engine.engine_info, life=EngineLife("boot-1", "start-2"))
    lab.engine.info = info
    join(thread)
    assert lab.api.verdicts(7) == [(Word.ERROR, "exit code 5")]


def test_a_code_of_its_own_read_after_a_restart_is_its_own(lab):
    """It may have ended long before, while no agent watched."""
    lab.put(Found.EXITED, 1)
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=OLD).run()
    assert lab.api.verdicts(7) == [(Word.ERROR, "exit code 1")]
    assert lab.attempts == [(0, "")]


def test_a_container_that_outlived_the_restart_is_under_the_new_life(lab):
    """With live-restore: what happens to it from now on is its own."""
    lab.put(Found.RUNNING)
    lab.engine.scripts[7] = Script(137)
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=OLD).run()
    ((word, details),) = lab.api.verdicts(7)
    assert (word, details.split(":")[0]) == (Word.ERROR, "exit code 137")
    assert lab.engine.starts[NAME] == 0
    assert lab.attempts == [(0, "")]


def test_a_reboot_runs_it_again_whatever_it_said(lab):
    """Exit code 0 of a container that was told to end by the shutdown."""
    lab.put(Found.EXITED, 0)
    lab.engine.scripts[7] = Script(5)
    life = EngineLife("boot-0", "start-1")
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=life).run()
    assert lab.api.verdicts(7) == [(Word.ERROR, "exit code 5")]


def test_it_writes_down_the_life_before_it_starts_the_container(lab):
    """A power cut right after the start must not hide the reboot, even if it takes the journal along."""
    seen = []
    ensure_started = lab.engine.ensure_started
    lab.engine.ensure_started = lambda plan: (seen.extend(lab.book.active()), ensure_started(plan))[1]
    lab.resume().run()
    assert [(one.life, one.container_started, one.attempts) for one in seen] == [(NEW, False, 0)]
    note = dict(lab.engine.plans[NAME].labels)[LABEL_NOTE]
    assert record_from(replace(seen_fact(7), job_note=note)).life == NEW


def test_it_is_given_back_after_so_many_attempts(lab):
    """Its container is gone before anybody else can begin; its user reads why, and no verdict."""
    lab.put(Found.EXITED, 137)
    order = lab.note_order()
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=MAX_ATTEMPTS, life=OLD).run()
    reason = "the container engine was started anew while its container ran"
    assert order == [Word.RUNNING, NAME, Word.QUEUED]
    assert lab.api.said[-1] == (7, Word.QUEUED, reason)
    assert lab.attempts == [(0, reason)]
    assert [(past.verdict, past.reason) for past in lab.book.history(9)] == [("returned", reason)]
    assert lab.left() == ([], [], [])


def test_a_lost_gpu_runs_again(lab):
    """On the slot with that GPU."""
    lab.put(Found.EXITED, 1)
    lab.engine._logs[NAME] = b"epoch 1\nFailed to initialize NVML: Unknown Error\n"
    slot = Slot(0, 1024, 2, (Gpu("GPU-1", "m", "a", 1024),))
    runner = lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=NEW)
    runner._work._slot = slot
    runner.run()
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]
    assert lab.attempts == [(0, "the machine's GPU was lost (failed to initialize nvml)"), (0, "")]


FULL = b"OSError: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(("free_bytes", "is_machines"), [(0, True), (10**12, False)])
def test_a_full_disk_runs_again(lab, free_bytes, is_machines):
    """Only if it is the machine's disk that is full."""
    runner = lab.resume(phase=Phase.RUNNING)
    runs = iter([Script(1, log=FULL), Script(0)])
    begin = lab.engine._start

    def start(plan, fact):
        lab.engine.scripts[7] = next(runs)
        return begin(plan, fact)

    lab.engine._start = start
    lab.free_bytes = free_bytes
    runner.run()
    ((word, _),) = lab.api.verdicts(7)
    assert word is (Word.FINISHED if is_machines else Word.ERROR)
    assert len(lab.attempts) == (2 if is_machines else 1)


@pytest.mark.parametrize(("code", "word"), [(0, Word.FINISHED), (9, Word.ERROR)])
def test_a_disk_that_may_have_been_full_while_the_agent_was_away(lab, code, word):
    """Nobody saw how full it was: the job runs again, and its end under our eyes is its own."""
    lab.put(Found.EXITED, 9)
    lab.engine._logs[NAME] = FULL
    lab.engine.scripts[7] = Script(code, log=FULL)
    lab.free_bytes = 10**12
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=NEW).run()
    assert [one for one, _ in lab.api.verdicts(7)] == [word]
    assert lab.engine.starts[NAME] == 1
    assert lab.attempts == [(0, "the machine's disk may have been full while the agent was away"), (0, "")]


def test_a_disk_too_full_for_the_log_is_freed_of_what_fills_it(lab):
    """The log cannot be saved beside the outputs that fill the disk: it is read, and they go."""
    lab.put(Found.EXITED, 1)
    lab.engine._logs[NAME] = b"x" * 100_000 + b"\n" + FULL
    lab.free_bytes = 0
    folder = lab.tools(lab.book).folder_of(7)
    folder.create()
    outputs = lab.path / "jobs/7/files/large"
    outputs.write_text("fills the disk")
    save_log = lab.engine.save_log

    def cannot(name, path, *, stop):
        if outputs.exists():
            raise DiskTrouble("no space")
        save_log(name, path, stop=stop)

    lab.engine.save_log = cannot
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=NEW).run()
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]
    assert lab.attempts == [(0, "the machine's disk was full"), (0, "")]


def test_a_disk_too_full_for_the_log_of_another_end_is_waited_for(lab):
    """What the job said last is not thrown away; that the disk was full is remembered."""
    lab.put(Found.EXITED, 1)
    lab.engine._logs[NAME] = b"no such file\n"
    failing(lab.engine, "save_log", [DiskTrouble("no space")] * 3)
    lab.free_bytes = NOTHING_LEFT_BYTES
    lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=NEW).run()
    assert lab.api.verdicts(7) == [(Word.ERROR, "exit code 1\nend of the log:\nno such file")]


def test_an_image_that_somebody_removed_is_pulled_again(lab):
    """Between the pull and the start: the inputs stay, the image comes anew."""
    lab.engine.registry, lab.policy = {"demo:1"}, replace(lab.policy, pull=ImagePull.ALWAYS)
    ensure_image = lab.engine.ensure_image
    removals = [True]

    def pulled_and_removed(*args, **kwargs):
        ensure_image(*args, **kwargs)
        if removals and removals.pop():
            lab.engine.images.clear()

    lab.engine.ensure_image = pulled_and_removed
    lab.resume().run()
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]
    assert lab.engine.pulls == ["demo:1"] * 2
    assert lab.attempts == [(0, "somebody removed the image demo:1"), (0, "")]


def test_an_image_that_is_removed_again_and_again_is_not_pulled_for_ever(lab):
    """As often as a container is started here."""
    lab.engine.registry, lab.policy = {"demo:1"}, replace(lab.policy, pull=ImagePull.ALWAYS)
    ensure_image = lab.engine.ensure_image
    lab.engine.ensure_image = lambda *args, **kwargs: (
        ensure_image(*args, **kwargs),
        lab.engine.images.clear(),
    )
    lab.resume().run()
    assert lab.api.said[-1] == (7, Word.QUEUED, "somebody removed the image demo:1")
    assert len(lab.engine.pulls) == MAX_ATTEMPTS
    assert lab.left() == ([], [], [])


@pytest.mark.parametrize("method", ["look", "ensure_image", "ensure_started", "info"])
@pytest.mark.parametrize("trouble", [EngineTrouble("Docker is away"), DiskTrouble("the disk is full")])
def test_a_machine_that_cannot_start_it_gives_it_back(tmp_path, method, trouble):
    """After its patience; with the reason, to the user and to the slot. Docker need not answer for that."""
    lab = Lab(tmp_path, host_patience_s=0.0)
    failing(lab.engine, method, [trouble] * (2 if method == "look" else 1))
    lab.resume().run()
    reason = f"this machine cannot run it: {trouble}"
    assert lab.api.said[-1] == (7, Word.QUEUED, reason)
    assert lab.attempts == [(0, reason)]
    assert lab.left() == ([], [], [])
    lab.book.close()


def test_a_full_disk_does_not_hinder_the_giving_back_twice(tmp_path):
    """That the job goes back is written down as soon as there is room, with the reason it had."""
    lab = Lab(tmp_path, host_patience_s=0.0)

    def fail(*_, **__):
        failing(lab.book, "save", [DiskTrouble("full")] * 3)
        raise EngineTrouble("away")

    lab.engine.ensure_image = fail
    lab.resume().run()
    reason = "this machine cannot run it: away"
    assert lab.api.said[-1] == (7, Word.QUEUED, reason)
    assert lab.attempts == [(0, reason)]
    lab.book.close()


def test_patience_outlasts_a_short_trouble(lab):
    """Half an hour, by default."""
    failing(lab.engine, "ensure_started", [EngineTrouble("Docker is away")] * 20)
    lab.resume().run()
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]


def test_an_api_that_is_away_never_costs_the_job(tmp_path):
    """Another machine has the same trouble."""
    lab = Lab(tmp_path, host_patience_s=0.0, transfer_budget_s=0.0)
    failing(lab.api, "download_request", [ApiTrouble("away", status=503)] * 5)
    lab.resume().run()
    assert lab.api.verdicts(7) == [(Word.FINISHED, "")]
    lab.book.close()


def test_a_leftover_that_nothing_ends_gives_the_job_back(tmp_path):
    """Another machine begins at once; this slot is taken until the container has gone."""
    lab = Lab(tmp_path, host_patience_s=0.0)
    lab.put(Found.RUNNING)
    lab.engine.unkillable = {NAME}
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.phase is Phase.DONE and runner.track.status().trouble)
    assert lab.api.said[-1][1] is Word.QUEUED
    assert "cannot be killed" in runner.track.status().trouble.text
    assert thread.is_alive()
    lab.engine.unkillable = set()
    join(thread)
    assert lab.left() == ([], [], [])
    lab.book.close()


def test_what_nothing_ends_is_reported_and_keeps_its_slot(lab, monkeypatch):
    """Past its time and stuck in the kernel: its outputs are delivered as they are, its container waits."""
    lab.put(Found.RUNNING)
    lab.engine.unkillable = {NAME}
    lab.engine.scripts[7] = Script(None)
    lab.engine._logs[NAME] = b"still here\n"

    def until_end(self, record, fact):
        self._save(replace(record, ending="timed out after 12 h"))
        raise Unkillable(f"container {fact.name} cannot be killed")

    monkeypatch.setattr("agent.attempt.Watch.until_end", until_end)
    runner = lab.resume(phase=Phase.RUNNING, container_started=True, attempts=1, life=NEW)
    folder = lab.tools(lab.book).folder_of(7)
    folder.create()
    folder.make(("output",))
    (lab.path / "jobs/7/files/output/a.csv").write_text("a")
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.phase is Phase.DONE and runner.track.status().trouble)
    assert lab.api.verdicts(7) == [(Word.ERROR, "timed out after 12 h\nend of the log:\nstill here")]
    assert sorted(lab.api.uploads) == ["7/log/log/container.log", "7/output/output/a.csv"]
    assert lab.attempts == [(0, f"container {NAME} cannot be killed")]
    assert thread.is_alive()
    lab.engine.unkillable = set()
    join(thread)
    assert lab.left() == ([], [], [])


def test_outputs_are_delivered_though_docker_is_away(lab):
    """Nobody can start a container meanwhile."""
    lab.resume(phase=Phase.STAGING_OUT, outcome=Outcome(Verdict.FINISHED, exit_code=0))
    folder = lab.tools(lab.book).folder_of(7)
    folder.create()
    folder.make(("output",))
    (lab.path / "jobs/7/files/output/a.csv").write_text("a")
    lab.engine.is_away = True
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: lab.api.verdicts(7))
    assert "7/output/output/a.csv" in lab.api.uploads
    lab.engine.is_away = False
    join(thread)


def test_the_machine_waits_with_its_shutdown_for_uploads_alone(lab):
    """From before the first file to after the last, and never while a container runs."""
    lab.resume().run()
    assert lab.inhibited == [("uploading the outputs of job 7", 0), ("over", 1)]


def released(runner, reason="the owner wants the machine"):
    assert runner.release(reason) is True
    return (7, Word.QUEUED, reason)


def test_release_while_it_runs(lab):
    """The container is ended and removed, then the job is given back, then nothing is said."""
    lab.engine.scripts[7] = Script(None)
    order = lab.note_order()
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    said = released(runner)
    join(thread)
    assert order[-2:] == [NAME, Word.QUEUED]
    assert set(order[:-2]) == {Word.PREPROCESSING, Word.RUNNING}
    assert lab.api.said[-1] == said
    assert lab.attempts == []
    assert lab.left() == ([], [], [])


def test_release_while_the_machine_is_in_trouble(tmp_path):
    """It does not wait for the next try."""
    lab = Lab(tmp_path, backoff=replace(World(tmp_path).policy.backoff, base_s=1e6, cap_s=1e6))
    failing(lab.engine, "ensure_started", [EngineTrouble("away")] * 2)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.track.status().trouble)
    said = released(runner)
    join(thread)
    assert lab.api.said[-1] == said
    lab.book.close()


def test_release_before_the_api_has_called_it_ours(lab):
    """After a restart, with the API away: given back as soon as it answers."""
    said = lab.api.say
    away = [True]

    def say(*args):
        if away:
            raise ApiTrouble("away")
        said(*args)

    lab.api.say = say
    runner = lab.resume(phase=Phase.RUNNING)
    thread = in_thread(runner.run)
    assert runner.release("wanted") is True
    wait_until(lambda: runner.record.phase is Phase.REPORTING)
    away.clear()
    join(thread)
    assert lab.api.said[-1] == (7, Word.QUEUED, "wanted")


def test_release_outlasts_a_stop_of_the_agent(lab):
    """What was promised is in the journal before the agent ends."""
    lab.engine.scripts[7] = Script(None)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    lab.stop.set = lambda: None
    assert runner.release("wanted") is True
    runner._agent_stop._event.set()
    join(thread)
    assert lab.api.said[-1] == (7, Word.QUEUED, "wanted")


@pytest.mark.parametrize("name", ["STAGING_OUT", "REPORTING", "DONE"])
def test_release_comes_too_late(lab, name):
    """What has been computed is delivered."""
    runner = lab.resume(**RECORDS[name])
    assert runner.release("wanted") is False
    runner.run()
    assert lab.api.verdicts(7) == ([] if name == "DONE" else [(Word.FINISHED, "")])


def test_release_of_a_job_that_is_gone_is_silent(lab):
    """Its user deleted it meanwhile."""
    lab.engine.scripts[7] = Script(None)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    lab.api.deleted.add(7)
    released(runner)
    join(thread)
    assert Word.QUEUED not in {word for _, word, _ in lab.api.said}
    assert lab.left() == ([], [], [])


def test_release_with_an_api_that_is_away_waits_in_peace(tmp_path):
    """It tries again at its own pace, not as fast as it can."""
    lab = Lab(tmp_path, backoff=replace(World(tmp_path).policy.backoff, base_s=1e6, cap_s=1e6))
    lab.engine.scripts[7] = Script(None)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    calls = []
    lab.api.status = lambda job_id: calls.append(job_id) or (_ for _ in ()).throw(ApiTrouble("away"))
    assert runner.release("wanted") is True
    wait_until(lambda: runner.track.status().trouble)
    assert lab.engine.list_ours() == []
    lab.stop.set()
    join(thread)
    assert len(calls) == 1
    assert lab.book.active()[0].outcome == Outcome(Verdict.RETURNED, "wanted")
    lab.book.close()


@pytest.mark.parametrize("state", [Word.QUEUED, Word.FINISHED, Word.ERROR])
def test_a_job_that_is_queued_or_over_is_not_given_back_again(lab, state):
    """The answer was lost, or the API gave it away: `queued` now would bring back what is over."""
    lab.api.states[7] = state
    lab.resume(**RECORDS["returning"]).run()
    assert lab.api.said == []
    assert lab.left() == ([], [], [])


def test_a_job_that_somebody_else_runs_is_not_taken_from_them(lab):
    """Its state reads like ours, but the API refuses: 404, and nothing more is said."""
    lab.api.states[7] = Word.RUNNING
    failing(lab.api, "say", [JobGone("404")])
    lab.resume(**RECORDS["returning"]).run()
    assert lab.api.said == []
    assert lab.left() == ([], [], [])


def test_release_in_the_last_moment_before_a_sleep_is_no_later_for_it(tmp_path):
    """The trouble is known, the sleep has not begun: it does not."""
    lab = Lab(tmp_path, backoff=replace(World(tmp_path).policy.backoff, base_s=1e6, cap_s=1e6))
    failing(lab.engine, "ensure_started", [EngineTrouble("away")])
    runner = lab.resume()
    hinder = runner.track.hinder
    runner.track.hinder = lambda text: (hinder(text), runner.release("wanted"))
    runner.run()
    assert lab.api.said[-1] == (7, Word.QUEUED, "wanted")
    lab.book.close()


def test_a_release_that_cannot_be_written_down_does_not_spin(tmp_path):
    """It is tried again at its own pace, until the agent stops."""
    lab = Lab(tmp_path, backoff=replace(World(tmp_path).policy.backoff, base_s=1e6, cap_s=1e6))
    lab.engine.scripts[7] = Script(None)
    runner = lab.resume()
    thread = in_thread(runner.run)
    wait_until(lambda: runner.record.container_started)
    tries = []
    lab.book.save = lambda record: tries.append(record) or (_ for _ in ()).throw(DiskTrouble("full"))
    assert runner.release("wanted") is True
    wait_until(lambda: runner.track.status().trouble)
    lab.stop.set()
    join(thread)
    assert len(tries) <= 2
    lab.book.close()
