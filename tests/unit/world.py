"""A workstation for unit tests: the real runner and main thread on fakes that outlive them."""

from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.job_folder_list import list_job_folders
from agent.adapters.journal import SqliteJournal
from agent.core.container import Limits
from agent.core.engine_models import ImagePull
from agent.core.models import Slot
from agent.core.retry import Backoff
from agent.core.stopping import Stop
from agent.heard import HeardApi
from agent.heartbeat import Heartbeat
from agent.runner import Runner
from agent.station import Station
from agent.steps import Unwatched
from agent.toolbox import Policy, Tools
from tests.fakes.api import FakeApi, FakeTransfer
from tests.fakes.engine import FakeEngine

SLOT = Slot(0, 1024, 2)
SOON = Backoff(0.0, 0.0)
IMAGE = "demo:1"
LOOK_S = 30.0


def spec(*, image=IMAGE, down=None):
    """A job with two inputs, an output folder and a log folder."""
    down = down or {"data/in.csv": "/u/in", "config/c.yaml": "/u/c"}
    up = {"output": "output", "log": "log"}
    return {"app": {"cmd": ["true"]}, "handler": {"image_url": image, "files_down": down, "files_up": up}}


class InlineHeartbeat(Heartbeat):
    """Beats in the thread that changes a word, so that every run is like the other."""

    def add(self, job_id, word, *, asks_first=False):
        pulse = super().add(job_id, word, asks_first=asks_first)
        pulse.beat(0.0)
        return pulse

    def say(self, pulse, word):
        super().say(pulse, word)
        pulse.beat(0.0)


class FakeService:
    """Fulfils `ports.ServiceManager`; `said` is all that it was told, in order."""

    def __init__(self, watchdog_s=None, *, is_there=True):
        self.is_there = is_there
        self.watchdog_s = watchdog_s
        self.said = []

    def ready(self):
        self.said.append("ready")

    def status(self, line):
        if self.line != line:
            self.said.append(f"status {line}")

    @property
    def line(self):
        """The last line of status."""
        lines = [one.removeprefix("status ") for one in self.said if one.startswith("status ")]
        return lines[-1] if lines else ""

    def alive(self):
        self.said.append("alive")

    def reloading(self):
        self.said.append("reloading")

    def stopping(self):
        self.said.append("stopping")

    def extend(self, seconds):
        self.said.append(f"extend {seconds:.0f}")


class World:
    """What outlives the agent: the API, the engine, the disk."""

    def __init__(self, path, **policy):
        self.path = path
        self.api = FakeApi(queue={"7": spec()}, files={"/u/in": b"input", "/u/c": b"epochs: 2"})
        self.engine = FakeEngine()
        self.engine.images = {IMAGE}
        self.stop = Stop()
        self.service = FakeService(is_there=False)
        self.heard = HeardApi(self.api)
        self.renewed = None
        self.rooms = ()
        self.self_test = lambda _slot: None
        self.policy = Policy(
            Limits(),
            "0",
            **{"pull": ImagePull.NEVER, "transfers": 1, "backoff": SOON, "transfer_backoff": SOON} | policy,
        )

    def journal(self):
        """Open the journal; whoever does closes it."""
        journal = SqliteJournal(self.path / "agent.db", ballast_bytes=0)
        self.engine.agent_id = journal.agent_id
        return journal

    def tools(self, journal, over=lambda port, *_: port):
        """The tools of one life; `over` may put something between them and the agent."""
        return Tools(
            api=over(self.heard),
            transfer=over(FakeTransfer(self.api)),
            engine=over(self.engine),
            journal=over(journal),
            folder_of=lambda job_id: over(LocalJobFolder(self.path / "jobs", job_id), "part"),
            progress=Unwatched(),
            policy=self.policy,
            rooms=lambda _is_engine_there: self.rooms,
            folders=lambda: list_job_folders(self.path / "jobs"),
        )

    def station(self):
        """Who started the agent; what the settings say after a reload is `renewed`."""
        return Station(
            self.service,
            self.heard,
            lambda: self.renewed,
            version="0",
            api_url="https://api",
            account="worker1",
            free_bytes=lambda: 212_000_000_000,
            self_test=self.try_slot,
        )

    def try_slot(self, slot):
        """The self-test of the moment."""
        self.self_test(slot)

    def runner(self, tools, record, *, is_recovered):
        """One job's runner, beating inline."""
        heartbeat = InlineHeartbeat(tools.api, 30.0)
        return Runner(tools, heartbeat, SLOT, record, self.stop, is_recovered=is_recovered)


def let_jobs_end(daemon):
    """Wait for every job's thread."""
    for thread in list(daemon._crew._members):
        thread.join(30)
        assert not thread.is_alive()
