"""What the texts of settings mean."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+|\d+(?:\.\d+)?", re.ASCII)
_CAPABILITY = re.compile(r"(?!ALL$)[A-Z][A-Z_]+")


def seconds_of(text: Any) -> Any:
    """`90`, `90s`, `12h`, `1h30m` in seconds."""
    if not isinstance(text, str):
        return text
    text = text.replace(" ", "").lower()
    if not _DURATION.fullmatch(text):
        raise ValueError("not a duration")
    parts = re.findall(r"([\d.]+)([smhd]?)", text)
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def words_of(text: Any) -> Any:
    """Words that commas or spaces separate."""
    return tuple(re.findall(r"[^\s,]+", text)) if isinstance(text, str) else text


def lower(text: Any) -> Any:
    """Without spaces around it, in small letters."""
    return text.strip().lower() if isinstance(text, str) else text


def check_url(url: str) -> str:
    """The URL of a service without a slash at its end. ValueError if it is none."""
    parts = urlsplit(url)  # raises ValueError itself for `http://[`
    is_plain = not (parts.username or parts.query or parts.fragment or re.search(r"\s", url))
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain or parts.port == 0:
        raise ValueError("not a URL of a service")
    return url.rstrip("/")


def check_capabilities(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of Linux capabilities without `CAP_`. ValueError for what is none, and for ALL."""
    bare = tuple(name.upper().removeprefix("CAP_") for name in names)
    if not all(map(_CAPABILITY.fullmatch, bare)):
        raise ValueError("not a capability")
    return bare


def bare_token(text: str) -> str:
    """The token as it is sent, without what is often copied along with it. ValueError if it is none."""
    token = text.strip().removeprefix("Bearer ").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("not a token")
    return token


def check_absolute(path: Path) -> Path:
    """The path. ValueError if it is not absolute or goes up."""
    if not path.is_absolute() or "\0" in str(path) or ".." in path.parts:
        raise ValueError("not an absolute path")
    return path


def check_docker_host(url: str) -> str:
    """Where Docker listens. ValueError if nobody can there."""
    if not re.fullmatch(r"unix:///[^\s?#]+|tcp://[^\s/?#@]+:\d{1,5}", url):
        raise ValueError("not where Docker listens")
    return url
