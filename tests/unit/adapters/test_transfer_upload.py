"""Uploads over real sockets: the form as the API and S3 read it, whatever the storage does meanwhile."""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from python_multipart import MultipartParser
from python_multipart.multipart import parse_options_header

from agent.adapters import transfer as transfer_module
from agent.adapters.transfer import HttpTransfer
from agent.core.errors import DiskTrouble, JobFailed, Stopped, StorageTrouble
from agent.core.models import FileRequest
from agent.core.stopping import Stop
from tests.fakes.storage_server import Exchange, Script, StorageServer, accept
from tests.fakes.waiting import LONG_S, SOON_S, once

CONTENT = bytes(range(256)) * 8000  # 2 MB
POLICY = {
    "key": "user_data/x/log/${filename}",
    "x-amz-algorithm": "AWS4-HMAC-SHA256",
    "policy": "POLICYPOLICYPOLICY",
    "x-amz-signature": "0" * 64,
}


@pytest.fixture
def transfer() -> Iterator[HttpTransfer]:
    with HttpTransfer(
        connect_timeout_s=LONG_S, idle_timeout_s=LONG_S, floor_bytes_s=1, window_s=LONG_S
    ) as transfer:
        yield transfer


class Upload:
    """One output and what was heard while it was sent."""

    def __init__(self, transfer: HttpTransfer) -> None:
        self.transfer = transfer
        self.stop = Stop()
        self.heard: list[int] = []

    def __call__(
        self,
        url: str,
        source: BinaryIO | bytes = CONTENT,
        *,
        name: str = "out.csv",
        size_bytes: int | None = None,
        headers: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
    ) -> None:
        size_bytes = len(source) if isinstance(source, bytes) else size_bytes
        assert size_bytes is not None
        self.transfer.upload(
            FileRequest(method="post", url=url, headers=headers or {}, data=data or {}),
            io.BytesIO(source) if isinstance(source, bytes) else source,
            name=name,
            size_bytes=size_bytes,
            stop=self.stop,
            advance=self.heard.append,
        )


@pytest.fixture
def upload(transfer: HttpTransfer) -> Upload:
    return Upload(transfer)


def fields_of(sent: Exchange) -> list[tuple[dict[str, str], bytes]]:
    """The form's parts as python-multipart, the API's parser, reads them."""
    _, options = parse_options_header(sent.headers["content-type"])
    parts: list[tuple[dict[str, str], bytearray]] = []
    header = [bytearray(), bytearray()]

    def end_header() -> None:
        if header[0].lower() == b"content-disposition":
            _, found = parse_options_header(bytes(header[1]))
            parts[-1][0].update({k.decode(): v.decode() for k, v in found.items()})
        header[:] = [bytearray(), bytearray()]

    parser = MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": lambda: parts.append(({}, bytearray())),
            "on_header_field": lambda data, start, end: header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: header[1].extend(data[start:end]),
            "on_header_end": end_header,
            "on_part_data": lambda data, start, end: parts[-1][1].extend(data[start:end]),
        },
    )
    parser.write(sent.read_body())
    parser.finalize()
    return [(names, bytes(data)) for names, data in parts]


def test_a_file_is_sent_to_s3(upload: Upload):
    """The fields in their order, the file as the last one, a length always, no chunks, no Authorization."""
    with StorageServer(accept) as server:
        upload(server.url("/bucket"), data=POLICY)
    (sent,) = server.exchanges
    assert (sent.method, sent.target) == ("POST", "/bucket")
    assert "transfer-encoding" not in sent.headers
    assert "authorization" not in sent.headers
    assert int(sent.headers["content-length"]) == len(sent.body)
    assert fields_of(sent) == [
        *(({"name": name}, value.encode()) for name, value in POLICY.items()),
        ({"name": "file", "filename": "out.csv"}, CONTENT),
    ]
    assert sum(upload.heard) == len(CONTENT)
    assert len(upload.heard) > 1


def test_the_form_is_byte_for_byte_the_recorded_one(upload: Upload):
    """As the recorded exchanges have it: no type for the part, the boundary alone differs."""
    with StorageServer(accept) as server:
        upload(server.url(), b"hello world\n", name="log.log", data={"key": "a/${filename}"})
    (sent,) = server.exchanges
    boundary = re.fullmatch(r"multipart/form-data; boundary=([0-9a-f]{32})", sent.headers["content-type"])
    assert boundary
    assert sent.body.decode() == (
        '--B\r\nContent-Disposition: form-data; name="key"\r\n\r\na/${filename}\r\n'
        '--B\r\nContent-Disposition: form-data; name="file"; filename="log.log"\r\n\r\n'
        "hello world\n\r\n--B--\r\n"
    ).replace("--B", f"--{boundary[1]}")


