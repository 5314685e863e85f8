"""How URLs are written so that the other side reads what was meant."""

import re
from urllib.parse import quote

# What RFC 3986 allows in a path as it is, besides letters, digits and `-._~`.
_PATH_SAFE = "/:@!$&'()*+,;="
_QUERY_SAFE = _PATH_SAFE + "?"
_ORIGIN = re.compile(r"https?://(?P<host>\[[^]/?#]*\]|[^:/?#@]*)(:[0-9]*)?(?=[/?#]|$)", re.IGNORECASE)
_DOT_SEGMENT = re.compile(r"(?<![^/])(\.{1,2})/")


def quote_returned_url(url: str, api_base: str) -> str:
    """The URL of a file request, ready to be sent.

    With local storage the API answers with `<api>/files/<file id>/download`, the id not quoted: all of it,
    `?`, `#` and `%` too, is part of a name. Any other URL is quoted already; only what can be in no URL at
    all is quoted there, so that signatures stay what they are.
    """
    if (start := _start_of_id(url, api_base)) is not None:
        return url[:start] + quote_path(url[start:])
    return quote(url, safe="%#[]" + _QUERY_SAFE, errors="surrogatepass")


def quote_path(path: str) -> str:
    """The path quoted so that it arrives whole.

    A slash after `.` or `..` goes as `%2F`: clients take such segments out of a URL before they send it.
    """
    return _DOT_SEGMENT.sub(r"\1%2F", quote(path, safe=_PATH_SAFE, errors="surrogatepass"))


def _start_of_id(url: str, api_base: str) -> int | None:
    """Where the file id begins in a download URL of the API itself; None for any other URL."""
    ours, theirs = _ORIGIN.match(api_base), _ORIGIN.match(url)
    if ours is None or theirs is None or not url.endswith("/download"):
        return None
    # Scheme and port are what a proxy in front of the API told it: they may be others than ours.
    folder = api_base[ours.end() :].rstrip("/") + "/files/"
    if ours["host"].lower() != theirs["host"].lower() or not url.startswith(folder, theirs.end()):
        return None
    return theirs.end() + len(folder)
