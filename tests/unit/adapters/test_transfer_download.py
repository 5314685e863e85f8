"""Downloads over real sockets: complete or not at all, whatever the storage does."""

import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.transfer import HttpTransfer
from agent.core.errors import DiskTrouble, JobFailed, Stopped, StorageTrouble
from agent.core.models import FileRequest
from agent.core.stopping import Stop
from tests.fakes.storage_server import Exchange, Script, StorageServer, serve
from tests.fakes.waiting import LONG_S, SOON_S, once

CONTENT = bytes(range(256)) * 8000  # 2 MB
PATH = ("data", "x")


@pytest.fixture
def folder(tmp_path: Path) -> LocalJobFolder:
    folder = LocalJobFolder(tmp_path / "jobs", 12)
    folder.create()
    return folder


@pytest.fixture
def transfer() -> Iterator[HttpTransfer]:
    with HttpTransfer(
        connect_timeout_s=LONG_S, idle_timeout_s=LONG_S, floor_bytes_s=1, window_s=LONG_S
    ) as transfer:
        yield transfer


class Download:
    """One input and what was heard while it was fetched."""

    def __init__(self, transfer: HttpTransfer, folder: LocalJobFolder, path: tuple[str, ...] = PATH) -> None:
        self.transfer, self.folder, self.path = transfer, folder, path
        self.stop = Stop()
        self.heard: list[int] = []

    def __call__(self, url: str, headers: dict[str, str] | None = None, **kwargs: dict[str, str]) -> None:
        request = FileRequest(method="get", url=url, headers=headers or {}, **kwargs)
        with self.folder.part(self.path) as part:
            self.transfer.download(request, part, stop=self.stop, advance=self.heard.append)

    def begin(self, data: bytes, validator: str = '"v1"') -> None:
        with self.folder.part(self.path) as part:
            part.restart(validator)
            part.write(data)

    @property
    def kept(self) -> tuple[int, str]:
        with self.folder.part(self.path) as part:
            return part.size_bytes, part.validator

    @property
    def content(self) -> bytes:
        assert self.folder.has(self.path)
        return Path(self.folder.mount, *self.path).read_bytes()


@pytest.fixture
def download(transfer: HttpTransfer, folder: LocalJobFolder) -> Download:
    return Download(transfer, folder)


def test_a_file_arrives_whole(download: Download):
    """The request is sent as the API described it, with nothing of ours that matters."""
    with StorageServer(serve(CONTENT)) as server:
        download(server.url("/a%20b/c?X-Sig=1%2F2"), {"authorization": "Bearer T", "x-own": "1"})
    assert download.content == CONTENT
    assert sum(download.heard) == len(CONTENT)
    (sent,) = server.exchanges
    assert (sent.method, sent.target) == ("GET", "/a%20b/c?X-Sig=1%2F2")
    assert sent.headers["authorization"] == "Bearer T"
    assert sent.headers["x-own"] == "1"
    assert sent.headers["accept-encoding"] == "identity"
    assert "range" not in sent.headers
    assert "if-range" not in sent.headers


@pytest.mark.parametrize("content", [b"", b"x"])
def test_small_files_arrive(download: Download, content: bytes):
    """An empty input is an input."""
    with StorageServer(serve(content)) as server:
        download(server.url())
    assert download.content == content


