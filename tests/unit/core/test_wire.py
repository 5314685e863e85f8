"""How requests are spelled and what answers mean."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote_plus, unquote

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import AccountTrouble, ApiTrouble, JobGone, NotConfirmed
from agent.core.models import Offer
from agent.core.wire import (
    DETAILS_MAX_CHARS,
    DETAILS_MAX_QUOTED_BYTES,
    Answer,
    claim_query,
    fit_details,
    json_of,
    one_line,
    quote_file_id,
    refusal_of,
    retry_after_of,
)

NOW = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)
PARTS = st.lists(st.one_of(st.sampled_from(["", ".", "..", "...", "%2E", "%2F", "a b"]), TEXT), max_size=8)


@pytest.mark.parametrize(
    ("file_id", "path"),
    [
        ("/user_data/a/b.csv", "/user_data/a/b.csv/"),
        ("s3://bucket/k y", "s3://bucket/k%20y/"),
        ("../user_data/x", "..%2Fuser_data/x/"),
        ("../../x", "..%2F..%2Fx/"),
        ("/a/./b/../c", "/a/.%2Fb/..%2Fc/"),
        ("/a/..", "/a/..%2F"),
        ("/a//b/.../.x", "/a//b/.../.x/"),
        ("%20#?+&", "%2520%23%3F%2B%26/"),
        ("ä☃", "%C3%A4%E2%98%83/"),
    ],
)
def test_file_ids(file_id, path):
    """`/` and `:` stay, the slash after dots goes as %2F, everything else is quoted."""
    assert quote_file_id(file_id) == path


@given(PARTS)
def test_file_ids_arrive_whole(parts):
    """Whatever is in an id, neither requests nor urllib3 changes what the server reads."""
    file_id = "/".join(parts)
    url = f"http://api.test/prefix/files/{quote_file_id(file_id)}url"
    sent = requests.Request("GET", url).prepare()
    assert unquote(sent.path_url) == f"/prefix/files/{file_id}/url"


@given(
    st.builds(
        Offer,
        st.integers(0, 10**7),
        st.integers(0, 512),
        gpu_mem_mib=st.integers(0, 10**6),
        gpu_model=st.none() | TEXT,
        gpu_archi=st.none() | TEXT,
        groups=st.lists(TEXT, max_size=3).map(tuple),
        older_than_s=st.integers(0, 1000),
    )
)
def test_claims(offer):
    """Every part of the offer arrives under the API's name for it, and only what is offered."""
    query = parse_qsl(claim_query(offer, 3), keep_blank_values=True)
    expected = [
        ("memory", str(offer.memory_mib)),
        ("cpu_cores", str(offer.cpu_cores)),
        ("gpu_mem", str(offer.gpu_mem_mib)),
        ("gpu_model", offer.gpu_model),
        ("gpu_archi", offer.gpu_archi),
        *(("groups", group) for group in offer.groups),
        ("older_than", str(offer.older_than_s) if offer.older_than_s else None),
        ("limit", "3"),
    ]
    assert query == [(name, value) for name, value in expected if value is not None]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain\n\ttext ☃", "plain\n\ttext ☃"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("nul\0 bell\a c1\x85", "nul bell c1"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_details_are_clean(text, clean):
    """No control characters: the API's database refuses NUL, and a mail shows no colours."""
    assert fit_details(text) == clean


def test_details_keep_head_and_tail():
    """The first line says what it was, the end why."""
    text = "exit code 3\n" + "".join(f"line {number}\n" for number in range(1000)) + "the end"
    fitting = fit_details(text)
    assert len(fitting) == DETAILS_MAX_CHARS
    assert fitting.startswith("exit code 3\n[…]\n")
    assert fitting.endswith("line 999\nthe end")


