"""A machine with nothing but Debian and git: no Python, no Docker, no pipx."""

import pytest

from tests.e2e.host_snapshot import snapshot
from tests.e2e.hosts import BARE, Kind
from tests.e2e.installed_host import ENV_FILE, a_chapter, workstation

pytestmark = [pytest.mark.host, pytest.mark.docker]

ONLINE = f"--env-file {ENV_FILE}"


@pytest.fixture(scope="module", params=list(Kind), ids=str)
def one_station(request, host_engine, api_of_hosts):
    with workstation(request.param, host_engine, api_of_hosts, BARE) as one:
        one.fresh = snapshot(one.host)
        yield one


@pytest.fixture
def station(one_station, request):
    """The host as the test before has left it; after a failure the story is over."""
    yield from a_chapter(one_station, request.session)


def test_nothing_is_installed_that_nobody_agreed_to(station):
    """Without a terminal and without --yes it names what it would ask, and the option that answers."""
    done = station.install(ONLINE, check=False)
    assert done.returncode == 2
    assert "Docker is needed" in done.stderr
    assert "--with-docker or --yes" in done.stderr
    done = station.install(f"{ONLINE} --with-docker", check=False)
    assert done.returncode == 2
    assert "python3" in done.stderr
    assert "docker" not in done.stderr
    assert snapshot(station.host) == station.fresh


def test_a_failure_removes_the_packages_too(station):
    """A wrong password: what apt has brought for this run is purged again."""
    if station.kind is Kind.TRIXIE:
        pytest.skip("the same on both, and it installs Docker once more")
    station.write_env({"PASSWORD": "wrong"})
    done = station.install(f"{ONLINE} --yes", check=False)
    station.write_env()
    assert done.returncode == 1
    assert "password" in done.stderr
    assert snapshot(station.host) == station.fresh


def test_one_command_makes_it_a_worker(station):
    """Docker and Python come with apt, the program with pip; a job is finished."""
    station.install(f"{ONLINE} --yes")
    assert station.is_active
    station.import_images()
    job_id = station.submit("echo hello > /files/output/greeting")
    station.await_status(job_id, "finished")
    assert station.mock.output(job_id, "output/greeting") == b"hello\n"


def test_a_second_run_changes_nothing(station):
    """Now that all is there."""
    before = snapshot(station.host), station.main_pid
    assert "Nothing to change" in station.install(f"{ONLINE} --yes").stdout
    assert (snapshot(station.host), station.main_pid) == before