def test_a_file_is_sent_to_the_api(upload: Upload):
    """The headers of the answer go along, but the form's own type."""

    def script(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(201, b"null")

    target = "/jobs/1/files/upload?type=output&base_path=out%2Fa"
    with StorageServer(script) as server:
        for _ in range(2):
            upload(server.url(target), headers={"authorization": "Bearer T", "Content-Type": "text/plain"})
    assert server.connections == 1
    for sent in server.exchanges:
        assert sent.target == target
        assert sent.headers["authorization"] == "Bearer T"
        assert fields_of(sent) == [({"name": "file", "filename": "out.csv"}, CONTENT)]


@pytest.mark.parametrize("content", [b"", b"x", b"\r\n--", bytes(256 << 10), bytes((256 << 10) + 1)])
def test_files_of_any_size_are_sent(upload: Upload, content: bytes):
    """Nothing at all, and around the size of a piece."""
    with StorageServer(accept) as server:
        upload(server.url(), content)
    assert fields_of(server.exchanges[0])[-1][1] == content


@pytest.mark.parametrize(
    "name", ["with space", "ünï ☃.txt", "ha#sh?q", "per%20cent+", "-rf", "it's; x=y", "\u2028"]
)
def test_names_arrive_as_they_are(upload: Upload, name: str):
    """Names are sent as UTF-8, as browsers do; what would not arrive was escaped before (`core.paths`)."""
    with StorageServer(accept) as server:
        upload(server.url(), b"x", name=name)
    assert fields_of(server.exchanges[0])[-1][0]["filename"] == name


def test_more_than_s3_takes_is_refused_before_a_byte_is_sent(upload: Upload):
    """Over 5 GiB: the file's name and size, no connection."""
    with StorageServer(accept) as server, pytest.raises(JobFailed) as caught:
        upload(server.url(), io.BytesIO(), name="big\n.h5", size_bytes=(5 << 30) + 1, data=POLICY)
    assert server.connections == 0
    assert "'big\\n.h5' has 5,368,709,121 bytes (5.0 GiB)" in caught.value.reason


@pytest.mark.parametrize(("size", "data"), [(101, {}), (100, POLICY)])
def test_what_may_be_sent_is_sent(
    upload: Upload, monkeypatch: pytest.MonkeyPatch, size: int, data: dict[str, str]
):
    """The limit is S3's and exact; the API's own storage has none."""
    monkeypatch.setattr(transfer_module, "MAX_FORM_BYTES", 100)
    with StorageServer(accept) as server:
        upload(server.url(), b"." * size, data=data)
        with pytest.raises(JobFailed):
            upload(server.url(), b"." * 101, data=POLICY)


@pytest.mark.parametrize(("change", "why"), [(-1, "shorter"), (-len(CONTENT), "shorter"), (1, "longer")])
def test_a_file_that_changes_is_the_jobs_error(upload: Upload, change: int, why: str):
    """A source that is not as long as announced fails at once, and does not count."""
    with (
        StorageServer(accept) as server,
        pytest.raises(JobFailed, match=f"'out.csv' became {why} while it was uploaded"),
    ):
        upload(server.url(), io.BytesIO(CONTENT), size_bytes=len(CONTENT) - change)
    assert sum(upload.heard) == 0
    with StorageServer(accept) as server:
        upload(server.url())


class Broken(io.BytesIO):
    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_file_that_cannot_be_read_is_trouble_of_the_disk(upload: Upload):
    """An error of the disk is not taken for one of the network."""
    with (
        StorageServer(accept) as server,
        pytest.raises(DiskTrouble, match=r"'out.csv' cannot be read: Input/output"),
    ):
        upload(server.url(), Broken(), size_bytes=10)


BIG = 64 << 20


class Zeros(io.RawIOBase):
    """As many zeros as one likes, without the memory."""

    def read(self, size: int = -1, /) -> bytes:
        if self.left == 0:
            return b""
        self.left -= min(size, self.left)
        return bytes(size)

    def __init__(self, size: int = BIG) -> None:
        super().__init__()
        self.left = size


def refuse_early(exchange: Exchange) -> None:
    """Answer at once and read no more, as nginx does with 413."""
    exchange.answer(413, b'{"detail": "too large for us"}', connection="close")
    exchange.sleep()


def refuse_and_close(exchange: Exchange) -> None:
    exchange.read_some_body(1000)
    exchange.answer(403, b"<Error><Code>AccessDenied</Code><Message>Policy expired</Message></Error>")
    exchange.hang_up()


def refuse_and_read_on(exchange: Exchange) -> None:
    exchange.answer(400, b'{"detail": "no such job"}')


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (refuse_early, "413 (too large for us)"),
        (refuse_and_close, "403 (AccessDenied: Policy expired)"),
        (refuse_and_read_on, "400 (no such job)"),
    ],
)
def test_a_refusal_while_sending_is_read(upload: Upload, script: Script, why: str):
    """The real reason is shown, not the broken pipe; the connection is not used for anything else."""
    with StorageServer(script) as server:
        for _ in range(3):
            with pytest.raises(StorageTrouble) as caught:
                upload(server.url(), Zeros(), size_bytes=BIG)
            assert str(caught.value) == f"127.0.0.1 answered {why}"
            assert sum(upload.heard) == 0
        server.script = accept
        upload(server.url())
    assert caught.value.status == int(why[:3])


