"""Two agents on one machine: what they may share and what not, with two real processes."""

import pytest

from tests.e2e.agent_process import AgentProcess, wait_for

NO_ENGINE = "unix:///nowhere/docker.sock"


@pytest.fixture
def two(local_mock, tmp_path):
    """Not started yet; the second has a state of its own and the first one's folder for jobs."""
    first = AgentProcess(local_mock, NO_ENGINE, tmp_path / "first")
    shared = {"DECODE_PATH_HOST_BASE": str(tmp_path / "first" / "jobs")}
    second = AgentProcess(local_mock, NO_ENGINE, tmp_path / "second", shared)
    yield first, second
    first.kill()
    second.kill()


def start(agent):
    agent.start()
    wait_for(lambda: "Taking no job: Docker" in agent.log, "the first look for a job")


def test_one_state_serves_one_agent(two, local_mock):
    """The second one refuses with a line that names the first, and does not come back by itself (78)."""
    first, _ = two
    start(first)
    second = AgentProcess(local_mock, NO_ENGINE, first.state)
    assert second.run() == 78
    assert (
        f"another decode-agent (process {first.process.pid}) works on STATE_DIR={first.state}" in second.log
    )
    assert first.process.poll() is None


def test_one_folder_of_jobs_serves_one_agent(two):
    """Each would take the other's folders for left over; after the first has died the second may."""
    first, second = two
    start(first)
    assert second.run() == 78
    assert f"has its jobs in PATH_HOST_BASE={first.state}/jobs: give each its own folder" in second.log
    first.kill()
    start(second)


def test_nothing_shared_is_no_trouble(two):
    """A machine may serve two accounts."""
    first, second = two
    second.settings = {}
    start(first)
    start(second)
