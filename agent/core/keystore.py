"""A small keyring in one file: what is written there, and which kind of file a host gets; pure."""

import json
import re
from collections.abc import Collection, Mapping
from enum import Enum
from typing import TypeAlias

FIRST_WITH_ENCRYPTION = 250  # systemd's NEWS: systemd-creds and LoadCredentialEncrypted=
CREDENTIAL = "decode-agent.keyring"  # what systemd calls it, and what the unit finds it as

Keys: TypeAlias = Mapping[str, Mapping[str, str]]
"""Passwords by service and user name, as the `keyring` package speaks of them."""


class StoreKind(Enum):
    """How root keeps the keyring: its file's name, and the unit's setting that loads it."""

    ENCRYPTED = ("keyring.cred", "LoadCredentialEncrypted")
    PLAIN = ("keyring.json", "LoadCredential")

    @property
    def file_name(self) -> str:
        """Below the folder of the agent's settings."""
        return self.value[0]

    def unit_line(self, path: str) -> str:
        """What the unit's [Service] section needs to be given this file."""
        return f"{self.value[1]}={CREDENTIAL}:{path}"


def kind_of(there: Collection[StoreKind], systemd: int | None, *, can_encrypt: bool) -> StoreKind:
    """The store that counts: the one that is there, else the best that this systemd knows.

    `systemd`: its version, None without one. `can_encrypt`: systemd-creds was seen to work; it matters only
    if none is there. If both are, the encrypted one counts, unless this systemd cannot load it.
    """
    if len(there) == 1:
        return next(iter(there))
    knows = systemd is not None and systemd >= FIRST_WITH_ENCRYPTION
    return StoreKind.ENCRYPTED if knows and (there or can_encrypt) else StoreKind.PLAIN


def version_of(said: str) -> int | None:
    """The version in what `systemctl --version` says: `systemd 252 (252.38-1~deb12u1)`."""
    found = re.match(r"systemd (\d{1,5})\b", said, re.ASCII)
    return int(found[1]) if found else None


def keys_of(content: bytes) -> dict[str, dict[str, str]]:
    """What the file says; nothing if it is empty. ValueError (without its content) if it is no keyring."""
    if not content.strip():
        return {}
    try:
        keys = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(keys, dict) or not all(map(_is_service, keys.values())):
        raise ValueError("it does not hold {service: {user name: password}}")
    return keys


def _is_service(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(password, str) for password in value.values())


def content_of(keys: Keys) -> bytes:
    """The file that says this; services without an entry are left out."""
    return json.dumps({service: dict(named) for service, named in keys.items() if named}).encode()


def with_password(keys: Keys, service: str, username: str, password: str) -> Keys:
    """The keyring with this password in it."""
    return {**keys, service: {**keys.get(service, {}), username: password}}


def without_password(keys: Keys, service: str, username: str) -> Keys:
    """The keyring without this entry; KeyError if there is none."""
    left = dict(keys.get(service, {}))
    del left[username]
    return {**keys, service: left}
