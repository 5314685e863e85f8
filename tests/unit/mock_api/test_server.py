"""Starting and stopping: nothing is left behind, whoever is still connected."""

import socket
import threading
import time
from pathlib import Path

import pytest
import requests

from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.fakes.waiting import LONG_S, SOON_S, wait_until


def test_nothing_is_left(tmp_path):
    """No thread, no listening socket, no temporary folder."""
    before = set(threading.enumerate())
    with RunningMock() as mock:
        folder = Path(mock._temporary.name)
        assert folder.is_dir()
        assert requests.get(f"{mock.url}/access_info", timeout=LONG_S).ok
    wait_until(lambda: set(threading.enumerate()) <= before)  # a route's worker ends a moment after the loop
    assert not folder.exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{mock.url}/access_info", timeout=LONG_S)
    with RunningMock(root=tmp_path / "kept") as mock:
        mock.state.put_file("x", b"1")
    assert (tmp_path / "kept").is_dir()


@pytest.mark.parametrize("fault", [{"kind": "hang"}, {"kind": "delay", "delay_s": 60}, {"kind": "stall"}])
def test_stops_at_once_with_clients_waiting(fault):
    """A client that waits for an answer is hung up on."""
    failed = threading.Event()

    def ask():
        try:
            requests.get(f"{mock.url}/access_info", timeout=LONG_S)
        except requests.RequestException:
            failed.set()

    with RunningMock() as mock:
        mock.fault(**fault)
        client = threading.Thread(target=ask)
        client.start()
        wait_until(lambda: any(request.fault for request in mock.requests()))
        before = time.monotonic()
    assert time.monotonic() - before < SOON_S
    client.join(LONG_S)
    assert failed.is_set()


def test_idle_connections_do_not_hold_it_up():
    """Neither kept-alive ones nor those that never said a word."""
    with requests.Session() as session:
        with RunningMock() as mock:
            mock._server.config.timeout_keep_alive = LONG_S
            session.get(f"{mock.url}/access_info", timeout=LONG_S)
            silent = socket.create_connection(("127.0.0.1", int(mock.url.rpartition(":")[2])))
            before = time.monotonic()
        assert time.monotonic() - before < SOON_S
        silent.close()


def test_port_that_is_taken():
    """An OSError that names it, and nothing left open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port}"):
            RunningMock(storage_port=port).start()


def test_two_at_a_time():
    """They share nothing."""
    with RunningMock() as one, RunningMock(Settings(storage="s3")) as two:
        one.submit()
        assert two.state.queue.jobs() == []
        assert len({one.url, two.url, one.storage_url, two.storage_url}) == 4


def test_unknown_job_and_output_are_key_errors():
    """A test that asks for what is not there hears it."""
    with RunningMock() as mock:
        with pytest.raises(KeyError):
            mock.job("1")
        assert mock.outputs("1") == []
        job_id = mock.submit()
        with pytest.raises(KeyError):
            mock.output(job_id, "x")


def test_hostile_input_names_get_a_harmless_place():
    """The path in the job's folder is the user's, the place in storage is not."""
    with RunningMock() as mock:
        names = ["data/a.csv", "../x", "/etc/passwd", "a/../../b", ".", "a\0b/c", "x" * 400, "plain"]
        job_id = mock.submit(files=dict.fromkeys(names, b"1"))
        stored = mock.job(job_id).spec["handler"]["files_down"]
        assert list(stored) == names
        assert stored["data/a.csv"].endswith("/data/job1/a.csv")
        assert all("/inputs/job1/" in file_id for file_id in list(stored.values())[1:])
