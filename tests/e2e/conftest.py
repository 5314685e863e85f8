"""A stand-in of the API, and an agent that is not started yet, on a machine with a real engine."""

import pytest

from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.e2e.agent_process import AgentProcess


@pytest.fixture(params=["local", "s3"])
def mock(request):
    with RunningMock(Settings(storage=request.param)) as mock:
        yield mock


@pytest.fixture
def local_mock():
    with RunningMock() as mock:
        yield mock


def agent_on(mock, dockerd, tmp_path):
    agent = AgentProcess(mock, dockerd.url, tmp_path / "state")
    yield agent
    agent.kill()


@pytest.fixture
def agent(mock, dockerd, tmp_path):
    yield from agent_on(mock, dockerd, tmp_path)


@pytest.fixture
def local_agent(local_mock, dockerd, tmp_path):
    yield from agent_on(local_mock, dockerd, tmp_path)
