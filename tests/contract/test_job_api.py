"""The ports JobApi and Transfer: one suite on the fakes and on the real adapters against the stand-in."""

import io
from contextlib import closing

import pytest

from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.tokens import StaticToken
from agent.adapters.transfer import HttpTransfer
from agent.adapters.worker_api import WorkerApi
from agent.core.errors import ApiTrouble, JobFailed, JobGone, Stopped
from agent.core.models import Offer, UploadKind, Word
from agent.core.stopping import Stop
from mock_api.server import RunningMock
from mock_api.settings import Settings
from tests.fakes.api import FakeApi, FakeTransfer

CONTENT = b"0123456789" * 1000
OFFER = Offer(8192, 4)


class Fake:
    """The fakes and what a test needs to know of their world."""

    def __init__(self):
        self.api = FakeApi()
        self.transfer = FakeTransfer(self.api)

    def submit(self):
        self.api.queue["7"] = {"app": {}, "handler": {"image_url": "demo:1"}}
        return 7

    def put_file(self):
        self.api.files["/u/in"] = CONTENT
        return "/u/in"

    def delete(self, job_id):
        self.api.deleted.add(job_id)

    def output(self, job_id):
        return self.api.uploads[f"{job_id}/output/out/sub/a b.bin"]

    def mails(self, job_id):
        return len(self.api.verdicts(job_id))


class Real:
    """The real adapters, and the stand-in over a socket."""

    def __init__(self, mock):
        self.mock = mock
        self.api = WorkerApi(mock.url, StaticToken("worker1-token"))
        self.transfer = HttpTransfer()

    def submit(self):
        return int(self.mock.submit())

    def put_file(self):
        return self.mock.state.put_file("in.bin", CONTENT)

    def delete(self, job_id):
        self.mock.cancel(str(job_id))

    def output(self, job_id):
        return self.mock.output(str(job_id), "out/sub/a b.bin")

    def mails(self, job_id):
        return len(self.mock.mails(str(job_id)))


@pytest.fixture(params=["fake", "local", "s3"])
def world(request):
    if request.param == "fake":
        yield Fake()
        return
    with RunningMock(Settings(storage=request.param)) as mock:
        world = Real(mock)
        with world.api, closing(world.transfer):
            yield world


def test_a_claim_is_a_dequeue(world):
    """The second claim gets nothing; the job is `pulled`."""
    job_id = world.submit()
    assert list(world.api.claim(OFFER, 1)) == [str(job_id)]
    assert world.api.claim(OFFER, 1) == {}
    assert world.api.status(job_id) is Word.PULLED


def test_words_arrive(world):
    """What was said is what GET says, and no transition is refused."""
    job_id = world.submit()
    world.api.claim(OFFER, 1)
    for word in (Word.PREPROCESSING, Word.RUNNING, Word.FINISHED, Word.RUNNING):
        world.api.say(job_id, word)
        assert world.api.status(job_id) is word
    assert world.mails(job_id) == 1


def test_a_deleted_job_is_gone(world):
    """PUT says 404 (once, on the real one), then GET does."""
    job_id = world.submit()
    world.api.claim(OFFER, 1)
    world.api.say(job_id, Word.RUNNING)
    world.delete(job_id)
    with pytest.raises(JobGone):
        world.api.say(job_id, Word.RUNNING)
    with pytest.raises(JobGone):
        world.api.status(job_id)
    with pytest.raises(ApiTrouble) as caught:
        world.api.upload_request(job_id, UploadKind.OUTPUT, "out")
    assert caught.value.status == 500


def test_a_job_that_never_was_is_trouble(world):
    """500, not 404: it proves nothing."""
    with pytest.raises(ApiTrouble):
        world.api.say(4711, Word.RUNNING)


def test_a_download_arrives(world, tmp_path):
    """Whole, and `advance` hears every byte."""
    folder = LocalJobFolder(tmp_path, 7)
    folder.create()
    heard = []
    request = world.api.download_request(world.put_file())
    with folder.part(("data", "in.bin")) as part:
        world.transfer.download(request, part, stop=Stop(), advance=heard.append)
    assert folder.has(("data", "in.bin"))
    assert (tmp_path / "7" / "files" / "data" / "in.bin").read_bytes() == CONTENT
    assert sum(heard) == len(CONTENT)


def test_a_missing_input_is_the_jobs_fault(world):
    """There is no use in trying again."""
    known = world.put_file()
    with pytest.raises(JobFailed, match="missing"):
        world.api.download_request(known.replace("in", "none"))


def test_an_upload_arrives(world):
    """In its folder, under its name, again if sent again."""
    job_id = world.submit()
    world.api.claim(OFFER, 1)
    for content in (b"first", CONTENT):
        request = world.api.upload_request(job_id, UploadKind.OUTPUT, "out/sub")
        world.transfer.upload(
            request,
            io.BytesIO(content),
            name="a b.bin",
            size_bytes=len(content),
            stop=Stop(),
            advance=lambda _: None,
        )
        assert world.output(job_id) == content


def test_a_stop_ends_a_transfer(world, tmp_path):
    """Before it has begun, too."""
    stop = Stop()
    stop.set()
    folder = LocalJobFolder(tmp_path, 7)
    folder.create()
    request = world.api.download_request(world.put_file())
    with folder.part(("in",)) as part, pytest.raises(Stopped):
        world.transfer.download(request, part, stop=stop, advance=lambda _: None)
    assert not folder.has(("in",))