def test_nobody_gets_an_authorization_he_was_not_meant_to(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A storage hears nothing of ~/.netrc, of the URL's user, or of cookies."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    def script(exchange: Exchange) -> None:
        exchange.answer(200, b"x", set_cookie="track=me; Path=/")

    with StorageServer(script) as server:
        download(server.url())
        download(server.url())
        download(server.url().replace("//", "//user:pass@"))
    for sent in server.exchanges:
        assert "authorization" not in sent.headers
        assert "cookie" not in sent.headers


def test_a_download_resumes(download: Download):
    """Only what is missing is asked for, on condition that the content is the same."""
    download.begin(CONTENT[:1000])
    with StorageServer(serve(CONTENT)) as server:
        download(server.url())
    assert download.content == CONTENT
    assert sum(download.heard) == len(CONTENT)
    assert server.exchanges[0].headers["range"] == "bytes=1000-"
    assert server.exchanges[0].headers["if-range"] == '"v1"'


def test_another_content_starts_anew(download: Download):
    """Old bytes never become part of a new file."""
    download.begin(b"old" * 500, '"old"')
    with StorageServer(serve(CONTENT)) as server:
        download(server.url())
    assert download.content == CONTENT
    assert sum(download.heard) == len(CONTENT)


def test_a_range_beyond_the_end_starts_anew(download: Download):
    """A part that was complete but not yet in its place is fetched again, in the same attempt."""
    download.begin(CONTENT)
    with StorageServer(serve(CONTENT)) as server:
        download(server.url())
    assert download.content == CONTENT
    assert ["range" in sent.headers for sent in server.exchanges] == [True, False]


@pytest.mark.parametrize(
    "lie",
    [
        {"content_range": "bytes 0-2047999/2048000"},
        {"content_range": "bytes 999-2047999/2048000"},
        {"content_range": "bytes 1000-2047999/2048001"},
        {"content_range": "bytes 1000-2047998/2048000"},
        {"content_range": "bytes 1000-2047999/*"},
        {"content_range": "bytes */2048000"},
        {"content_range": ""},
        {"content_length": "5"},
        {"etag": '"v2"'},
    ],
)
def test_a_lying_range_starts_anew(download: Download, lie: dict[str, str]):
    """An answer that contradicts itself or the question is not appended; the next attempt begins at zero."""
    download.begin(CONTENT[:1000])

    def script(exchange: Exchange) -> None:
        truth = {"content_range": "bytes 1000-2047999/2048000", "etag": '"v1"'}
        exchange.answer(206, CONTENT[1000:], **truth | lie)
        exchange.hang_up()

    with (
        StorageServer(script) as server,
        pytest.raises(StorageTrouble, match=r"127.0.0.1: the answer contradicts"),
    ):
        download(server.url())
    assert download.kept == (0, "")
    assert sum(download.heard) == 0


def test_a_range_that_nobody_asked_for_is_refused(download: Download):
    """206 to a plain request is no whole file."""

    def script(exchange: Exchange) -> None:
        exchange.answer(206, CONTENT, content_range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="contradicts itself"):
        download(server.url())
    assert not download.folder.has(PATH)


def test_a_broken_connection_keeps_what_came(download: Download):
    """Short of the announced length is not complete; the next attempt goes on from there."""

    def script(exchange: Exchange) -> None:
        exchange.answer(200, CONTENT[:70_000], content_length=str(len(CONTENT)), etag='"v1"')
        exchange.hang_up()

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="cut off"):
        download(server.url())
    assert not download.folder.has(PATH)
    assert download.kept == (70_000, '"v1"')
    assert sum(download.heard) == 0
    with StorageServer(serve(CONTENT)) as server:
        download(server.url())
    assert download.content == CONTENT
    assert server.exchanges[0].headers["range"] == "bytes=70000-"


@pytest.mark.parametrize("etag", ["", 'W/"v1"', "v1", '"a"b"'])
def test_without_a_strong_etag_nothing_is_resumed(download: Download, etag: str):
    """Only a strong ETag vouches for bytes."""

    def script(exchange: Exchange) -> None:
        exchange.answer(200, CONTENT[:70_000], content_length=str(len(CONTENT)), etag=etag)
        exchange.hang_up()

    with StorageServer(script) as server, pytest.raises(StorageTrouble):
        download(server.url())
    assert download.kept == (0, "")


