"""What tests of all folders may ask for. A missing Docker skips at home and fails under CI."""

import os
import signal

import pytest

from tests.engine_host import IMAGES, Dockerd, Registry, why_no_engine, why_no_registry


def pytest_configure(config):
    # docker-py leaves a unix socket that could not connect to the garbage collector (unixconn.py).
    never_connected = r"unclosed <socket.socket fd=\d+, family=1, type=1, proto=0>"
    config.addinivalue_line("filterwarnings", f"ignore:{never_connected}:ResourceWarning")
    # A shell starts what runs in its background deaf to Ctrl-C, and programs under test would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    """Print what tests have to tell, from whichever process they ran in."""
    reports = terminalreporter.stats.get("passed", [])
    for report in reports:
        for name, text in report.user_properties:
            if name == "told":
                terminalreporter.write_line(text)


@pytest.fixture
def tell(record_property):
    """Tells a person a line of the test's, at the end of the run if the test passes."""
    return lambda text: record_property("told", text)


def _need(why_not):
    if why_not is None:
        return
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI must run every test: {why_not}", pytrace=False)
    pytest.skip(why_not)


@pytest.fixture
def need():
    """Skips the test for a reason why it cannot run here, and fails it under CI; None is no reason."""
    return _need


@pytest.fixture(scope="session")
def _dockerd():
    _need(why_no_engine())
    daemon = Dockerd()
    try:
        daemon.start()
        daemon.import_images()
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def dockerd(_dockerd):
    """The session's own Docker engine, running and with `images`; the test's containers are removed."""
    yield _dockerd
    _dockerd.resume()
    if not _dockerd.is_running:
        _dockerd.start()
    _dockerd.remove_containers()


@pytest.fixture
def engine_url(dockerd):
    """Where that engine listens, as DOCKER_HOST spells it."""
    return dockerd.url


@pytest.fixture
def images():
    """Names of the images that the engine of `dockerd` has."""
    return IMAGES


@pytest.fixture(scope="session")
def _registry(_dockerd):
    _need(why_no_registry())
    registry = Registry()
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


@pytest.fixture
def registry(_registry):
    """The session's own image registry, running; the test may stop and pause it."""
    yield _registry
    _registry.resume()
    if not _registry.is_running:
        _registry.start()
