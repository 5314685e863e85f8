"""What every engine must do: one suite for the fake and for a real dockerd."""

import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.docker_engine import DockerEngine
from agent.core.container import Limits, container_name, plan_container
from agent.core.engine_models import ContainerStatus, ImagePull
from agent.core.errors import EngineTrouble, ImageMissing, JobFailed, Stopped, Unkillable
from agent.core.models import AppSpec, HandlerSpec, Job, JobSpec, Slot
from agent.core.stopping import Stop
from tests.engine_host import IMAGES, frozen, why_no_freezer
from tests.fakes.engine import FakeEngine, Script
from tests.fakes.waiting import LONG_S, SOON_S, once, wait_until

ME = "this-agent"
MISSING = "decode-test/no-such-image:1"


class Count:
    """A Progress that adds up."""

    def __init__(self):
        self.size_bytes = 0

    @contextmanager
    def task(self, label, total_bytes):
        del label, total_bytes
        yield self

    def advance(self, size_bytes):
        self.size_bytes += size_bytes


def plan_for(job_id, folder, cmd=("true",), image=IMAGES.busybox, agent_id=ME, limits=None):
    spec = JobSpec(app=AppSpec(cmd=cmd), handler=HandlerSpec(image_url=image))
    return plan_container(
        Job(job_id, spec),
        Slot(0, 64, 1),
        limits or Limits(network="none"),
        agent_id=agent_id,
        version="1.0",
        folder=str(folder),
    )


class FakeBench:
    """The fake, told what its containers do by scripts."""

    def __init__(self, folder):
        self._folder = folder
        self.engine = FakeEngine(ME)
        self.engine.images |= {IMAGES.busybox}

    def plan(self, job_id, script):
        self.engine.scripts[job_id] = script
        return plan_for(job_id, self._folder)

    def create_only(self, plan):
        self.engine.ensure_started(plan)
        self.engine.starts.clear()
        self.engine.set_status(plan.name, ContainerStatus.CREATED)

    def pause(self, name):
        self.engine.set_status(name, ContainerStatus.PAUSED)

    @contextmanager
    def hang(self, name):
        self.engine.unkillable.add(name)
        yield
        self.engine.unkillable.clear()

    def add_foreign(self, name, job_id, agent_id):
        self.engine.add_foreign(name, job_id, agent_id)

    def is_there(self, name):
        return self.engine.look(name) is not None

    def starts(self, name):
        return self.engine.starts[name]


class RealBench:
    """A real engine, its containers are shell commands; each start leaves a mark in the job's folder."""

    def __init__(self, dockerd, folder):
        self._dockerd = dockerd
        self._folder = folder
        self.engine = DockerEngine(dockerd.url, ME, timeout_s=60)

    def plan(self, job_id, script):
        text = "trap '' TERM;" if script.ignores_term else ""
        text += f"echo {job_id} >> /files/starts;"
        for path, content in script.writes.items():
            text += f"mkdir -p $(dirname /files/{path}); printf %s '{content.decode()}' > /files/{path};"
        if script.log:
            text += f"printf %s '{script.log.decode()}';"
        text += "sleep 1000 & wait; sleep 1000" if script.exit_code is None else f"exit {script.exit_code}"
        return plan_for(job_id, self._folder, (text,))

    def create_only(self, plan):
        labels = [word for name, value in plan.labels for word in ("--label", f"{name}={value}")]
        mount = f"{plan.folder}:/files"
        self._dockerd.docker(
            *("create", "--name", plan.name, *labels, "--volume", mount, "--init"),
            *(plan.image, "/bin/sh", "-c", plan.command[0]),
        )

    def pause(self, name):
        self._dockerd.docker("pause", name)

    @contextmanager
    def hang(self, name):
        if why_no_freezer():
            pytest.skip(why_no_freezer())
        with frozen(self._dockerd, name):
            yield

    def add_foreign(self, name, job_id, agent_id):
        labels = []
        if job_id is not None:
            labels = ["--label", f"decode-agent.job-id={job_id}"]
        if agent_id:
            labels += ["--label", f"decode-agent.agent-id={agent_id}"]
        self._dockerd.docker("run", "-d", "--name", name, *labels, IMAGES.busybox, "sleep", "1000")

    def is_there(self, name):
        return name in self._dockerd.docker("ps", "--all", "--format", "{{.Names}}").split()

    def starts(self, name):
        marks = Path(self._folder, "starts")
        job_id = name.rpartition("-")[2]
        return marks.read_text().split().count(job_id) if marks.exists() else 0


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.docker)])
def bench(request, tmp_path):
    if request.param == "fake":
        return FakeBench(tmp_path)
    return RealBench(request.getfixturevalue("dockerd"), tmp_path)


