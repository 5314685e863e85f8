"""What reaches a server is what was meant."""

from urllib.parse import unquote

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from agent.core.urls import quote_path, quote_returned_url

API = "http://wapi.test/v1"


def path_at_server(url: str) -> str:
    """The decoded path after all that requests and urllib3 do to a URL."""
    prepared = requests.Request("GET", url).prepare().url
    assert prepared is not None
    target = parse_url(prepared).request_uri
    assert "?" not in target
    return unquote(target, errors="strict")


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.text(
    st.sampled_from("./%25?#&=+ ;é\\2Fe"), min_size=1
)


@given(ids)
@example("/user_data/x/ha#sh?q=%20%2F+.txt")
@example("../up/one")
@example("a/./../..")
@example("s3://bucket/key")
def test_a_local_download_arrives_as_the_id(file_id: str):
    """The answer holds the raw id between the API's prefix and `/download`; the server reads just that."""
    sent = quote_returned_url(f"{API}/files/{file_id}/download", API)
    assert path_at_server(sent) == f"/v1/files/{file_id}/download"


@given(ids)
def test_an_id_in_our_own_url_arrives_as_it_is(file_id: str):
    """The same quoting serves the URLs that we build."""
    assert path_at_server(f"{API}/files/{quote_path(file_id + '/url')}") == f"/v1/files/{file_id}/url"


@pytest.mark.parametrize("api", ["https://WAPI.test/v1/", "http://wapi.test:8000/v1", "https://wapi.test/v1"])
def test_the_apis_own_host_is_known_behind_a_proxy(api: str):
    """A proxy may make the API believe in another scheme or port."""
    assert quote_returned_url("http://wapi.test/v1/files/a%b/download", api).endswith("/a%25b/download")


PRESIGNED = "https://b.s3.amazonaws.com/k%20k/download?X-Amz-Credential=A%2F1%2Faws4&X-Amz-Signature=0f&x=~+"


@pytest.mark.parametrize(
    "url",
    [
        PRESIGNED,
        f"{API}/jobs/1/files/upload?type=output&base_path=out%2Furl%2Fx",
        "http://wapi.test/other/files/a%20b/download",
        "http://wapi.test.evil/v1/files/a%20b/download",
        "http://wapi.test@evil/v1/files/a%20b/download",
        "http://[::1/v1/files/a%20b/download",
        "http://[::1]:80/v1/files/a%20b?x#y",
        "not a url".replace(" ", "%20"),
    ],
)
def test_other_urls_stay_what_they_are(url: str):
    """A signature covers the URL as it is: nothing that is valid in one is touched."""
    assert quote_returned_url(url, API) == url


def test_what_can_be_in_no_url_is_quoted_everywhere():
    """Spaces and letters beyond ASCII are quoted, escapes that are there stay."""
    raw = f"{API}/jobs/1/files/upload?type=log&base_path=lög%2Fa b"
    assert quote_returned_url(raw, API) == f"{API}/jobs/1/files/upload?type=log&base_path=l%C3%B6g%2Fa%20b"
    assert quote_returned_url("http://s3.test/a b\ud800", API) == "http://s3.test/a%20b%ED%A0%80"


def test_brackets_of_an_address_are_kept():
    """An IPv6 host is no name to be quoted."""
    assert quote_returned_url("http://[::1]:8000/files/a#/download", "http://[::1]:8000") == (
        "http://[::1]:8000/files/a%23/download"
    )