@given(st.text(max_size=4000), st.sampled_from(["", "☃", "\N{GRINNING FACE}", "\n"]))
def test_details_always_fit(text, filler):
    """Neither too many characters for the API nor too many bytes for a proxy; text that fits is kept."""
    fitting = fit_details(text + filler * 2000)
    assert len(fitting) <= DETAILS_MAX_CHARS
    assert len(quote_plus(fitting)) <= DETAILS_MAX_QUOTED_BYTES
    assert fit_details(fitting) == fitting


def news():
    return {404: lambda _: JobGone("gone")}


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            Answer(301, None, location="https://new.test/jobs"),
            ApiTrouble,
            "redirected to https://new.test/jobs",
        ),
        (Answer(400, {"detail": "no"}), ApiTrouble, "the API answers 400 no"),
        (
            Answer(401, {"detail": "Validation Error for Claims"}),
            NotConfirmed,
            "confirmed by an administrator",
        ),
        (Answer(401, {"detail": "Not verified"}), AccountTrouble, "has expired"),
        (Answer(401, None), AccountTrouble, "has expired"),
        (Answer(403, {"detail": "Not a member"}), NotConfirmed, "confirmed by an administrator"),
        (Answer(403, None), ApiTrouble, "the API answers 403"),
        (Answer(404, {"detail": "Not Found"}), JobGone, "gone"),
        (Answer(404, None), ApiTrouble, "answers 404: is API_URL right?"),
        (Answer(404, {"message": "Not Found"}), ApiTrouble, "answers 404"),
        (Answer(403, {"message": "Forbidden"}), ApiTrouble, "answers 403"),
        (Answer(422, {"detail": [{"loc": ["query", "x"], "msg": "bad"}]}), ApiTrouble, "422 query.x: bad"),
        (Answer(429, {}, 7.0), ApiTrouble, "429"),
        (Answer(500, {"detail": "1\n2"}), ApiTrouble, "500 1 2"),
        (Answer(599, "?"), ApiTrouble, "599"),
    ],
)
def test_refusals(answer, kind, text):
    """What each answer that is no success stands for; a proxy's own 404 is no news of the job."""
    error = refusal_of(answer, "PUT /x", news())
    assert type(error) is kind
    assert text in str(error)
    assert "\n" not in str(error)
    if isinstance(error, ApiTrouble):
        assert (error.status, error.retry_after_s) == (answer.status, answer.retry_after_s)


@pytest.mark.parametrize("status", [200, 201, 204, 206])
def test_success(status):
    """Any 2xx is one."""
    assert refusal_of(Answer(status, None), "PUT /x", news()) is None


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ({"detail": "x" * 1000}, "x" * 299 + "…"),
        ({"detail": [{"loc": 3}, "y", None]}, "3: ; y; None"),
        ({"detail": {"a": 1}}, "{'a': 1}"),
        ({}, ""),
        ([1], ""),
        (None, ""),
    ],
)
def test_details_of_answers(payload, detail):
    """Whatever comes is one short line."""
    assert Answer(500, payload).detail == detail


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("999999999999999999", 3600.0),
        ("Sun, 22 Nov 2026 09:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 08:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 08:00:00", None),
        ("-1", None),
        ("soon", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after(header, seconds):
    """Seconds or a date, never more than an hour; what is neither is not there."""
    assert retry_after_of({"Retry-After": header}, NOW) == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sun, 22 Nov 2026 03:00:00 GMT", 10.0),
        ("Sun, 22 Nov 2026 04:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 03:00:00", 0.0),
        ("noon", 0.0),
    ],
)
def test_a_date_to_retry_after_counts_from_the_answers_own(date, seconds):
    """This machine's clock may be hours off; it counts only where the answer has no date of its own."""
    headers = {"Retry-After": "Sun, 22 Nov 2026 03:00:10 GMT", "Date": date}
    assert retry_after_of(headers, NOW) == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"9" * 5000, b"null"])
def test_no_json(body):
    """Nothing that arrives makes the reader raise."""
    assert json_of(body) is None


def test_one_line():
    """Control characters and breaks go, the rest is cut."""
    assert one_line(" a\n\tb\0\x1b c ") == "a b c"
    assert one_line("abcdef", 4) == "abc…"
