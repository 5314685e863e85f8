"""A stand-in of the API, and an agent that is not started yet, on a machine with a real engine."""

import os

import pytest

from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.e2e.agent_process import AgentProcess
from tests.e2e.host_engine import HostEngine
from tests.e2e.installed_host import api_for_hosts

HOST_TIMEOUT_S = 1800
"""A test that boots hosts may first have to make their file systems."""


def pytest_collection_modifyitems(items):
    """Give tests on booted hosts their time, unless they say themselves how long they may take."""
    for item in items:
        if item.get_closest_marker("host") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(HOST_TIMEOUT_S))


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


@pytest.fixture(scope="session")
def host_engine():
    """The engine that booted hosts run in, with a network that reaches outside."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("booting a host needs root")
        pytest.skip("booting a host needs root")
    with HostEngine() as running:
        yield running


@pytest.fixture(scope="module")
def api_of_hosts(host_engine):
    """The stand-in of the API where booted hosts reach it."""
    with api_for_hosts(host_engine) as running:
        yield running
