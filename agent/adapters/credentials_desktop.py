"""The keyring of a person's desktop (Secret Service), asked in bounded time."""

import threading
from collections.abc import Callable
from typing import ClassVar, TypeVar

from keyring.backend import KeyringBackend
from keyring.credentials import Credential
from keyring.errors import InitError, KeyringError, KeyringLocked

from agent.core.wire import one_line

T = TypeVar("T")
_MOST_ENTRIES = 100


class DesktopKeyring(KeyringBackend):
    """`keyring`'s Secret Service with an end to its patience.

    A locked keyring asks its owner for a password, and waits for ever where nobody sits in front of it.

    Args:
        backend: what speaks to the Secret Service.
        limit_s: seconds for each question.
    """

    viable: ClassVar[bool] = False  # chosen by name, never by keyring's own search
    priority: ClassVar[float] = 0.0
    where = "the keyring of your desktop (Secret Service)"

    def __init__(self, backend: KeyringBackend, limit_s: float) -> None:
        # No super().__init__(): it sets attributes that KEYRING_PROPERTY_* in the environment names.
        self._backend = backend
        self._limit_s = limit_s
        self.is_there = True
        """Whether, at the last question, anybody offered a keyring at all."""

    def get_password(self, service: str, username: str) -> str | None:
        """The password, None if there is none of that name."""
        return self._bounded(lambda: self._backend.get_password(service, username))

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """The entry of that name, or any one."""
        return self._bounded(lambda: self._backend.get_credential(service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Add or replace the entry."""
        self._bounded(lambda: self._backend.set_password(service, username, password))

    def delete_password(self, service: str, username: str) -> None:
        """Remove the entry; PasswordDeleteError if there is none."""
        self._bounded(lambda: self._backend.delete_password(service, username))

    def keep_only(self, service: str, username: str, password: str) -> None:
        """Have this entry of the service there and no other. Raises KeyringError: then all is as it was."""
        removed = self._take_all(service)
        try:
            self.set_password(service, username, password)
        except KeyringError:
            for entry in removed:
                self.set_password(service, entry.username, entry.password)
            raise

    def forget(self, service: str) -> bool:
        """Remove all entries of the service; whether there were any. Raises KeyringError."""
        return bool(self._take_all(service))

    def _take_all(self, service: str) -> list[Credential]:
        """Remove the entries one by one: a Secret Service shows any of them first."""
        taken: list[Credential] = []
        while len(taken) < _MOST_ENTRIES and (entry := self.get_credential(service, None)) is not None:
            taken.append(entry)
            self.delete_password(service, entry.username)
        return taken

    def _bounded(self, ask: Callable[[], T]) -> T:
        """What `ask` gives; the one place where the errors of the libraries below are translated.

        They are those of keyring, SecretStorage, jeepney and the system, and no list of them is published.
        """
        results: list[T] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                results.append(ask())
            except Exception as error:  # noqa: BLE001  see above; it is raised where it was asked
                errors.append(error)

        thread = threading.Thread(target=run, name="desktop-keyring", daemon=True)
        thread.start()
        thread.join(self._limit_s)
        if results:
            return results[0]
        if not errors:
            text = f"it did not answer within {self._limit_s:g} s: unlock it by logging in at the desktop"
            raise InitError(text)
        # By name: SecretStorage is a dependency of keyring's, not of ours.
        self.is_there = type(errors[0]).__name__ != "SecretServiceNotAvailableException"
        if isinstance(errors[0], KeyringLocked):
            raise KeyringLocked("it is locked: log in at your desktop, that unlocks it") from None
        if isinstance(errors[0], KeyringError):
            raise errors[0]
        raise InitError(one_line(f"{type(errors[0]).__name__}: {errors[0]}", 200)) from None
