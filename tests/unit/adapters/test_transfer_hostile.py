"""Storages that break anywhere and lie about everything: what arrives is whole, or it has not arrived."""

import io
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.adapters.job_folder import LocalJobFolder
from agent.adapters.transfer import HttpTransfer
from agent.core.errors import AgentError, StorageTrouble
from agent.core.models import FileRequest
from agent.core.stopping import Stop
from tests.fakes.storage_server import Exchange, StorageServer, accept, serve
from tests.fakes.waiting import LONG_S
from tests.hostile import tries

OLD = bytes(range(256)) * 40
NEW = bytes(range(255, -1, -1)) * 50
PATH = ("data", "x")
SECRET = "X-Amz-Signature=SECRETSECRET"
HEAD = f'HTTP/1.1 200 OK\r\nETag: "old"\r\nContent-Length: {len(OLD)}\r\n\r\n'.encode()
WHOLE = HEAD + OLD
POLICY = {"key": "user_data/x/${filename}", "policy": "POLICYPOLICY"}


@pytest.fixture(scope="module")
def server() -> Iterator[StorageServer]:
    """One for all examples; each says by `script` what it does."""
    with StorageServer(accept) as server:
        yield server


@pytest.fixture(scope="module")
def transfer() -> Iterator[HttpTransfer]:
    with HttpTransfer(idle_timeout_s=LONG_S, floor_bytes_s=1, window_s=LONG_S) as transfer:
        yield transfer


class Target:
    """One input in a folder of its own, some of it already here."""

    def __init__(self, transfer: HttpTransfer, server: StorageServer, path: Path, here: int) -> None:
        self.transfer, self.server = transfer, server
        self.folder = LocalJobFolder(path, len(list(path.iterdir())) if path.exists() else 0)
        self.folder.create()
        if here:
            with self.folder.part(PATH) as part:
                part.restart('"old"')
                part.write(OLD[:here])

    def fetch(self) -> str:
        """What went wrong, empty if nothing."""
        request = FileRequest(method="get", url=self.server.url(f"/x?{SECRET}"))
        try:
            with self.folder.part(PATH) as part:
                self.transfer.download(request, part, stop=Stop(), advance=lambda _: None)
        except AgentError as error:
            assert not self.folder.has(PATH)
            return line_of(error)
        return ""

    @property
    def content(self) -> bytes:
        return Path(self.folder.mount, *PATH).read_bytes()


def line_of(error: AgentError) -> str:
    """Its text, which must be one line that tells no secret."""
    text = str(error)
    assert text
    assert text.isprintable()
    assert "SECRET" not in text
    assert "POLICYPOLICY" not in text
    return text


def ends(exchange: Exchange, how: str) -> None:
    if how == "reset":
        exchange.reset()
    else:
        with suppress(OSError):
            exchange.sock.shutdown(socket.SHUT_WR)
    exchange.hang_up()


@tries(60)
@given(st.integers(0, len(WHOLE)), st.integers(0, len(OLD) - 1), st.sampled_from(["close", "reset"]))
@example(0, 0, "close")
@example(12, 0, "close")
@example(len(HEAD) - 3, 0, "close")
@example(len(HEAD) - 1, 0, "close")
@example(len(HEAD), 0, "close")
@example(len(WHOLE) - 1, 0, "close")
def test_a_download_cut_off_at_any_byte(
    server: StorageServer, transfer: HttpTransfer, tmp_path: Path, cut: int, here: int, how: str
) -> None:
    """In the head or in the content: it is not called complete, and the next attempt completes it."""

    def script(exchange: Exchange) -> None:
        exchange.send(WHOLE[:cut])
        ends(exchange, how)

    target = Target(transfer, server, tmp_path, here)
    server.script = script
    trouble = target.fetch()
    if cut < len(WHOLE):
        assert trouble
        server.script = serve(OLD, '"old"')
        assert not target.fetch()
    if not trouble:
        assert target.content == OLD


@dataclass(frozen=True)
class Answer:
    """An answer to a request that may be for a range, and how it lies."""

    status: int
    is_new: bool
    first: int
    etag: str
    length: str
    range: str
    more: str

    @property
    def content(self) -> bytes:
        """What it is about."""
        return NEW if self.is_new else OLD

    @property
    def wire(self) -> bytes:
        """As it is sent."""
        body = self.content[self.first :] if self.status == 206 else self.content
        head = f"HTTP/1.1 {self.status} OK\r\n" + length_lines(self.length, len(body)) + self.more
        head += range_line(self.range, self.first, len(self.content)) if self.status == 206 else ""
        head += f"ETag: {self.etag}\r\n" if self.etag else ""
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return head.encode() + b"\r\n" + (chunked if self.length == "chunked" else body)


