"""The account's password where the machine keeps secrets: systemd's credentials or a desktop's keyring.

Both are reached by the API of the package `keyring`. Which one is decided here, never by keyring's search:
what it finds for a service, or under sudo, is the keyring of somebody else, or none.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

from keyring.backend import KeyringBackend
from keyring.credentials import Credential, SimpleCredential
from keyring.errors import InitError, KeyringError, PasswordDeleteError

from agent.adapters.credentials_desktop import DesktopKeyring
from agent.adapters.credentials_store import FOLDER, Store, SystemStore, UnitStore
from agent.core.errors import ConfigError
from agent.core.keystore import CREDENTIAL, Keys, content_of, keys_of, with_password, without_password
from agent.core.wire import one_line

SERVICE = "decode-agent"
TOKEN_NAME = "access-token"  # noqa: S105  the user name that a token is kept under, no secret
DESKTOP_LIMIT_S = 20.0


class SystemdCredentials(KeyringBackend):
    """A keyring in one file that systemd hands to the service.

    Args:
        store: the file.
    """

    viable: ClassVar[bool] = False  # chosen by name, never by keyring's own search
    priority: ClassVar[float] = 0.0

    def __init__(self, store: Store) -> None:
        # No super().__init__(): it sets attributes that KEYRING_PROPERTY_* in the environment names.
        self._store = store

    @property
    def where(self) -> str:
        """Where it is, for a person."""
        return self._store.where

    def get_password(self, service: str, username: str) -> str | None:
        """The password, None if there is none of that name. Raises KeyringError."""
        return self._keys().get(service, {}).get(username)

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """The entry of that name, or the first one. Raises KeyringError."""
        named = self._keys().get(service, {})
        name = next(iter(named), "") if username is None else username
        return SimpleCredential(name, named[name]) if name in named else None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Add or replace the entry. Raises PasswordSetError with the way to do it."""
        self._change(lambda keys: with_password(keys, service, username, password))

    def delete_password(self, service: str, username: str) -> None:
        """Remove the entry. Raises PasswordDeleteError if there is none, PasswordSetError."""
        try:
            self._change(lambda keys: without_password(keys, service, username))
        except KeyError:
            raise PasswordDeleteError(f"there is no such entry in {self.where}") from None

    def keep_only(self, service: str, username: str, password: str) -> None:
        """Have this entry of the service there and no other. Raises KeyringError: then all is as it was."""
        self._change(lambda keys: {**keys, service: {username: password}})

    def forget(self, service: str) -> bool:
        """Remove all entries of the service; whether there were any. Raises KeyringError."""
        had_any = service in self._keys()
        if had_any:
            self._change(lambda keys: {**keys, service: {}})
        return had_any

    def create(self) -> None:
        """Have the file there, even if empty: systemd starts no unit whose credential is missing."""
        self._change(lambda keys: keys)

    def _keys(self) -> Keys:
        return self._parsed(self._store.read())

    def _change(self, edit: Callable[[Keys], Keys]) -> None:
        self._store.change(lambda content: content_of(edit(self._parsed(content))))

    def _parsed(self, content: bytes) -> Keys:
        try:
            return keys_of(content)
        except ValueError as error:
            fix = "remove the file, then log in anew"
            raise InitError(f"the keyring in {self.where} is damaged ({error}): {fix}") from None


Keyring: TypeAlias = SystemdCredentials | DesktopKeyring


@dataclass(frozen=True, slots=True)
class Account:
    """Who works here: a user name with its password, or (no name) an access token; and who says so."""

    username: str | None
    secret: str = field(repr=False)
    origin: str


def backend_for(
    environ: Mapping[str, str], euid: int, limit_s: float = DESKTOP_LIMIT_S, folder: Path = FOLDER
) -> Keyring:
    """The keyring of whoever runs this: the unit's credential, root's file, or the desktop's.

    A `CREDENTIALS_DIRECTORY` without our credential belongs to another unit: a login shell may inherit it.
    """
    given = environ.get("CREDENTIALS_DIRECTORY")
    if given and os.path.isfile(os.path.join(given, CREDENTIAL)):  # noqa: PTH113, PTH118  Path raises where it may not look
        return SystemdCredentials(UnitStore(Path(given)))
    if euid == 0:
        return SystemdCredentials(SystemStore(folder))
    from keyring.backends.SecretService import Keyring as SecretService  # noqa: PLC0415  a slow import

    return DesktopKeyring(SecretService(), limit_s)  # type: ignore[no-untyped-call]  # it has no annotations


def prepare_store(folder: Path = FOLDER) -> str:
    """Have the system's store there, empty if it is new; what the unit needs to load it. Or `ConfigError`."""
    store = SystemStore(folder)
    backend = SystemdCredentials(store)
    with _translated(backend):
        backend.create()
    return store.unit_line


def find_account(keyring: Keyring, username: str | None = None) -> Account | None:
    """The account that is kept there, of that name if one is given. Raises `ConfigError`."""
    with _translated(keyring):
        found = keyring.get_credential(SERVICE, username)
    if found is None or not found.password:
        return None
    name = None if found.username == TOKEN_NAME else found.username
    return Account(name, found.password, keyring.where)


def keep_account(keyring: Keyring, account: Account) -> None:
    """Have this account there and no other. Raises `ConfigError`."""
    with _translated(keyring):
        keyring.keep_only(SERVICE, account.username or TOKEN_NAME, account.secret)


def forget_accounts(keyring: Keyring) -> bool:
    """Empty the keyring, but leave it there; whether anything was in it. Raises `ConfigError`."""
    with _translated(keyring):
        return keyring.forget(SERVICE)


@contextmanager
def _translated(keyring: Keyring) -> Iterator[None]:
    """The one place where keyring's errors become ours."""
    try:
        yield
    except KeyringError as error:
        told = one_line(str(error), 400)
        text = told if isinstance(keyring, SystemdCredentials) else f"{keyring.where} cannot be used: {told}"
        raise ConfigError(text) from None