def chunked(exchange: Exchange, *pieces: bytes, end: bytes = b"0\r\n\r\n", head: bytes = b"200 OK") -> None:
    exchange.send(b"HTTP/1.1 " + head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in pieces:
        exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    exchange.send(end)


def test_an_answer_in_chunks_is_taken(download: Download):
    """No length was announced, but the end is marked."""
    with StorageServer(lambda exchange: chunked(exchange, b"abc", CONTENT, b"d")) as server:
        download(server.url())
    assert download.content == b"abc" + CONTENT + b"d"


@pytest.mark.parametrize("end", [b"", b"5\r\nab", b"zz\r\n", b"1"])
def test_chunks_without_an_end_are_not_complete(download: Download, end: bytes):
    """A stream that breaks off before its mark is no file."""

    def script(exchange: Exchange) -> None:
        chunked(exchange, CONTENT, end=end)
        exchange.hang_up()

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="cut off"):
        download(server.url())
    assert not download.folder.has(PATH)


def test_more_than_announced_is_refused(download: Download):
    """A range in chunks that does not end where it said is thrown away."""
    download.begin(CONTENT[:1000])

    def script(exchange: Exchange) -> None:
        head = f'206 P\r\nETag: "v1"\r\nContent-Range: bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}'.encode()
        chunked(exchange, CONTENT[1000:], CONTENT, head=head)

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="more came"):
        download(server.url())
    assert download.kept == (0, "")


def test_an_answer_that_ends_with_the_connection_is_refused(download: Download):
    """Its end could not be told from a broken connection."""

    def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
        exchange.hang_up()

    with StorageServer(script) as server, pytest.raises(StorageTrouble, match="contradicts itself"):
        download(server.url())


def test_an_encoded_content_stays_as_it_is_stored(download: Download):
    """A file that was stored with an encoding is the job's file byte for byte."""
    with StorageServer(
        lambda exchange: exchange.answer(200, b"\x1f\x8bnot really", content_encoding="gzip", etag='"a"')
    ) as server:
        download(server.url())
    assert download.content == b"\x1f\x8bnot really"


def test_a_missing_file_is_the_jobs_error(download: Download):
    """404: the input is not there, and waiting would not bring it."""
    xml = b"<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>"
    with (
        StorageServer(lambda exchange: exchange.answer(404, xml)) as server,
        pytest.raises(JobFailed) as caught,
    ):
        download(server.url())
    assert caught.value.reason == "not found at 127.0.0.1: 404 (NoSuchKey: The key does not exist.)"