def length_lines(kind: str, size: int) -> str:
    right = f"Content-Length: {size}\r\n"
    lines = {
        "right": right,
        "longer": f"Content-Length: {size + 7}\r\n",
        "none": "",
        "twice": right * 2,
        "two kinds": f"{right}Content-Length: {size - 1}\r\n",
        "negative": f"Content-Length: -{size}\r\n",
        "words": "Content-Length: all of it\r\n",
        "chunked": "Transfer-Encoding: chunked\r\n",
    }
    return lines[kind]


def range_line(kind: str, first: int, total: int) -> str:
    spans = {
        "right": f"bytes {first}-{total - 1}/{total}",
        "one later": f"bytes {first + 1}-{total - 1}/{total}",
        "one earlier": f"bytes {first - 1}-{total - 1}/{total}",
        "from 0": f"bytes 0-{total - 1}/{total}",
        "short": f"bytes {first}-{total - 2}/{total}",
        "other total": f"bytes {first}-{total - 1}/{total + 1}",
        "words": "all of it",
    }
    return f"Content-Range: {spans[kind]}\r\n" if kind in spans else ""


LENGTHS = ["longer", "none", "twice", "two kinds", "negative", "words", "chunked"]
RANGES = ["one later", "one earlier", "from 0", "short", "other total", "none", "words"]
ANSWERS = st.builds(
    Answer,
    status=st.sampled_from([206, 200]),
    is_new=st.booleans(),
    first=st.sampled_from([1000, 0, 1001]),
    etag=st.sampled_from(['"old"', '"new"', 'W/"old"', "old", ""]),
    length=st.just("right") | st.sampled_from(LENGTHS),
    range=st.just("right") | st.sampled_from(RANGES),
    more=st.sampled_from(["", "", "Content-Encoding: gzip\r\n", "Content-Type: text/html\r\n"]),
    # An ETag that vouches for another content is a lie that nobody can see through.
).filter(lambda answer: answer.etag != ('"old"' if answer.is_new else '"new"'))
RESUMED = Answer(206, is_new=True, first=1000, etag="", length="right", range="right", more="")


@tries(150)
@given(ANSWERS, st.sampled_from([1000, 0]))
@example(RESUMED, 1000)
@example(replace(RESUMED, etag='"new"'), 1000)
@example(replace(RESUMED, status=200), 1000)
def test_an_answer_that_lies(
    server: StorageServer, transfer: HttpTransfer, tmp_path: Path, answer: Answer, here: int
) -> None:
    """About its length, its range, its content's version: never half of one and half of the other.

    A length that is too short, and fits to all else that is said, is beyond anybody's sight.
    """

    def script(exchange: Exchange) -> None:
        exchange.send(answer.wire)
        ends(exchange, "close")

    target = Target(transfer, server, tmp_path, here)
    server.script = script
    if not target.fetch():
        assert target.content == answer.content
        return
    server.script = serve(NEW, '"new"')
    if target.fetch():  # it may find out that what is here is of no use
        assert not target.fetch()
    assert target.content == NEW


@tries(60)
@given(st.integers(0, 6000), st.sampled_from(["close", "reset"]), st.booleans())
def test_an_upload_cut_off_at_any_byte(
    server: StorageServer, transfer: HttpTransfer, cut: int, how: str, thanks: bool
) -> None:
    """In the form's head, in the file or before its last line: whatever is answered, it has not arrived."""
    content = OLD[:5000]

    def script(exchange: Exchange) -> None:
        whole = int(exchange.headers["content-length"])
        exchange.read_some_body(min(cut, whole - 1))
        if thanks:
            exchange.answer(201, b"null")
        ends(exchange, how)

    server.script = script
    request = FileRequest(method="post", url=server.url(f"/?{SECRET}"), data=POLICY)
    before = len(server.exchanges)
    try:
        transfer.upload(
            request,
            io.BytesIO(content),
            name="out.csv",
            size_bytes=len(content),
            stop=Stop(),
            advance=lambda _: None,
        )
    except StorageTrouble as trouble:
        line_of(trouble)
    else:  # it was all on its way before the thanks came
        assert thanks
    assert len(server.exchanges) <= before + 1  # who sends again is the agent, by a new URL


@tries(80)
@given(st.binary(max_size=400), st.booleans())
@example(b"HTTP/1.1 204 No Content\r\n\r\n", True)
def test_any_bytes_in_place_of_an_answer(
    server: StorageServer, transfer: HttpTransfer, tmp_path: Path, wire: bytes, is_http: bool
) -> None:
    """A storage that talks another language is trouble in one line, to be tried again."""
    answer = (b"HTTP/1.1 200 OK\r\n" + wire) if is_http else wire

    def script(exchange: Exchange) -> None:
        exchange.send(answer)
        ends(exchange, "close")

    server.script = script
    target = Target(transfer, server, tmp_path, 1000)
    target.fetch()