def test_a_reset_while_sending_is_trouble(upload: Upload):
    """A connection that goes away without a word is the storage's trouble."""

    def script(exchange: Exchange) -> None:
        exchange.read_some_body(1000)
        exchange.reset()

    with (
        StorageServer(script) as server,
        pytest.raises(StorageTrouble, match=r"^127\.0\.0\.1: .*connection") as caught,
    ):
        upload(server.url(), Zeros(), size_bytes=BIG)
    assert caught.value.status is None


@pytest.mark.parametrize("status", [404, 401, 422, 500, 503, 302, 304, 202])
def test_a_refusal_at_the_end_is_trouble_with_its_status(upload: Upload, status: int):
    """What the status means for the job is decided elsewhere."""

    def script(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(status, retry_after="3", location="http://127.0.0.1:1/")

    with StorageServer(script) as server, pytest.raises(StorageTrouble) as caught:
        upload(server.url())
    assert (caught.value.status, caught.value.retry_after_s) == (status, 3)


def test_no_secret_is_told(upload: Upload):
    """Nothing of the form, the query or the token is repeated, whatever the storage says."""

    def script(exchange: Exchange) -> None:
        body = exchange.read_body()[:600]
        exchange.answer(403, exchange.target.encode() + exchange.headers["authorization"].encode() + body)

    with StorageServer(script) as server, pytest.raises(StorageTrouble) as caught:
        upload(server.url("/?a=QUERYSECRET"), headers={"authorization": "Bearer TOKENTOKEN"}, data=POLICY)
    for secret in "QUERYSECRET", "TOKENTOKEN", "POLICYPOLICY", "0" * 20:
        assert secret not in str(caught.value)


def read_slowly(exchange: Exchange) -> None:
    for size in range(1, 1 << 20):
        exchange.read_some_body(size)
        exchange.sleep(0.05)


def read_nothing(exchange: Exchange) -> None:
    exchange.sleep()


def answer_nothing(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.sleep()


def test_too_slow_is_a_stall():
    """A storage that takes a byte now and then is given up."""
    with (
        HttpTransfer(idle_timeout_s=30, floor_bytes_s=1 << 30, window_s=0.3) as transfer,
        StorageServer(read_slowly) as server,
        pytest.raises(StorageTrouble, match="stalled"),
    ):
        Upload(transfer)(server.url(), Zeros(), size_bytes=BIG)


@pytest.mark.parametrize(("script", "size"), [(read_nothing, BIG), (answer_nothing, 1000)])
def test_silence_ends_by_the_timeout(script: Script, size: int):
    """A storage that takes nothing any more, or does not answer, is given up."""
    with (
        HttpTransfer(idle_timeout_s=0.3) as transfer,
        StorageServer(script) as server,
        pytest.raises(StorageTrouble, match="no answer in time"),
    ):
        Upload(transfer)(server.url(), Zeros(size), size_bytes=size)


def test_a_storage_may_take_its_time_to_store(monkeypatch: pytest.MonkeyPatch):
    """The answer to a big file may take longer than any other silence, which is no stall either."""
    monkeypatch.setattr(transfer_module, "_STORING_BYTES_S", len(CONTENT) / LONG_S)

    def script(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.sleep(4.5)
        exchange.answer(204, content_length="")

    with (
        HttpTransfer(idle_timeout_s=2, floor_bytes_s=1, window_s=2) as transfer,
        StorageServer(script) as server,
    ):
        Upload(transfer)(server.url())


@pytest.mark.parametrize(
    ("script", "size"), [(read_nothing, BIG), (read_slowly, BIG), (answer_nothing, 1000)]
)
def test_a_stop_ends_it_at_once(transfer: HttpTransfer, script: Script, size: int):
    """While sending and while waiting for the answer, on new connections and on old ones."""

    def stop_soon() -> None:
        upload, before = Upload(transfer), len(server.exchanges)
        with once(lambda: len(server.exchanges) > before, upload.stop.set) as passed_s:
            with pytest.raises(Stopped):
                upload(server.url(), Zeros(size), size_bytes=size)
            assert passed_s() < SOON_S
        assert sum(upload.heard) == 0

    with StorageServer(script) as server:
        stop_soon()
        server.script = accept
        Upload(transfer)(server.url())
        server.script = script
        stop_soon()


def test_a_login_page_is_no_receipt(upload: Upload):
    """It says 200 to everything, and has kept nothing."""

    def script(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.answer(200, b"<html>please log in</html>", content_type="text/html")

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="please log in"):
        upload(server.url())


def test_thanks_before_all_was_sent_are_no_receipt(upload: Upload):
    """Whoever answers in the middle has not got the rest."""

    def script(exchange: Exchange) -> None:
        exchange.read_some_body(1000)
        exchange.answer(201, b"null")
        exchange.sleep()

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="before it was sent"):
        upload(server.url(), Zeros(), size_bytes=BIG)