@pytest.mark.parametrize(
    ("status", "retry_after", "wait_s"),
    [
        (401, "", None),
        (403, "", None),
        (416, "", None),
        (429, "7", 7),
        (500, "Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (503, "99999", 3600),
        (503, "soon", None),
        (204, "", None),
        (300, "", None),
    ],
)
def test_other_answers_are_trouble_of_the_storage(
    download: Download, status: int, retry_after: str, wait_s: float | None
):
    """The caller sees the status, and how long to wait if the storage said so."""
    with (
        StorageServer(lambda exchange: exchange.answer(status, retry_after=retry_after)) as server,
        pytest.raises(StorageTrouble, match=f"127.0.0.1 answered {status}") as caught,
    ):
        download(server.url())
    assert caught.value.status == status
    assert caught.value.retry_after_s == wait_s


def test_a_redirect_is_not_followed(download: Download):
    """Where it leads did not get this request from the API; its body, however long, is not read."""

    def script(exchange: Exchange) -> None:
        exchange.answer(
            307, b"x" * 100_000, location=elsewhere.url("/x?secret=12345678"), content_length=str(1 << 40)
        )
        exchange.sleep()

    with (
        StorageServer(serve(b"")) as elsewhere,
        StorageServer(script) as server,
        pytest.raises(StorageTrouble, match="a redirect, which is not followed") as caught,
    ):
        download(server.url(), {"authorization": "Bearer T"})
    assert elsewhere.exchanges == []
    assert "12345678" not in str(caught.value)


SECRETS = "SIGNATURE0123456789", "TOKEN.0123456789.abc"


@pytest.mark.parametrize("how", ["echo", "reset", "silent", "refused", "garbage", "headers"])
def test_no_secret_is_told(folder: LocalJobFolder, caplog: pytest.LogCaptureFixture, how: str):
    """Neither errors, their causes, nor any log at any level hold a signature or a token."""
    caplog.set_level(logging.DEBUG)

    def script(exchange: Exchange) -> None:
        match how:
            case "echo":
                exchange.answer(403, f"you sent {exchange.target} {exchange.headers}".encode())
            case "reset":
                exchange.reset()
            case "silent":
                exchange.sleep()
            case "garbage":
                exchange.send(b"garbage\r\n\r\n")
            case _:
                exchange.send(b"HTTP/1.1 200 OK\r\nbroken header\r\n x\r\nContent-Length: 0\r\n\r\n")
        exchange.hang_up()

    idle_s = 0.2 if how == "silent" else LONG_S
    with HttpTransfer(idle_timeout_s=idle_s) as transfer, StorageServer(script) as server:
        url = server.url(f"/x?X-Amz-Signature={SECRETS[0]}")
        if how == "refused":
            url = url.replace(f":{server.port}", ":1")
        try:
            Download(transfer, folder)(url, {"authorization": f"Bearer {SECRETS[1]}"})
        except StorageTrouble as trouble:
            logging.getLogger("test").exception("failed")
            text = str(trouble)
        else:
            text = ""
    assert how == "headers" or text
    for secret in SECRETS:
        assert secret not in text + caplog.text
    assert "\n" not in text
    assert len(text) < 300


def trickle(exchange: Exchange) -> None:
    exchange.answer(200, b"", content_length="1000000", etag='"v1"')
    while True:
        exchange.send(b".")
        exchange.sleep(0.02)


def trickle_head(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.send(b"X")
        exchange.sleep(0.02)


def trickle_chunk(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    while True:
        exchange.send(b"x")
        exchange.sleep(0.02)


@pytest.mark.parametrize("script", [trickle, trickle_head, trickle_chunk])
def test_too_slow_is_a_stall(folder: LocalJobFolder, script: Script):
    """A byte now and then does not keep a transfer alive, wherever in the answer it comes."""
    with (
        HttpTransfer(floor_bytes_s=1000, window_s=0.3) as transfer,
        StorageServer(script) as server,
        pytest.raises(StorageTrouble, match="stalled: less than 1000 bytes/s for 0 s"),
    ):
        Download(transfer, folder)(server.url())


@pytest.mark.parametrize("begun", [False, True])
def test_silence_ends_by_the_timeout(folder: LocalJobFolder, begun: bool):
    """A storage that says nothing is given up, before and within the content."""

    def script(exchange: Exchange) -> None:
        if begun:
            exchange.answer(200, b"abc", content_length="10", etag='"v1"')
        exchange.sleep()

    idle_s = 5 if begun else 0.2
    with HttpTransfer(idle_timeout_s=idle_s) as transfer, StorageServer(script) as server:
        download = Download(transfer, folder)
        with pytest.raises(StorageTrouble, match="no answer in time"):
            download(server.url())
    assert download.kept == ((3, '"v1"') if begun else (0, ""))


def test_a_steady_transfer_is_no_stall(folder: LocalJobFolder):
    """Slow is fine as long as it is above the floor, however long it takes."""

    def script(exchange: Exchange) -> None:
        exchange.answer(200, b"", content_length="9000")
        for _ in range(90):
            exchange.send(b"." * 100)
            exchange.sleep(0.05)

    with (
        HttpTransfer(floor_bytes_s=50, window_s=2) as transfer,  # so one piece within a window is enough
        StorageServer(script) as server,
    ):
        Download(transfer, folder)(server.url())


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/x", "127.0.0.1: the connection failed: Connection refused"),
        ("http://no-such-host.invalid/x", "no-such-host.invalid: the connection failed: "),
        ("ftp://host/x", "host: the transfer failed"),
        ("nonsense", "a URL without host: "),
        ("http://[::1/x", "a malformed URL: "),
        ("http://a b/x", "a b: "),
        ("", "a URL without host: "),
    ],
)
def test_urls_that_lead_nowhere_are_trouble(download: Download, url: str, why: str):
    """Whatever a URL is, the error is ours and says what is wrong with it."""
    with pytest.raises(StorageTrouble, match="^" + why.replace(".", r"\.").replace("[", r"\[")):
        download(url)


@pytest.mark.parametrize("headers", [{"x": "a\nb"}, {"x": "☃"}, {"a b:": "x"}])
def test_headers_that_cannot_be_sent_are_trouble(download: Download, headers: dict[str, str]):
    """What the API gave us may be nonsense."""
    with (
        StorageServer(serve(b"")) as server,
        pytest.raises(StorageTrouble, match=r"127\.0\.0\.1: the transfer failed"),
    ):
        download(server.url(), headers)


def test_a_full_disk_is_not_the_storages_fault(download: Download, monkeypatch: pytest.MonkeyPatch):
    """What the part raises goes through as it is."""

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with StorageServer(serve(CONTENT)) as server, monkeypatch.context() as patch:
        patch.setattr("agent.adapters.job_folder_part.os.write", full)
        with pytest.raises(DiskTrouble, match="no space left"):
            download(server.url())
    assert sum(download.heard) == 0


def hang_in_head(exchange: Exchange) -> None:
    exchange.sleep()


def hang_in_body(exchange: Exchange) -> None:
    exchange.answer(200, b"abc", content_length="10", etag='"v1"')
    exchange.sleep()


def flood(exchange: Exchange) -> None:
    exchange.answer(200, content_length=str(1 << 50))
    while True:
        exchange.send(bytes(1 << 16))


def check_that_a_stop_ends(download: Download, url: str, is_under_way: Callable[[], object]) -> None:
    """Download, ask to stop when it is under way: it has to obey long before it gives up by itself."""
    with once(is_under_way, download.stop.set) as passed_s:
        with pytest.raises(Stopped):
            download(url)
        assert passed_s() < SOON_S


def check_that_a_stop_ends_it(download: Download, server: StorageServer) -> None:
    """Ask to stop when the server has got the request."""
    before = len(server.exchanges)
    check_that_a_stop_ends(download, server.url(), lambda: len(server.exchanges) > before)


def trickle_after_a_part(exchange: Exchange) -> None:
    """A head that looks complete, and like a lie, once it is cut off."""
    exchange.send(b"HTTP/1.1 206 Partial Content\r\nX: ")
    exchange.sleep()


def test_a_stop_in_the_head_keeps_the_part(download: Download):
    """An answer that we cut off ourselves says nothing about what is there already."""
    download.begin(CONTENT[:1000])
    with StorageServer(trickle_after_a_part) as server:
        check_that_a_stop_ends_it(download, server)
    assert download.kept == (1000, '"v1"')


@pytest.mark.parametrize("script", [hang_in_head, hang_in_body, trickle, flood])
def test_a_stop_ends_it_at_once(transfer: HttpTransfer, folder: LocalJobFolder, script: Script):
    """Whatever the storage does, a stop is obeyed in no time, on new connections and on old ones."""
    with StorageServer(serve(b"warm")) as server:
        download = Download(transfer, folder)
        for script_now in script, serve(b"warm"), script:
            server.script = script_now
            download.stop = Stop()
            if script_now is script:
                check_that_a_stop_ends_it(download, server)
            else:
                download(server.url())


def is_connecting() -> bool:
    return any(thread.name == "connect" for thread in threading.enumerate())


def test_a_stop_ends_connecting(transfer: HttpTransfer, folder: LocalJobFolder):
    """A host that does not answer at all does not keep us."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = []
        for _ in range(4):  # fill its queue, so that the next one is not even refused
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.append(sock)
        download = Download(transfer, folder)
        check_that_a_stop_ends(download, f"http://127.0.0.1:{address[1]}/x", is_connecting)
        for sock in waiting:
            sock.close()


def test_a_stop_ends_the_handshake(transfer: HttpTransfer, folder: LocalJobFolder):
    """A host that accepts and then says nothing does not keep us either."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        download = Download(transfer, folder)
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/x"
        check_that_a_stop_ends(download, url, lambda: select.select([silent], [], [], 0)[0])


def test_a_stop_ends_resolving(
    transfer: HttpTransfer, folder: LocalJobFolder, monkeypatch: pytest.MonkeyPatch
):
    """A name server that does not answer cannot be interrupted, but left alone."""
    asked, release = threading.Event(), threading.Event()

    def resolve(*_args: object, **_kwargs: object) -> list[object]:
        asked.set()
        release.wait(2 * LONG_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    check_that_a_stop_ends(Download(transfer, folder), "http://slow.test/x", asked.is_set)
    release.set()


def test_a_stop_before_the_start_sends_nothing(download: Download):
    """Whoever is asked to stop does not begin."""
    download.stop.set()
    with StorageServer(serve(CONTENT)) as server, pytest.raises(Stopped):
        download(server.url())
    assert server.exchanges == []


def test_many_at_once_share_connections(transfer: HttpTransfer, folder: LocalJobFolder):
    """Threads may share one transfer; connections are used again."""

    def fetch(number: int) -> None:
        download = Download(transfer, folder, ("many", str(number)))
        download(server.url(f"/{number}"))
        assert download.content == CONTENT

    with StorageServer(serve(CONTENT)) as server, ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, range(40)))
        assert len(server.exchanges) == 40
        assert server.connections <= 8


