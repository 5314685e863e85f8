"""What only a real Docker can show: limits, rights, faults of the daemon, pulls from a real registry."""

import gc
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from agent.adapters import docker_engine
from agent.adapters.docker_engine import DockerEngine
from agent.adapters.docker_engine_oom import OomWatch
from agent.core.container import Limits, plan_container
from agent.core.engine_models import ContainerStatus, ImagePull
from agent.core.errors import EngineTrouble, JobFailed, Stopped
from agent.core.models import AppSpec, Gpu, HandlerSpec, Job, JobSpec, Slot
from agent.core.stopping import Stop
from tests.engine_host import IMAGES, tar_of_noise
from tests.fakes.waiting import LONG_S, SOON_S, once, wait_until

pytestmark = pytest.mark.docker

SLOT = Slot(0, 64, 1)
HOG = "x=$(head -c 200m /dev/zero | tr '\\0' x)"


class Count:
    def __init__(self):
        self.size_bytes = 0

    @contextmanager
    def task(self, label, total_bytes):
        del label, total_bytes
        yield self

    def advance(self, size_bytes):
        self.size_bytes += size_bytes


@pytest.fixture
def engine(engine_url):
    return DockerEngine(engine_url, "me")


@pytest.fixture
def plan(tmp_path):
    def make(cmd, *, job_id=7, image=IMAGES.busybox, slot=SLOT, env=None, limits=None):
        words = None if cmd is None else (cmd,)
        spec = JobSpec(app=AppSpec(cmd=words, env=env), handler=HandlerSpec(image_url=image))
        return plan_container(
            Job(job_id, spec),
            slot,
            limits or Limits(network="none"),
            agent_id="me",
            version="1.0",
            folder=str(tmp_path),
        )

    return make


@pytest.fixture
def run(engine, plan, tmp_path):
    """Run a command to its end; its exit and its log."""

    def act(cmd, **kwargs):
        made = plan(cmd, **kwargs)
        engine.ensure_started(made)
        ended = engine.wait(made.name, timeout_s=LONG_S, stop=Stop())
        engine.save_log(made.name, tmp_path / "the-log", stop=Stop())
        engine.remove(made.name)
        return ended, (tmp_path / "the-log").read_text(errors="replace")

    return act


# The container as promised


def test_the_log_has_both_streams_in_their_order(run):
    _, log = run("echo 1; sleep 1; echo 2 >&2; sleep 1; echo 3")
    assert log == "1\n2\n3\n"


def test_a_long_line_without_end_arrives_whole(run):
    _, log = run("head -c 300000 /dev/zero | tr '\\0' x")
    assert log == "x" * 300000


def test_the_log_is_bounded_and_keeps_its_end(run):
    """A chatty job fills its own quota, not the host's disk."""
    _, log = run("seq 1 500000; echo the end", limits=Limits(network="none", log_max_mib=1))
    assert len(log) < 1.5 * 1024 * 1024
    assert log.endswith("500000\nthe end\n")


def test_a_silent_container_is_followed_longer_than_a_call_may_take(engine_url, plan):
    """A model may train for an hour between two lines."""
    engine = DockerEngine(engine_url, "me", timeout_s=1)
    made = plan("echo 1; sleep 3; echo 2 >&2")
    engine.ensure_started(made)
    assert b"".join(engine.read_log(made.name, follow=True, stop=Stop())) == b"1\n2\n"


def test_an_entrypoint_does_not_swallow_the_command(run):
    _, log = run("echo run", image=IMAGES.entrypoint)
    assert log == "run\n"


def test_without_a_command_entrypoint_and_command_of_the_image_run(run, tmp_path):
    _, log = run(None, image=IMAGES.entrypoint)
    assert log == "swallowed by default\n"
    ended, _ = run(None, image=IMAGES.own_command)
    assert (ended.code, (tmp_path / "own.txt").read_text()) == (5, "own\n")