@pytest.fixture
def engine(bench):
    return bench.engine


def test_it_says_its_version(engine):
    assert engine.ping()[0].isdigit()
    assert engine.info().version == engine.ping()


def test_its_life_has_a_name_that_stays(engine):
    """As long as neither the machine nor the engine is started anew."""
    life = engine.info().life
    assert life.boot
    assert life.start
    assert engine.info().life == life


@pytest.mark.parametrize("code", [0, 1, 3, 126, 255])
def test_the_exit_code_arrives(bench, engine, code):
    plan = bench.plan(1, Script(exit_code=code))
    before = time.time()
    engine.ensure_started(plan)
    ended = engine.wait(plan.name, timeout_s=LONG_S, stop=Stop())
    assert (ended.code, ended.oom_killed, ended.error) == (code, False, "")
    assert before - 1 < ended.finished_at < time.time() + 1
    assert before - 1 < ended.started_at < time.time() + 1  # taken after the start: it may be the later


def test_a_started_container_is_a_fact_with_its_labels(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    before = time.time()
    fact = engine.ensure_started(plan)
    assert fact == engine.look(plan.name)
    assert (fact.name, fact.status, fact.exit) == (plan.name, ContainerStatus.RUNNING, None)
    assert (fact.job_id, fact.agent_id) == (1, ME)
    assert before - 1 < fact.started_at < time.time() + 1


def test_what_it_writes_is_in_the_folder(bench, engine, tmp_path):
    plan = bench.plan(1, Script(writes={"out/a.txt": b"content"}))
    engine.ensure_started(plan)
    engine.wait(plan.name, timeout_s=LONG_S, stop=Stop())
    assert (tmp_path / "out/a.txt").read_bytes() == b"content"


def test_a_running_container_is_adopted(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    first = engine.ensure_started(plan)
    assert engine.ensure_started(plan) == first
    wait_until(lambda: bench.starts(plan.name))  # or it could be killed before it leaves its mark
    engine.kill(plan.name, grace_s=0)
    assert bench.starts(plan.name) == 1


def test_an_exited_container_is_never_started_again(bench, engine):
    plan = bench.plan(1, Script(exit_code=3))
    engine.ensure_started(plan)
    engine.wait(plan.name, timeout_s=LONG_S, stop=Stop())
    again = engine.ensure_started(plan)
    assert (again.status, again.exit.code) == (ContainerStatus.EXITED, 3)
    assert bench.starts(plan.name) == 1


def test_a_container_that_was_created_only_is_started(bench, engine):
    """The agent or the engine may die between create and start."""
    plan = bench.plan(1, Script(exit_code=4))
    bench.create_only(plan)
    assert engine.look(plan.name).status is ContainerStatus.CREATED
    engine.ensure_started(plan)
    assert engine.wait(plan.name, timeout_s=LONG_S, stop=Stop()).code == 4
    assert bench.starts(plan.name) == 1


def test_waiting_for_one_that_was_never_started_is_trouble(bench, engine):
    plan = bench.plan(1, Script())
    bench.create_only(plan)
    with pytest.raises(EngineTrouble, match="never started"):
        engine.wait(plan.name, timeout_s=5, stop=Stop())


def test_wait_returns_nothing_when_its_time_is_over(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    began = time.monotonic()
    assert engine.wait(plan.name, timeout_s=0.3, stop=Stop()) is None
    assert 0.3 <= time.monotonic() - began < SOON_S
    assert engine.wait(plan.name, timeout_s=0, stop=Stop()) is None


def test_a_stop_wakes_a_wait(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    stop = Stop()
    with once(lambda: stop._wakers, stop.set) as passed_s:
        assert engine.wait(plan.name, timeout_s=LONG_S, stop=stop) is None
        assert passed_s() < SOON_S
    assert engine.look(plan.name).status is ContainerStatus.RUNNING


def test_after_a_stop_a_wait_does_not_begin(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    stop = Stop()
    stop.set()
    assert engine.wait(plan.name, timeout_s=LONG_S, stop=stop) is None


def test_two_can_wait_for_one(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    codes = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(engine.wait(plan.name, timeout_s=LONG_S, stop=Stop()).code)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    engine.kill(plan.name, grace_s=0)
    for thread in threads:
        thread.join(LONG_S)
    assert len(codes) == 2
    assert set(codes) <= {137, 143}


def test_a_kill_is_gentle_first(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    wait_until(lambda: bench.starts(plan.name))  # a SIGTERM that comes before init has its handler is lost
    engine.kill(plan.name, grace_s=10)
    assert engine.wait(plan.name, timeout_s=LONG_S, stop=Stop()).code == 143


def test_a_kill_ends_what_ignores_sigterm(bench, engine):
    plan = bench.plan(1, Script(exit_code=None, ignores_term=True))
    engine.ensure_started(plan)
    wait_until(lambda: bench.starts(plan.name))  # by then it has set its trap
    engine.kill(plan.name, grace_s=1)
    ended = engine.look(plan.name).exit
    assert (ended.code, ended.oom_killed) == (137, False)


def test_one_that_cannot_be_killed_is_called_so_in_time(bench, engine):
    """Its process hangs in the kernel. When it no longer does, it can be killed."""
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    with bench.hang(plan.name):
        for end in (lambda: engine.kill(plan.name, grace_s=1), lambda: engine.remove(plan.name)):
            began = time.monotonic()
            with pytest.raises(Unkillable, match=plan.name):
                end()
            assert time.monotonic() - began < LONG_S
        assert engine.look(plan.name).exit is None
    engine.kill(plan.name, grace_s=0)
    assert engine.look(plan.name).status is ContainerStatus.EXITED
    engine.remove(plan.name)
    assert engine.look(plan.name) is None


def test_what_a_running_container_does_can_be_seen(bench, engine):
    """Seconds of CPU, and a mark of its last line."""
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    assert engine.activity(plan.name).cpu_s >= 0
    engine.kill(plan.name, grace_s=0)
    with pytest.raises(EngineTrouble, match="does not run"):
        engine.activity(plan.name)
    engine.remove(plan.name)
    with pytest.raises(EngineTrouble, match=plan.name):
        engine.activity(plan.name)


def test_a_paused_container_can_be_killed_and_adopted(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    bench.pause(plan.name)
    assert engine.ensure_started(plan).status is ContainerStatus.PAUSED
    assert engine.wait(plan.name, timeout_s=0.2, stop=Stop()) is None
    engine.kill(plan.name, grace_s=5)
    assert engine.look(plan.name).status is ContainerStatus.EXITED


def test_kill_and_remove_are_harmless_again_and_again(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    for _ in range(2):
        engine.kill(plan.name, grace_s=0)
    for _ in range(2):
        engine.remove(plan.name)
    engine.kill(plan.name, grace_s=0)
    assert engine.look(plan.name) is None


@pytest.mark.parametrize("exit_code", [None, 0])
def test_remove_takes_running_and_ended_ones(bench, engine, exit_code):
    plan = bench.plan(1, Script(exit_code=exit_code))
    engine.ensure_started(plan)
    engine.remove(plan.name)
    assert not bench.is_there(plan.name)


def test_remove_takes_paused_and_created_ones(bench, engine):
    first, second = bench.plan(1, Script(exit_code=None)), bench.plan(2, Script())
    engine.ensure_started(first)
    bench.pause(first.name)
    bench.create_only(second)
    for plan in (first, second):
        engine.remove(plan.name)
        assert not bench.is_there(plan.name)


def test_a_container_that_vanishes_under_a_wait_is_trouble(bench, engine):
    plan = bench.plan(1, Script(exit_code=None))
    engine.ensure_started(plan)
    stop = Stop()
    with once(lambda: stop._wakers, lambda: engine.remove(plan.name)) as passed_s:
        with suppress(EngineTrouble):  # with luck the end is seen before the removal
            assert engine.wait(plan.name, timeout_s=LONG_S, stop=stop).code in {137, 143}
        assert passed_s() < SOON_S


def test_the_list_holds_all_of_ours_with_their_labels(bench, engine):
    """Those of other agents too; what has no label of ours is not in it."""
    engine.ensure_started(bench.plan(1, Script(exit_code=None)))
    ended = bench.plan(2, Script(exit_code=5))
    engine.ensure_started(ended)
    engine.wait(ended.name, timeout_s=LONG_S, stop=Stop())
    bench.add_foreign(container_name(3), 3, "another")
    bench.add_foreign("somebodys", None, "")
    facts = {fact.name: fact for fact in engine.list_ours()}
    assert {name: (fact.job_id, fact.agent_id) for name, fact in facts.items()} == {
        "decode-job-1": (1, ME),
        "decode-job-2": (2, ME),
        "decode-job-3": (3, "another"),
    }
    assert facts["decode-job-1"].exit is None
    assert facts["decode-job-2"].exit.code == 5


def test_no_containers_is_an_empty_list(engine):
    assert engine.list_ours() == []


@pytest.mark.parametrize(("job_id", "agent_id"), [(None, ""), (8, ME), (7, "another"), (7, "")])
def test_a_container_that_somebody_else_made_is_never_touched(bench, engine, tmp_path, job_id, agent_id):
    """It has our name by chance, or belongs to another agent on this engine."""
    plan = bench.plan(7, Script())
    bench.add_foreign(plan.name, job_id, agent_id)
    for touch in (
        lambda: engine.ensure_started(plan),
        lambda: engine.kill(plan.name, grace_s=0),
        lambda: engine.remove(plan.name),
        lambda: engine.wait(plan.name, timeout_s=1, stop=Stop()),
        lambda: engine.save_log(plan.name, tmp_path / "log", stop=Stop()),
        lambda: next(engine.read_log(plan.name, follow=True, stop=Stop())),
    ):
        with pytest.raises(EngineTrouble, match=r"not ours|another agent"):
            touch()
    assert engine.look(plan.name).status is ContainerStatus.RUNNING


def test_the_log_is_written_as_a_whole(bench, engine, tmp_path):
    text = "".join(f"line {number}\n" for number in range(1000)).encode()
    plan = bench.plan(1, Script(log=text))
    engine.ensure_started(plan)
    engine.wait(plan.name, timeout_s=LONG_S, stop=Stop())
    target = tmp_path / "log"
    target.write_bytes(b"an older one")
    engine.save_log(plan.name, target, stop=Stop())
    assert target.read_bytes() == text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("log")] == ["log"]


def test_an_empty_log_is_an_empty_file(bench, engine, tmp_path):
    plan = bench.plan(1, Script())
    engine.ensure_started(plan)
    engine.wait(plan.name, timeout_s=LONG_S, stop=Stop())
    engine.save_log(plan.name, tmp_path / "log", stop=Stop())
    assert (tmp_path / "log").read_bytes() == b""


def test_a_log_can_be_read_while_it_runs(bench, engine):
    """As far as it has come, without waiting for more."""
    plan = bench.plan(1, Script(exit_code=None, log=b"line 1\nline 2\n"))
    engine.ensure_started(plan)
    wait_until(lambda: b"".join(engine.read_log(plan.name, follow=False, stop=Stop())).count(b"\n") == 2)
    assert b"".join(engine.read_log(plan.name, follow=False, stop=Stop())) == b"line 1\nline 2\n"
    assert engine.look(plan.name).status is ContainerStatus.RUNNING


def test_a_log_that_is_followed_ends_with_the_container(bench, engine):
    """What is there comes at once, the end comes with the end."""
    plan = bench.plan(1, Script(exit_code=None, log=b"line 1\n"))
    engine.ensure_started(plan)
    stop = Stop()
    with closing(engine.read_log(plan.name, follow=True, stop=stop)) as pieces:
        assert next(pieces) == b"line 1\n"
        with once(lambda: stop._wakers, lambda: engine.kill(plan.name, grace_s=0)) as passed_s:
            assert list(pieces) == []
            assert passed_s() < SOON_S
    assert engine.look(plan.name).status is ContainerStatus.EXITED


def test_to_follow_an_ended_container_is_to_read_its_log(bench, engine):
    plan = bench.plan(1, Script(log=b"all of it\n"))
    engine.ensure_started(plan)
    engine.wait(plan.name, timeout_s=LONG_S, stop=Stop())
    assert b"".join(engine.read_log(plan.name, follow=True, stop=Stop())) == b"all of it\n"


def test_a_stop_ends_following_at_once(bench, engine):
    """However silent the container is; it runs on."""
    plan = bench.plan(1, Script(exit_code=None, log=b"line 1\n"))
    engine.ensure_started(plan)
    stop = Stop()
    with closing(engine.read_log(plan.name, follow=True, stop=stop)) as pieces:
        assert next(pieces) == b"line 1\n"
        with once(lambda: stop._wakers, stop.set) as passed_s:
            with pytest.raises(Stopped):
                list(pieces)
            assert passed_s() < SOON_S
    assert engine.look(plan.name).status is ContainerStatus.RUNNING
    assert not stop._wakers


def test_a_reader_may_leave(bench, engine):
    """Its connection is closed with it."""
    plan = bench.plan(1, Script(exit_code=None, log=b"line 1\n"))
    engine.ensure_started(plan)
    stop = Stop()
    with closing(engine.read_log(plan.name, follow=True, stop=stop)) as pieces:
        assert next(pieces) == b"line 1\n"
    assert not stop._wakers


def test_a_stopped_agent_saves_no_log(bench, engine, tmp_path):
    plan = bench.plan(1, Script(log=b"x"))
    engine.ensure_started(plan)
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        engine.save_log(plan.name, tmp_path / "log", stop=stop)
    with pytest.raises(Stopped):
        list(engine.read_log(plan.name, follow=True, stop=stop))
    assert not (tmp_path / "log").exists()


def test_an_unknown_container_is_nothing_or_trouble(engine, tmp_path):
    name = container_name(404)
    assert engine.look(name) is None
    engine.kill(name, grace_s=0)
    engine.remove(name)
    with pytest.raises(EngineTrouble, match=name):
        engine.wait(name, timeout_s=1, stop=Stop())
    with pytest.raises(EngineTrouble, match=name):
        engine.save_log(name, tmp_path / "log", stop=Stop())
    with pytest.raises(EngineTrouble, match=name):
        list(engine.read_log(name, follow=True, stop=Stop()))


def test_an_image_that_was_removed_before_the_start_is_not_the_jobs_fault(bench, engine):
    """It had been here, or nobody would start a container of it."""
    plan = replace(bench.plan(1, Script()), image=MISSING)
    with pytest.raises(ImageMissing, match=MISSING):
        engine.ensure_started(plan)
    assert engine.look(plan.name) is None


def test_an_image_that_nobody_has_is_the_jobs_fault(engine):
    with pytest.raises(JobFailed, match=f"image not found: {MISSING}"):
        engine.ensure_image(MISSING, ImagePull.NEVER, stop=Stop(), progress=Count())


@pytest.mark.parametrize("policy", [ImagePull.MISSING, ImagePull.NEVER])
def test_an_image_that_is_here_is_not_pulled(engine, policy):
    progress = Count()
    engine.ensure_image(IMAGES.busybox, policy, stop=Stop(), progress=progress)
    assert progress.size_bytes == 0


def test_a_stopped_agent_pulls_nothing(engine):
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        engine.ensure_image(MISSING, ImagePull.ALWAYS, stop=stop, progress=Count())
