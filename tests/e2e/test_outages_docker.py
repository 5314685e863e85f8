"""Docker restarted, killed, hung, and people who lay hands on a job's container: the right verdict, once."""

import signal
from contextlib import contextmanager

import pytest

from tests.e2e.agent_process import FILES, PATIENCE_S, said_after_verdict, wait_for
from tests.engine_host import frozen, why_no_freezer

pytestmark = pytest.mark.docker

LONG_S = 3 * PATIENCE_S
"""An outage, the pauses between attempts, and a machine that has other things to do."""

UNTIL_TOLD = "until [ -e /files/go ]; do sleep 0.05; done"


@pytest.fixture
def submit(local_mock, images):
    """A job that says that it began, and ends when it is told to."""

    def act(*, begin="", wait=UNTIL_TOLD, then="exit 0", image=None):
        return local_mock.submit(
            image=image or images.busybox,
            files={"data/in": b"input"},
            cmd=[
                f"{begin} cp /files/data/in /files/output/; touch /files/begun;",
                f"{wait}; {then}",
            ],
            files_up=FILES,
        )

    return act


class Bench:
    """One job on its way."""

    def __init__(self, agent, mock, dockerd, job_id):
        self.agent = agent
        self.mock = mock
        self.dockerd = dockerd
        self.job_id = job_id
        self.name = f"decode-job-{job_id}"
        self.files = agent.state / "jobs" / job_id / "files"

    @property
    def starts(self):
        """How often a container of the job was started, as the agent tells it."""
        return self.agent.log.count(f"Container {self.name} runs.")

    def wait_begun(self, starts=1):
        """Until its container has been started so often and its command is at work."""
        wait_for(lambda: self.starts == starts, f"start {starts}", LONG_S)
        wait_for((self.files / "begun").exists, "its command", LONG_S)

    def finish(self, *, starts=1, status="finished", reason=""):
        """Let it end; its verdict came once, it was started so often, nothing is left."""
        if self.files.exists():
            (self.files / "go").touch()
        assert self.agent.wait(LONG_S) == 0, self.agent.log
        job = self.mock.job(self.job_id)
        assert (job.status, job.runtime_details.split("\n")[0]) == (status, reason), self.agent.log
        assert self.mock.output(self.job_id, "output/in") == b"input"
        assert len(self.mock.mails(self.job_id)) == 1
        assert said_after_verdict(self.mock, self.job_id) == []
        assert self.starts == starts
        assert self.agent.leftovers == []
        assert self.containers == []

    @property
    def containers(self):
        return self.dockerd.docker("ps", "-aq", "--filter", "label=decode-agent.job-id").split()


@pytest.fixture
def begin(local_agent, local_mock, dockerd, submit):
    """A job whose container runs."""

    def act(**kwargs):
        bench = Bench(local_agent, local_mock, dockerd, submit(**kwargs))
        local_agent.start("--until-idle")
        bench.wait_begun()
        return bench

    return act


@contextmanager
def live_restore(dockerd):
    dockerd.configure({"live-restore": True})
    dockerd.reload()
    try:
        yield
    finally:
        dockerd.configure({})
        dockerd.reload()


def restart(dockerd):
    dockerd.restart()


def crash(dockerd):
    dockerd.end(signal.SIGKILL)
    dockerd.start()


@pytest.mark.parametrize("how", [restart, crash])
def test_a_restart_of_docker_that_ends_the_container_is_not_the_jobs_error(begin, dockerd, how):
    """It runs again here, from the start."""
    bench = begin()
    how(dockerd)
    bench.wait_begun(starts=2)
    bench.finish(starts=2)


@pytest.mark.parametrize("how", [restart, crash])
def test_with_live_restore_the_container_lives_on(begin, dockerd, how):
    """The job does not notice."""
    with live_restore(dockerd):
        bench = begin()
        how(dockerd)
        wait_for(lambda: "Docker answers" in bench.agent.log, "the end of the outage", LONG_S)
        bench.finish()


def test_with_live_restore_it_may_end_while_docker_is_away(begin, dockerd):
    """Its shim keeps the exit code until somebody asks for it."""
    with live_restore(dockerd):
        bench = begin(then="touch /files/ended; exit 3")
        dockerd.end(signal.SIGKILL)
        (bench.files / "go").touch()
        wait_for((bench.files / "ended").exists, "its end")
        dockerd.start()
        bench.finish(status="error", reason="exit code 3")


def test_docker_restarts_while_the_agent_is_away_too(begin, dockerd):
    """Who reads its end never saw it run; the journal knows under which engine it did."""
    bench = begin()
    bench.agent.kill()
    dockerd.restart()
    bench.agent.start("--until-idle")
    bench.wait_begun(starts=2)
    bench.finish(starts=2)


def test_a_job_that_ended_before_docker_was_restarted_is_not_run_again(begin, dockerd):
    """Its end is its own, also when nobody was there to read it."""
    bench = begin(then="exit 3")
    bench.agent.kill()
    (bench.files / "go").touch()
    wait_for(lambda: "exited" in dockerd.docker("inspect", bench.name), "its end")
    dockerd.restart()
    bench.agent.start("--until-idle")
    bench.finish(status="error", reason="exit code 3")


def test_docker_hangs_for_a_while(begin, dockerd):
    """What was asked meanwhile is answered late; the job ends when it ends."""
    bench = begin()
    dockerd.pause()
    beats = len(bench.mock.requests("PUT", "/status$"))
    wait_for(lambda: len(bench.mock.requests("PUT", "/status$")) > beats + 3, "keep-alives all the same")
    (bench.files / "go").touch()
    dockerd.resume()
    bench.finish()


