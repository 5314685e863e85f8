"""A running stand-in, and a client that leaves no connection behind."""

import pytest
import requests

from mock_api.server import RunningMock
from mock_api.settings import Settings


@pytest.fixture
def mock():
    with RunningMock() as running:
        yield running


@pytest.fixture
def s3_mock():
    with RunningMock(Settings(storage="s3")) as running:
        yield running


class Worker:
    """A client with the token of one account."""

    def __init__(self, mock, token):
        self.mock = mock
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = {"authorization": f"Bearer {token}"}

    def call(self, method, path, **arguments):
        """A request to the API with the token; ``path`` goes out as it stands."""
        headers = self.headers | arguments.pop("headers", {})
        return self.session.request(method, self.mock.url + path, headers=headers, timeout=60, **arguments)

    def claim(self, **query):
        return self.call("GET", "/jobs", params={"memory": 1000, **query}).json()

    def put(self, job_id, status, **query):
        """The status code of a PUT status."""
        return self.call("PUT", f"/jobs/{job_id}/status", params={"status": status, **query}).status_code

    def follow(self, described, **arguments):
        """The request that an answer of ``files/url`` describes, without the token unless it says so."""
        return self.session.request(
            described["method"], described["url"], headers=described["headers"], timeout=60, **arguments
        )


@pytest.fixture
def worker_of(request):
    def log_in(mock, name):
        worker = Worker(mock, mock.token(name))
        request.addfinalizer(worker.session.close)
        return worker

    return log_in


@pytest.fixture
def worker(mock, worker_of):
    return worker_of(mock, "worker1@example.com")


@pytest.fixture
def other_worker(mock, worker_of):
    return worker_of(mock, "worker2@example.com")


@pytest.fixture
def s3_worker(s3_mock, worker_of):
    return worker_of(s3_mock, "worker1@example.com")
