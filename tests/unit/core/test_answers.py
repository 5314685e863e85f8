"""What a storage's answer means, as tables."""

import pytest

from agent.core.answers import Content, complaint, is_foreign, is_missing, is_stored, read_content


@pytest.mark.parametrize(
    ("status", "headers", "asked_from", "content"),
    [
        (200, {"content-length": "5", "etag": '"a"'}, 0, Content(0, 5, '"a"')),
        (200, {"content-length": "5", "etag": '"a"'}, 3, Content(0, 5, '"a"')),
        (200, {"content-length": "5", "etag": 'W/"a"'}, 0, Content(0, 5, "")),
        (200, {"content-length": "5"}, 0, Content(0, 5, "")),
        (200, {"content-length": "0"}, 0, Content(0, 0, "")),
        (200, {"transfer-encoding": "gzip, Chunked"}, 0, Content(0, None, "")),
        (200, {"transfer-encoding": "chunked", "content-length": "5"}, 0, Content(0, None, "")),
        (200, {}, 0, None),
        (200, {"content-length": "-1"}, 0, None),
        (200, {"content-length": "1, 1"}, 0, None),
        (200, {"content-length": "٣"}, 0, None),
        (
            206,
            {"content-length": "2", "content-range": "bytes 3-4/5", "etag": '"a"'},
            3,
            Content(3, 2, '"a"'),
        ),
        (206, {"transfer-encoding": "chunked", "content-range": "bytes 3-4/5"}, 3, Content(3, 2, "")),
        (206, {"content-length": "3", "content-range": "bytes 3-4/5"}, 3, None),
        (206, {"content-length": "2", "content-range": "bytes 2-4/5"}, 3, None),
        (206, {"content-length": "1", "content-range": "bytes 3-3/5"}, 3, None),
        (206, {"content-length": "2", "content-range": "bytes 3-4/*"}, 3, None),
        (206, {"content-length": "2", "content-range": "lines 3-4/5"}, 3, None),
        (206, {"content-length": "2"}, 3, None),
        (206, {"content-length": "5", "content-range": "bytes 0-4/5"}, 0, None),
    ],
)
def test_contents_are_read(status: int, headers: dict[str, str], asked_from: int, content: Content | None):
    """A content is taken only if all that is said about it fits together and to the question."""
    assert read_content(status, headers, asked_from=asked_from) == content


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (
            b"<Error><Code>SlowDown</Code><Message>Reduce\nyour rate.</Message></Error>",
            "SlowDown: Reduce your rate.",
        ),
        (b"<Error><Code>X</Code><StringToSign>SECRET</StringToSign></Error>", "X"),
        (b'{"detail": "no \\"such\\" job", "token": "x"}', 'no \\"such\\" job'),
        (b"<html><head><title>502 Bad Gateway</title></head>", "502 Bad Gateway"),
        (b"see https://s3/x?X-Amz-Signature=abc&y=z now", "see https://s3/x?… now"),
        (b"Authorization: Bearer abc.def was wrong", "Authorization: … was wrong"),
        (b"token eyJhbGciOi.eyJzdWIi.sig", "token …"),
        (b"key TOPSECRET99 is known", "key … is known"),
        (b"is that so? yes", "is that so? yes"),
        (b"\xff\x00\x1b[31mred", "\ufffd [31mred"),
    ],
)
def test_complaints_are_one_safe_line(body: bytes, text: str):
    """What a person can use of an error's body, and nothing that only we should know."""
    assert complaint(body, ["TOPSECRET99", "that"]) == text


def test_complaints_are_short():
    """A page of HTML does not fill the log."""
    assert len(complaint(b"word " * 1000, [])) == 200


@pytest.mark.parametrize(
    ("headers", "is_anothers"),
    [
        ({}, False),
        ({"etag": '"a"', "content-type": "text/html"}, False),
        ({"etag": 'W/"a"', "content-type": "text/html"}, False),
        ({"content-type": "Text/HTML; charset=utf-8"}, True),
        ({"content-type": "text/csv"}, False),
        ({"content-encoding": "identity"}, False),
        ({"content-encoding": "gzip"}, True),
        ({"content-encoding": "gzip", "etag": 'W/"a"'}, True),
        ({"content-encoding": "gzip", "etag": '"a"'}, False),
    ],
)
def test_what_somebody_on_the_way_says(headers: dict[str, str], is_anothers: bool):
    """A login page is no input, and what was compressed on the way is not what the user stored."""
    assert is_foreign(headers) is is_anothers


@pytest.mark.parametrize(
    ("status", "body", "is_so"),
    [
        (404, b'{"detail":"Not Found"}', True),
        (404, b"<?xml?><Error><Code>NoSuchKey</Code></Error>", True),
        (404, b"", False),
        (404, b"<html>404 Not Found</html>", False),
        (404, b'{"message":"Not Found"}', False),
        (500, b'{"detail":"Not Found"}', False),
    ],
)
def test_only_the_storage_itself_says_that_a_file_is_missing(status: int, body: bytes, is_so: bool):
    """A proxy's 404 is an outage: the job must not be blamed for it."""
    assert is_missing(status, body) is is_so


@pytest.mark.parametrize(
    ("status", "body", "is_so"),
    [
        (201, b"null", True),
        (204, b"", True),
        (200, b"", True),
        (200, b"<html>log in</html>", False),
        (202, b"", False),
        (206, b"", False),
        (300, b"", False),
        (304, b"", False),
    ],
)
def test_what_says_that_a_file_arrived(status: int, body: bytes, is_so: bool):
    """Only what the API and S3 answer to an upload; a login page that says 200 has kept nothing."""
    assert is_stored(status, body) is is_so
