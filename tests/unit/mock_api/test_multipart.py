"""The form reader: the same parts, wherever the socket cuts the body."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mock_api.multipart import BadForm, ClientGone, FormReader, boundary_of

BOUNDARY = b"sep"


def form(*parts):
    """A form of (disposition, content) pairs."""
    pieces = [
        b"--sep\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + text + b"\r\n"
        for head, text in parts
    ]
    return b"".join(pieces) + b"--sep--\r\n"


def receiver_of(body, size, *, is_cut=False):
    messages = [
        {"type": "http.request", "body": body[at : at + size], "more_body": is_cut or at + size < len(body)}
        for at in range(0, max(len(body), 1), size)
    ]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


def read(body, size=1000, **options):
    """All parts as (name, filename, content)."""

    async def read_all():
        reader = FormReader(BOUNDARY, receiver_of(body, size, **options))
        found = []
        while (part := await reader.next_part()) is not None:
            content = b"".join([chunk async for chunk in reader.chunks()])
            found.append((part.name, part.filename, content))
        return found

    return asyncio.run(read_all())


# Bytes that look like the beginning of a boundary are what a reader stumbles over.
tricky = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--se", b"s", b"x", b"\r\n"])).map(
    b"".join
)


@given(content=tricky, size=st.integers(1, 40))
def test_content_arrives_whole_wherever_it_is_cut(content, size):
    """The boundary is found when it comes in pieces, and nothing like it is taken for it."""
    body = form((b'name="key"', b"value"), (b'name="file"; filename="a.bin"', content))
    assert read(body, size) == [("key", None, b"value"), ("file", "a.bin", content)]


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        (b'filename="plain.csv"', "plain.csv"),
        (b'filename="with space; and=.csv"', "with space; and=.csv"),
        ('filename="ünï ☃.txt"'.encode(), "ünï ☃.txt"),
        (b'filename="\xe4.txt"', "ä.txt"),
        (b'filename="a%22b%0Ac.txt"', "a%22b%0Ac.txt"),
        (b'filename="say \\"hi\\".txt"', 'say "hi".txt'),
        (b'filename=""', ""),
    ],
)
def test_file_names_arrive_as_on_the_real_server(disposition, filename):
    """Parsed by the same library: `"` and line breaks stay as the client's quoting made them."""
    assert read(form((b'name="file"; ' + disposition, b"1"))) == [("file", filename, b"1")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--sep",
        b"no form at all",
        form((b'name="a"', b"1"))[:-12],
        b"--sep\r\nX: y\r\n\r\n1\r\n--sep--\r\n",
        b"--sepX",
    ],
)
def test_broken_form_is_told(body):
    """A body that ends too early or is no form raises, it does not wait."""
    with pytest.raises(BadForm):
        read(body)


def test_client_that_hangs_up_is_told_apart():
    """A connection that ends in the middle is not a malformed form."""
    with pytest.raises(ClientGone):
        read(form((b'name="file"', b"1" * 100))[:50], is_cut=True)


def test_endless_headers_are_refused():
    """Bounded memory, whatever comes."""
    with pytest.raises(BadForm, match="too long"):
        read(b"--sep\r\n" + b"x" * 200_000)


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/mixed; boundary=x", ""]
)
def test_boundary_is_needed(kind):
    """Anything but a multipart form with a boundary is refused."""
    with pytest.raises(BadForm):
        boundary_of(kind)