def test_a_stop_while_docker_hangs_leaves_the_container(begin, dockerd):
    """The agent ends in good order, the next one goes on."""
    bench = begin()
    dockerd.pause()
    bench.agent.signal(signal.SIGTERM)
    assert bench.agent.wait() == 0
    dockerd.resume()
    bench.agent.start("--until-idle")
    wait_for(lambda: "Adopting" in bench.agent.log, "its container", LONG_S)
    bench.finish()


def test_a_container_that_somebody_removes_is_run_again(begin, dockerd):
    bench = begin()
    dockerd.docker("rm", "--force", bench.name)
    bench.wait_begun(starts=2)
    bench.finish(starts=2)


def test_who_removes_it_again_and_again_gets_the_job_given_back(local_agent, begin, dockerd):
    """Another worker may do better; the last word is that it is queued again."""
    local_agent.settings = {"DECODE_HOST_FAILURES": "100"}  # or the slot would rest, and the agent not end
    bench = begin()
    bench.mock.fault(
        "status", "GET", "^/jobs$", times=None, status=200, body="{}"
    )  # it does not come back to this one
    for number in (1, 2, 3):
        bench.wait_begun(starts=number)
        dockerd.docker("rm", "--force", bench.name)
    assert bench.agent.wait(LONG_S) == 0, bench.agent.log
    assert bench.mock.job(bench.job_id).status == "queued"
    said = bench.mock.requests("PUT", f"/jobs/{bench.job_id}/status$")
    assert [one.query.count("status=queued") for one in said[-2:]] == [0, 1]
    assert bench.mock.mails(bench.job_id) == []
    assert (bench.starts, bench.agent.leftovers, bench.containers) == (3, [], [])


def test_a_kill_by_somebody_is_the_jobs_end(begin, dockerd):
    """Docker lives on, so it was a person or the job itself; the reason says what is known."""
    bench = begin()
    dockerd.docker("kill", bench.name)
    bench.finish(
        status="error",
        reason="exit code 137: ended by SIGKILL, which somebody sent or, for lack of memory, the kernel",
    )


def test_a_pause_by_somebody_is_waited_out(begin, dockerd):
    """It is not stalled, though it does nothing."""
    bench = begin()
    bench.agent.kill()
    bench.agent.settings = {"DECODE_JOB_STALL_WARN": "1"}
    dockerd.docker("pause", bench.name)
    bench.agent.start("--until-idle")
    wait_for(lambda: "Adopting" in bench.agent.log, "its container")
    beats = len(bench.mock.requests("PUT", "/status$"))
    wait_for(lambda: len(bench.mock.requests("PUT", "/status$")) > beats + 3, "keep-alives all the same")
    assert "may hang" not in bench.agent.log
    dockerd.docker("unpause", bench.name)
    bench.finish()


def test_a_job_that_hangs_is_told_and_left_alone(local_agent, local_mock, dockerd, submit):
    """Never ended by itself: whether it hangs only a person can tell."""
    local_agent.settings = {"DECODE_JOB_STALL_WARN": "2"}
    job_id = submit(wait="mkfifo /files/hold; read line < /files/hold")
    bench = Bench(local_agent, local_mock, dockerd, job_id)
    local_agent.start("--until-idle")
    wait_for(lambda: "It may hang: no output and no CPU or GPU use for 2 s" in local_agent.log, "a warning")
    (bench.files / "hold").write_text("go\n")
    bench.finish()


def test_one_that_ignores_sigterm_is_killed_at_its_time_limit(local_agent, local_mock, dockerd, submit):
    """What it has written is delivered."""
    local_agent.settings = {"DECODE_JOB_MAX_RUNTIME": "4", "DECODE_JOB_STOP_GRACE": "1"}
    bench = Bench(local_agent, local_mock, dockerd, submit(begin="trap '' TERM;"))
    local_agent.start("--until-idle")
    assert local_agent.wait(LONG_S) == 0, local_agent.log
    bench.finish(status="error", reason="timed out after 4 s")


def test_one_that_cannot_be_killed_keeps_its_slot_until_it_can(begin, dockerd):
    """Its user has deleted it; nothing more is said of it, and it is removed when its processes let go."""
    if why_no_freezer():
        pytest.skip(why_no_freezer())
    bench = begin()
    with frozen(dockerd, bench.name):
        bench.mock.cancel(bench.job_id)
        wait_for(lambda: f"container {bench.name} cannot be killed" in bench.agent.log, "word of it", LONG_S)
        assert len(bench.containers) == 1
    assert bench.agent.wait(LONG_S) == 0, bench.agent.log
    assert (bench.agent.leftovers, bench.containers) == ([], [])


def test_an_image_that_is_deleted_between_pull_and_start_is_pulled_again(
    local_agent, local_mock, dockerd, registry, images, submit
):
    """Somebody clears the disk at the wrong moment, for which a name that is taken makes room here."""
    image = registry.push(dockerd, images.busybox, "lab/deleted:1")
    job_id = submit(image=image)
    bench = Bench(local_agent, local_mock, dockerd, job_id)
    slow = local_mock.fault("hang", "GET", "/download$", times=None)
    local_agent.settings = {"DECODE_IMAGE_PULL": "missing", "DECODE_TRANSFER_TIMEOUT": "2"}
    local_agent.start("--until-idle")
    wait_for(lambda: local_mock.state.faults.struck(slow), "its download")
    dockerd.docker("create", "--name", bench.name, images.busybox)
    local_mock.state.faults.remove(slow)
    wait_for(lambda: "is not ours and has a name of ours" in local_agent.log, "a start", LONG_S)
    dockerd.docker("rmi", image)
    dockerd.docker("rm", bench.name)
    bench.wait_begun()
    assert local_agent.log.count(f"Pulling the image {image}") == 2
    bench.finish()
