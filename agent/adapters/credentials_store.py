"""The files that the system's keyring lives in: encrypted by systemd, or plain and for root alone."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from keyring.errors import InitError, KeyringError, PasswordSetError

from agent.core.keystore import CREDENTIAL, FIRST_WITH_ENCRYPTION, StoreKind, content_of, kind_of, version_of
from agent.core.wire import one_line

FOLDER = Path("/etc/decode-agent")
MAX_BYTES = 1024 * 1024  # systemd's own limit for a credential
TOOL_TIMEOUT_S = 30.0  # a TPM may take seconds; ours asks none
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nothing else is handed on: the environment may hold DECODE_PASSWORD.
_HANDED_ON = ("LANG", "LC_ALL", "SYSTEMD_CREDENTIAL_SECRET")


class Store(Protocol):
    """One file with the whole keyring. Raises `KeyringError` with a text for people."""

    @property
    def where(self) -> str:
        """Where it is, for a person."""

    def read(self) -> bytes:
        """Its content; empty if there is none yet."""

    def change(self, edit: Callable[[bytes], bytes]) -> None:
        """Replace the content by what `edit` makes of it; other writers wait meanwhile."""


class UnitStore:
    """What systemd handed to the unit, decrypted already. It cannot be changed from there."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CREDENTIAL
        self.where = f"the unit's credential {CREDENTIAL}"

    def read(self) -> bytes:
        """The whole file."""
        return _content_of(self._path)

    def change(self, edit: Callable[[bytes], bytes]) -> None:  # noqa: ARG002  the signature is the port's
        """Not from inside the service."""
        text = "the service cannot change its own credentials: use sudo decode-agent login, or logout"
        raise PasswordSetError(text)


class PlainStore:
    """A file that root alone may read: a stolen disk or backup gives it away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = f"{path} (not encrypted, readable by root alone)"

    def read(self) -> bytes:
        """The whole file."""
        return _content_of(self._path)

    def change(self, edit: Callable[[bytes], bytes]) -> None:
        """As root."""
        with _changing(self._path):
            before = self.read()
            if (content := edit(before)) != before:
                _replace(self._path, content)


class EncryptedStore:
    """A file that only this machine can decrypt, with the key in /var/lib/systemd/credential.secret."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = f"{path} (encrypted with this machine's key)"

    def read(self) -> bytes:
        """The decrypted content."""
        if not (sealed := _content_of(self._path)):
            return b""
        try:
            return unseal(sealed)
        except KeyringError as error:
            fix = f"if it came from another machine or is damaged: sudo rm {self._path}, then log in anew"
            raise InitError(f"{self._path} cannot be decrypted ({error}): {fix}") from None

    def change(self, edit: Callable[[bytes], bytes]) -> None:
        """As root."""
        with _changing(self._path):
            before = self.read()
            if (content := edit(before)) != before:  # encrypted anew it would be another file
                _replace(self._path, seal(content))


class SystemStore:
    """The file that root uses on this machine, of whichever kind.

    Which kind a new file gets is decided when it is written: to try whether this machine can encrypt makes
    the machine's key, and who only looks must change nothing.

    Args:
        folder: where the file is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def where(self) -> str:
        """Where it is."""
        return self._store().where if self._there() else f"{self._folder} (nothing is kept there yet)"

    @property
    def unit_line(self) -> str:
        """What the unit's [Service] section needs to be given the file, once that is there."""
        kind = self._kind()
        return kind.unit_line(str(self._folder / kind.file_name))

    def read(self) -> bytes:
        """Its content; empty if there is none yet."""
        return self._store().read() if self._there() else b""

    def change(self, edit: Callable[[bytes], bytes]) -> None:
        """As root."""
        self._store().change(edit)

    def _store(self) -> Store:
        kind = self._kind()
        path = self._folder / kind.file_name
        return EncryptedStore(path) if kind is StoreKind.ENCRYPTED else PlainStore(path)

    def _kind(self) -> StoreKind:
        there, version = self._there(), systemd_version()
        matters = not there and version is not None and version >= FIRST_WITH_ENCRYPTION
        return kind_of(there, version, can_encrypt=matters and can_encrypt())

    def _there(self) -> list[StoreKind]:
        return [kind for kind in StoreKind if (self._folder / kind.file_name).exists()]


def systemd_version() -> int | None:
    """The version of the systemd that is installed, None without one."""
    try:
        return version_of(_output_of(["systemctl", "--version"], b"").decode(errors="replace"))
    except KeyringError:
        return None


def can_encrypt() -> bool:
    """Whether systemd-creds takes something and gives it back."""
    try:
        return unseal(seal(content_of({}))) == content_of({})
    except KeyringError:
        return False


def seal(secret: bytes) -> bytes:
    """What only this machine can read. The secret goes by a pipe, never by the command line."""
    words = ["systemd-creds", "encrypt", "--with-key=host", f"--name={CREDENTIAL}", "-", "-"]
    return _output_of(words, secret)


def unseal(sealed: bytes) -> bytes:
    """The secret again."""
    return _output_of(["systemd-creds", "decrypt", f"--name={CREDENTIAL}", "-", "-"], sealed)


def _output_of(words: list[str], given: bytes) -> bytes:
    """What the tool writes; its complaints become the error's text, its output never."""
    tool = words[0]
    if (path := shutil.which(tool, path=_PATH)) is None:
        raise InitError(f"{tool} is not installed")
    try:
        done = subprocess.run(  # noqa: S603  a tool of the system with words of ours
            [path, *words[1:]],
            input=given,
            capture_output=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:  # it holds the output so far
        raise InitError(f"{tool} did not end within {TOOL_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise InitError(f"{tool} cannot be started: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InitError(one_line(f"{tool}: {said[-1] if said else done.returncode}", 300))
    return done.stdout


def _environment() -> dict[str, str]:
    return {"PATH": _PATH} | {name: os.environ[name] for name in _HANDED_ON if name in os.environ}


def _content_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return b""
    except PermissionError:
        raise InitError(f"{path} cannot be read: run this as root (sudo)") from None
    except OSError as error:
        raise InitError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise InitError(f"{path} is no keyring: it is over 1 MiB")
    return content


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Keep other writers out; every `OSError` inside is an error of setting."""
    folder = path.parent
    try:
        with suppress(FileExistsError):
            folder.mkdir(0o755)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # on the folder: no lock file is left over
            yield
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except PermissionError:
        raise PasswordSetError(f"{path} cannot be written: run this as root (sudo)") from None
    except OSError as error:
        raise PasswordSetError(f"{path} cannot be written: {error.strerror}") from None


def _replace(path: Path, content: bytes) -> None:
    """The new content, whole or not at all, for the owner's eyes from the first byte on."""
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