def test_stopping_one_leaves_the_others(transfer: HttpTransfer, folder: LocalJobFolder):
    """A cancelled job's transfer does not take a neighbour's connection down."""

    def script(exchange: Exchange) -> None:
        exchange.answer(200, b".", content_length="10")
        while not is_stopped.wait(0.01):
            exchange.sleep(0)
        exchange.send(b"." * 9)

    is_stopped = threading.Event()
    one, other = Download(transfer, folder, ("one",)), Download(transfer, folder, ("other",))
    with StorageServer(script) as server, ThreadPoolExecutor(1) as pool:
        going = pool.submit(other, server.url())
        check_that_a_stop_ends(one, server.url(), lambda: len(server.exchanges) == 2)
        is_stopped.set()
        going.result()
    assert other.content == b"." * 10


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>please log in</html>", {"content_type": "text/html"}),
        (b"\x1f\x8bnot really", {"content_encoding": "gzip", "etag": 'W/"v1"'}),
    ],
)
def test_what_somebody_on_the_way_says_is_no_content(
    download: Download, body: bytes, headers: dict[str, str]
):
    """Nor does it cost what has come already: it says nothing about that."""
    download.begin(CONTENT[:1000], '"v1"')
    with (
        StorageServer(lambda exchange: exchange.answer(200, body, **headers)) as server,
        pytest.raises(StorageTrouble, match="something on the way"),
    ):
        download(server.url())
    with StorageServer(serve(CONTENT)) as server:
        download(server.url())
    assert server.exchanges[0].headers["range"] == "bytes=1000-"
    assert download.content == CONTENT


@pytest.mark.parametrize("body", [b"", b"<html>404 Not Found</html>"])
def test_a_proxys_404_is_no_news_of_the_file(download: Download, body: bytes):
    """The storage itself says that a file is missing."""
    with (
        StorageServer(lambda exchange: exchange.answer(404, body)) as server,
        pytest.raises(StorageTrouble, match="answered 404"),
    ):
        download(server.url())
