"""Whether the API is in the way."""

import pytest

from agent import heard as module
from agent.core.errors import AccountTrouble, ApiTrouble, DiskTrouble, JobFailed, JobGone
from agent.core.models import Offer, UploadKind, Word
from agent.core.status import Trouble
from agent.heard import QUIET_S, HeardApi
from tests.fakes.api import FakeApi


@pytest.fixture
def clock(monkeypatch):
    """The time of day; `passed_s` is what has really passed."""

    class Clock:
        now = 1000.0
        passed_s = 0.0

    monkeypatch.setattr(module, "time", lambda: Clock.now)
    monkeypatch.setattr(module, "monotonic", lambda: Clock.passed_s)
    return Clock


@pytest.fixture
def api():
    return FakeApi(states={7: Word.PULLED}, files={"/u/in": b""})


@pytest.fixture
def heard(api, clock):  # noqa: ARG001  it must be there first
    return HeardApi(api)


def fail(heard, api, error):
    def raise_it(*_):
        raise error

    before, api.status = api.status, raise_it
    with pytest.raises(type(error)):
        heard.status(7)
    api.status = before


@pytest.mark.parametrize(
    "ask",
    [
        lambda heard: heard.claim(Offer(1024, 2), 1),
        lambda heard: heard.say(7, Word.RUNNING),
        lambda heard: heard.status(7),
        lambda heard: heard.download_request("/u/in"),
        lambda heard: heard.upload_request(7, UploadKind.LOG, "log"),
    ],
)
def test_every_answer_counts(heard, ask):
    """Whoever asked, and whatever for."""
    assert heard.heard_at is None
    ask(heard)
    assert heard.heard_at == 1000.0


@pytest.mark.parametrize("error", [JobGone("404"), JobFailed("missing")])
def test_bad_news_is_an_answer(heard, api, error):
    """The API was there to tell it."""
    fail(heard, api, error)
    assert heard.heard_at == 1000.0


def test_a_blip_is_no_trouble(heard, api, clock):
    """An API that fails for less than two minutes; longer is, from the first failure on."""
    fail(heard, api, ApiTrouble("it answers 502", status=502))
    clock.passed_s = QUIET_S
    assert heard.trouble() is None
    clock.now = 1100.0
    fail(heard, api, ApiTrouble("no connection"))
    clock.passed_s = QUIET_S + 1
    assert heard.trouble() == Trouble("no good answer from the API: no connection", 1000.0)
    assert heard.heard_at is None
    heard.status(7)
    clock.passed_s = 5000.0
    assert heard.trouble() is None


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0])
def test_a_clock_that_jumps_makes_and_hides_no_trouble(heard, api, clock, jump_s):
    """What has passed counts, not the time of day."""
    fail(heard, api, ApiTrouble("it answers 502", status=502))
    clock.now += jump_s
    assert heard.trouble() is None
    clock.passed_s = QUIET_S + 1
    assert heard.trouble() is not None


def test_an_api_that_is_not_asked_is_no_trouble(heard, clock):
    """A paused agent asks nothing for days."""
    heard.status(7)
    clock.passed_s = 1e6
    assert heard.trouble() is None


def test_a_refused_account_is_trouble_at_once(heard, api):
    """Nobody will mend it but a person."""
    fail(heard, api, AccountTrouble("the login service refuses USERNAME and PASSWORD: check both"))
    assert heard.trouble().text.startswith("the login service refuses")


def test_other_errors_say_nothing_of_the_api(heard, api, clock):
    """A full disk is not its fault."""
    fail(heard, api, DiskTrouble("full"))
    assert heard.heard_at is None
    clock.passed_s = 1e6
    assert heard.trouble() is None