def test_the_shell_reads_the_joined_command(run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a b.mat").touch()
    _, log = run("mkdir /files/output && echo \"$(find /files/data -name '*.mat' | head -n 1)\"")
    assert log == "/files/data/a b.mat\n"
    assert (tmp_path / "output").is_dir()


def test_the_environment_is_the_jobs(run):
    _, log = run("env", env={"A": "x=y z", "NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "0"})
    assert "A=x=y z\n" in log
    assert "NVIDIA_VISIBLE_DEVICES=void\n" in log
    assert "CUDA" not in log


def test_only_the_promised_capabilities_are_left(run):
    _, log = run("grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)|NoNewPrivs' /proc/self/status")
    five = f"{1 << 0 | 1 << 1 | 1 << 3 | 1 << 6 | 1 << 7:016x}"  # linux/capability.h
    found = dict(line.split(":\t") for line in log.splitlines())
    assert found["NoNewPrivs"] == "1"
    assert (found["CapPrm"], found["CapEff"], found["CapBnd"]) == (five, five, five)


def test_root_inside_can_manage_its_files_and_nothing_else(run):
    script = (
        "cd /files; touch a; chown 1000:1000 a; chmod 600 a; echo x > a; stat -c '%u %a' a; mknod b c 1 3"
    )
    ended, log = run(script)
    assert "1000 600\n" in log
    assert "Operation not permitted" in log
    assert ended.code != 0


def test_more_capabilities_come_by_setting(run):
    ended, _ = run("mknod /files/b c 1 3", limits=Limits(network="none", capabilities=("CAP_MKNOD",)))
    assert ended.code == 0


def test_shared_memory_is_private_and_as_large_as_promised(run):
    _, log = run("df -k /dev/shm | tail -n 1", limits=Limits(network="none", shm_mib=48))
    assert log.split()[1] == str(48 * 1024)


def test_a_fork_bomb_meets_its_limit(run):
    ended, log = run(
        "i=0; while [ $i -lt 60 ]; do sleep 200 & i=$((i+1)); done; echo all", limits=Limits("none", pids=30)
    )
    assert ended.code != 0
    assert "all" not in log


def test_init_reaps_the_orphans(run):
    """Without it zombies would fill the limit of processes."""
    zombies = "grep -l 'State:.*Z' /proc/[0-9]*/status | wc -l"
    _, log = run(f"for i in 1 2 3; do (sleep .1 &); done; sleep .5; {zombies}; cat /proc/1/comm")
    assert log.split() == ["0", "docker-init"]


def test_the_network_is_that_of_the_setting(run):
    _, log = run("ls /sys/class/net", limits=Limits(network="none"))
    assert log.split() == ["lo"]
    _, log = run("ls /sys/class/net", limits=Limits(network="bridge"))
    assert "eth0" in log.split()


def test_a_container_on_nothing_but_the_promised_terms(engine, plan, dockerd):
    made = plan("sleep 100")
    engine.ensure_started(made)
    host = dockerd.docker(
        *("inspect", made.name, "--format"),
        "{{.HostConfig.AutoRemove}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.IpcMode}} "
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}",
    )
    assert host == f"false no private {64 * 1024 * 1024} 1000000000 4096"


def test_volumes_of_the_image_are_removed_too(engine, plan, dockerd):
    made = plan("echo x > /scratch/x", image=IMAGES.volume)
    engine.ensure_started(made)
    engine.wait(made.name, timeout_s=LONG_S, stop=Stop())
    assert dockerd.docker("volume", "ls", "--quiet") != ""
    engine.remove(made.name)
    assert dockerd.docker("volume", "ls", "--quiet") == ""


# How it ends


def looks_of(engine):
    """Grows with each look that the engine takes at a container; the first of a wait is when it listens."""
    looks, look = [], engine.look

    def noted(name):
        fact = look(name)
        looks.append(fact)
        return fact

    engine.look = noted
    return looks


@pytest.mark.parametrize(
    "cmd", [HOG, f"sleep .3; {HOG}", f"({HOG}); exit 9"], ids=["at once", "later", "a child"]
)
def test_lack_of_memory_is_seen(run, cmd):
    for _ in range(3):
        ended, _ = run(cmd, slot=Slot(0, 32, 1))
        assert (ended.code in {9, 137}, ended.oom_killed) == (True, True)


def test_the_watch_sees_it_whatever_docker_says(engine, plan, dockerd, tmp_path):
    """Docker misses some of them, so this asks the watch alone."""
    for number in range(3):
        until_watched = f"until [ -e /files/{number} ]; do sleep .1; done"
        made = plan(f"{until_watched}; {HOG}", job_id=number, slot=Slot(0, 32, 1))
        engine.ensure_started(made)
        container, pid = dockerd.docker("inspect", "--format", "{{.Id}} {{.State.Pid}}", made.name).split()
        with OomWatch(container, int(pid)) as memory:
            (tmp_path / str(number)).touch()
            engine.wait(made.name, timeout_s=LONG_S, stop=Stop())
            assert memory.has_killed()


def test_a_kill_is_no_lack_of_memory(run, engine, plan, tmp_path):
    ended, _ = run("kill -9 $$")
    assert (ended.code, ended.oom_killed) == (137, False)
    made = plan("trap '' TERM; touch /files/ready; while :; do sleep 1; done")
    engine.ensure_started(made)
    with once((tmp_path / "ready").exists, lambda: engine.kill(made.name, grace_s=0)):
        ended = engine.wait(made.name, timeout_s=LONG_S, stop=Stop())
    assert (ended.code, ended.oom_killed) == (137, False)


def test_the_end_is_seen_at_once(engine, plan, monkeypatch):
    """Docker tells it: nobody has to look again and again, nor after a while."""
    monkeypatch.setattr(docker_engine, "_LOOK_AGAIN_S", 2 * LONG_S)
    looks = looks_of(engine)
    counts = []
    for number in range(3):
        made = plan("sleep 2", job_id=number)
        engine.ensure_started(made)
        looks.clear()
        ended = engine.wait(made.name, timeout_s=2 * LONG_S, stop=Stop())
        assert time.time() - ended.finished_at < SOON_S
        counts.append(len(looks))
    assert min(counts) <= 2  # one before the sleep, one after


def test_the_host_mounts_what_is_there_and_makes_no_folder(engine, plan, tmp_path):
    made = replace(plan("true"), folder=str(tmp_path / "missing"))
    with pytest.raises(EngineTrouble, match="bind source path does not exist"):
        engine.ensure_started(made)
    assert not (tmp_path / "missing").exists()


def test_an_image_without_a_shell_fails_with_127_and_a_log_that_says_why(run):
    ended, log = run("echo x", image=IMAGES.no_shell)
    assert ended.code == 127
    assert "/bin/sh" in log


def test_an_image_without_any_command_is_the_jobs_fault(engine, plan):
    with pytest.raises(JobFailed, match="no command"):
        engine.ensure_started(plan(None, image=IMAGES.no_shell))


def test_a_user_that_the_image_does_not_know_is_the_jobs_fault(engine, plan, dockerd):
    dockerd.docker("create", "--name", "base", IMAGES.busybox)
    dockerd.docker("commit", "--change", "USER nobody9", "base", "decode-test/odd-user:1")
    with pytest.raises(JobFailed, match="could not be started: unable to find user nobody9"):
        engine.ensure_started(plan("true", image="decode-test/odd-user:1"))


def test_settings_that_docker_refuses_are_not_the_jobs_fault(engine, plan):
    for limits in (
        Limits(network="no-such-network"),
        Limits(network="none", capabilities=("NONSENSE",)),
    ):
        made = plan("true", limits=limits)
        with pytest.raises(EngineTrouble, match=r"no-such-network|NONSENSE"):
            engine.ensure_started(made)
        engine.remove(made.name)


def test_a_gpu_that_docker_cannot_give_is_the_hosts_trouble(engine, plan):
    made = plan("true", slot=Slot(0, 64, 1, (Gpu("GPU-1", "x", "y", 1),)))
    with pytest.raises(EngineTrouble, match="could not select device driver"):
        engine.ensure_started(made)


def test_a_non_root_image_runs_as_its_user(run):
    _, log = run("id -u", image=IMAGES.user)
    assert log == "1000\n"


# A daemon in trouble


RESTART_S = 150  # what a daemon may take to end and to start


class Waiter(threading.Thread):
    """Waits as a runner does: whenever Docker is in trouble it waits again."""

    def __init__(self, engine, name):
        super().__init__()
        self._engine = engine
        self._job = name
        self.troubles = []
        self.ended = None
        looks = looks_of(engine)
        self.start()
        wait_until(lambda: looks)

    def run(self):
        deadline = time.monotonic() + RESTART_S
        while self.ended is None and time.monotonic() < deadline:
            try:
                self.ended = self._engine.wait(self._job, timeout_s=LONG_S, stop=Stop())
            except EngineTrouble as trouble:
                self.troubles.append(trouble)
                time.sleep(0.05)


def test_a_restart_of_the_daemon_ends_the_container_not_the_wait(engine, plan, dockerd):
    """Without live-restore the daemon takes its containers along; whose fault that is others decide."""
    made = plan("sleep 1000")
    engine.ensure_started(made)
    waiter = Waiter(engine, made.name)
    dockerd.restart()
    waiter.join(RESTART_S)
    assert (waiter.ended.code in {137, 143}, waiter.ended.oom_killed) == (True, False)
    assert engine.ensure_started(made).status is ContainerStatus.EXITED


def test_each_start_of_the_daemon_is_a_life_of_its_own(engine, dockerd):
    """In good order or after SIGKILL; the machine's stays."""
    lives = [engine.info().life]
    dockerd.restart()
    lives.append(engine.info().life)
    dockerd.end(signal.SIGKILL)
    dockerd.start()
    lives.append(engine.info().life)
    assert len({life.start for life in lives}) == 3
    assert len({life.boot for life in lives}) == 1


def test_a_daemon_that_goes_down_tells_how_containers_ended_but_nothing_of_itself(engine, plan, dockerd):
    """They say 0 to its SIGTERM, and it passes that on; asking for its life shows not to believe it."""
    engine.ensure_started(plan("trap 'exit 0' TERM; while :; do sleep 0.1; done", job_id=7))
    engine.ensure_started(plan("trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done", job_id=8))
    before = engine.info().life
    engine.look("decode-job-7")  # a connection is open when the daemon begins to go down
    thread = threading.Thread(target=dockerd.restart)
    with suppress(EngineTrouble):  # or it is gone too soon to tell
        waited = once(lambda: True, thread.start)
        with waited:
            ended = engine.wait("decode-job-7", timeout_s=LONG_S, stop=Stop())
        assert ended is not None
        assert ended.code == 0
    try:
        assert engine.info().life != before  # unless it raises, it is that of the next start
    except EngineTrouble:
        pass
    finally:
        thread.join(LONG_S)
    assert engine.info().life != before
    assert engine.look("decode-job-7").exit.code == 0


def test_what_the_daemon_says_of_itself(engine, engine_url, dockerd, monkeypatch):
    """Its folder counts only where it is this machine's."""
    info = engine.info()
    assert (info.data_root, info.keeps_containers) == (f"{dockerd.folder}/data", False)
    dockerd.configure({"live-restore": True})
    dockerd.reload()
    assert engine.info().keeps_containers
    dockerd.configure({})
    dockerd.reload()
    elsewhere = DockerEngine(engine_url, "me")
    monkeypatch.setattr(elsewhere, "_is_local", False)
    assert (elsewhere.info().data_root, elsewhere.info().life.boot) == ("", "")


def test_a_container_is_as_old_as_its_process(engine, plan):
    """By no clock that jumps; nobody knows once it has ended."""
    made = plan("sleep 1000")
    before = time.monotonic()
    age_s = engine.ensure_started(made).age_s
    assert 0 <= age_s <= time.monotonic() - before + 0.1
    wait_until(lambda: engine.look(made.name).age_s > age_s)
    engine.kill(made.name, grace_s=0)
    assert engine.look(made.name).age_s is None


def test_its_doings_are_seen_in_its_cpu_and_its_log(engine, plan, tmp_path):
    """A container at rest leaves both as they are."""
    until = "until [ -e /files/{} ]; do sleep .05; done"
    made = plan(f"echo 1; {until.format('line')}; echo 2; {until.format('work')}; while :; do :; done")
    engine.ensure_started(made)
    wait_until(lambda: engine.activity(made.name).output_mark)
    mark = engine.activity(made.name).output_mark
    assert engine.activity(made.name).output_mark == mark
    (tmp_path / "line").touch()
    wait_until(lambda: engine.activity(made.name).output_mark != mark)
    before_s = engine.activity(made.name).cpu_s
    (tmp_path / "work").touch()
    wait_until(lambda: engine.activity(made.name).cpu_s > before_s + 1)


def test_a_daemon_that_is_killed_is_trouble_and_then_the_wait_goes_on(engine, plan, dockerd):
    made = plan("sleep 1000")
    engine.ensure_started(made)
    waiter = Waiter(engine, made.name)
    dockerd.end(signal.SIGKILL)
    wait_until(lambda: waiter.troubles)
    dockerd.start()
    engine.kill(made.name, grace_s=0)
    waiter.join(RESTART_S)
    assert waiter.ended is not None
    assert engine.ensure_started(made).status is ContainerStatus.EXITED


def impatient(engine_url):
    """One that has agreed with the daemon already, which may take its time to."""
    engine = DockerEngine(engine_url, "me", timeout_s=1)

    def agrees():
        with suppress(EngineTrouble):
            return engine.ping()

    wait_until(agrees)
    return engine


def test_a_daemon_that_is_killed_ends_following_with_trouble(engine, plan, dockerd):
    """A log that ends there is not to be taken for a whole one."""
    made = plan("echo 1; sleep 1000")
    engine.ensure_started(made)
    pieces = engine.read_log(made.name, follow=True, stop=Stop())
    assert next(pieces) == b"1\n"
    dockerd.end(signal.SIGKILL)
    with pytest.raises(EngineTrouble, match="reading the log"):
        list(pieces)


def test_a_frozen_daemon_is_trouble_within_its_bound(engine_url, plan, dockerd):
    patient, engine = DockerEngine(engine_url, "me"), impatient(engine_url)
    made = plan("sleep 1000")
    patient.ensure_started(made)
    dockerd.pause()
    for ask in (
        engine.ping,
        engine.list_ours,
        lambda: engine.look(made.name),
        lambda: engine.wait(made.name, timeout_s=LONG_S, stop=Stop()),
        lambda: engine.kill(made.name, grace_s=0),
        lambda: engine.remove(made.name),
        lambda: engine.ensure_started(made),
        lambda: engine.ensure_image(made.image, ImagePull.ALWAYS, stop=Stop(), progress=Count()),
    ):
        began = time.monotonic()
        with pytest.raises(EngineTrouble, match="did not answer in time"):
            ask()
        assert time.monotonic() - began < SOON_S
    dockerd.resume()
    assert patient.look(made.name).status is ContainerStatus.RUNNING


def test_a_stop_works_while_the_daemon_is_frozen(engine, plan, dockerd):
    made = plan("sleep 1000")
    engine.ensure_started(made)
    stop = Stop()
    looks = looks_of(engine)
    with once(lambda: looks, lambda: (dockerd.pause(), stop.set())) as passed_s:
        assert engine.wait(made.name, timeout_s=LONG_S, stop=stop) is None
        assert passed_s() < SOON_S


@pytest.mark.parametrize("request_name", ["create_container_from_config", "start"])
def test_what_was_done_although_its_answer_was_lost_is_not_repeated(
    engine, plan, tmp_path, monkeypatch, request_name
):
    """The client timed out, the daemon did it: the next attempt finds the container by its name."""
    made = plan("echo started >> /files/starts; sleep 1")
    client = engine._client()
    really = getattr(client, request_name)

    def lose_the_answer(*args, **kwargs):
        really(*args, **kwargs)
        monkeypatch.undo()
        raise requests.ReadTimeout

    monkeypatch.setattr(client, request_name, lose_the_answer)
    with pytest.raises(EngineTrouble):
        engine.ensure_started(made)
    engine.ensure_started(made)
    assert engine.wait(made.name, timeout_s=LONG_S, stop=Stop()).code == 0
    assert engine.ensure_started(made).status is ContainerStatus.EXITED
    assert (tmp_path / "starts").read_text() == "started\n"


def test_many_jobs_leave_no_descriptor_open(run):
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number

    run("true")
    before = count()
    for _ in range(5):
        run("true")
    assert count() <= before + 1


# Images


def noise_image(dockerd, registry, name, size_bytes):
    dockerd.docker("import", "-", f"decode-test/{name}", stdin=tar_of_noise(size_bytes))
    return registry.push(dockerd, f"decode-test/{name}", f"{name}:1")


def pull(engine, image, policy=ImagePull.ALWAYS, stop=None):
    progress = Count()
    engine.ensure_image(image, policy, stop=stop or Stop(), progress=progress)
    return progress.size_bytes


def test_a_pull_from_a_real_registry_shows_its_progress(engine, dockerd, registry):
    image = noise_image(dockerd, registry, "noise", 8_000_000)
    dockerd.docker("rmi", "decode-test/noise")
    assert 4_000_000 < pull(engine, image) < 9_000_000
    assert pull(engine, image) == 0  # asked again, nothing new
    assert image in dockerd.docker("images", "--format", "{{.Repository}}:{{.Tag}}")
    dockerd.docker("rmi", image)


def test_always_sees_a_newer_image_under_the_same_tag(engine, dockerd, registry):
    image = registry.push(dockerd, IMAGES.busybox, "moving:1")
    pull(engine, image)
    before = dockerd.docker("inspect", "--format", "{{.Id}}", image)
    registry.push(dockerd, IMAGES.own_command, "moving:1")
    pull(engine, image, ImagePull.ALWAYS)
    after = dockerd.docker("inspect", "--format", "{{.Id}}", image)
    assert before != after
    dockerd.docker("rmi", image)


def test_missing_and_never_do_not_ask(engine, dockerd, registry):
    image = registry.push(dockerd, IMAGES.busybox, "quiet:1")
    with pytest.raises(JobFailed, match=f"image not found: {image}"):
        pull(engine, image, ImagePull.NEVER)
    pull(engine, image, ImagePull.MISSING)
    registry.end()
    pull(engine, image, ImagePull.MISSING)
    pull(engine, image, ImagePull.NEVER)
    dockerd.docker("rmi", image)


def test_an_image_by_its_digest_needs_no_second_look(engine, dockerd, registry):
    image = registry.push(dockerd, IMAGES.busybox, "exact:1")
    pull(engine, image)
    exact = dockerd.docker("inspect", "--format", "{{index .RepoDigests 0}}", image)
    dockerd.docker("rmi", image)
    dockerd.docker("rmi", exact, check=False)
    pull(engine, exact)
    registry.end()
    pull(engine, exact)
    dockerd.docker("rmi", exact)


def test_the_local_copy_serves_when_the_registry_is_down(engine, dockerd, registry, caplog):
    image = registry.push(dockerd, IMAGES.busybox, "here:1")
    pull(engine, image)
    registry.end()
    pull(engine, image)
    assert f"Using the copy of the image {image} that is here" in caplog.text
    dockerd.docker("rmi", image)


def test_a_registry_that_is_down_is_the_hosts_trouble(engine, registry):
    registry.end()
    with pytest.raises(EngineTrouble, match=r"the registry does not give .*connection refused"):
        pull(engine, f"{registry.host}/lab/decode:1")


@pytest.mark.parametrize("name", ["nothing:1", "nothing", "timeout/denied/eof:1"])
def test_an_image_that_the_registry_does_not_have_is_the_jobs_fault(engine, registry, name):
    image = f"{registry.host}/{name}"
    with pytest.raises(JobFailed, match=f"^image not found: {image}"):
        pull(engine, image)


def test_an_image_that_only_this_machine_has_serves(engine, caplog):
    """Built here, never pushed: no registry knows it."""
    pull(engine, IMAGES.busybox)
    assert "Using the copy" in caplog.text


@pytest.mark.parametrize(
    "image", ["Lab/Decode", "lab/decode:a:b", "lab//decode", "x" * 300, "http://x/y", "a..b/c:"]
)
@pytest.mark.parametrize("policy", list(ImagePull))
def test_a_malformed_name_is_the_jobs_fault(engine, image, policy):
    with pytest.raises(JobFailed, match="image not found"):
        pull(engine, image, policy)


def test_a_stop_ends_a_real_pull_and_the_next_one_completes_it(engine, dockerd, registry):
    image = noise_image(dockerd, registry, "stopped", 30_000_000)
    dockerd.docker("rmi", "decode-test/stopped")
    registry.pause()
    stop = Stop()
    with once(lambda: stop._wakers, stop.set) as passed_s:
        with pytest.raises(Stopped):
            pull(engine, image, stop=stop)
        assert passed_s() < SOON_S
    registry.resume()
    assert pull(engine, image) > 0
    dockerd.docker("rmi", image)


def test_a_registry_that_stalls_ends_the_pull_by_inactivity(engine_url, registry):
    engine = DockerEngine(engine_url, "me", pull_idle_s=1)
    registry.pause()
    began = time.monotonic()
    with pytest.raises(EngineTrouble, match="did not answer in time"):
        pull(engine, f"{registry.host}/lab/stalled:1")
    assert time.monotonic() - began < SOON_S


def test_what_the_tests_start_is_named_so_that_only_they_can_own_it(dockerd):
    """The guard of the fixture: never the machine's own Docker."""
    assert Path(dockerd.socket).parent == dockerd.folder
    assert "/var/run" not in dockerd.url
    assert dockerd.docker("info", "--format", "{{.DockerRootDir}}") == f"{dockerd.folder}/data"
