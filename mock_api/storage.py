"""Where files lie: a folder tree behind the API, or objects of an S3-like bucket."""

import hashlib
import mimetypes
import posixpath
import secrets
import shutil
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

_S3_KEY_BYTES = 1024
# Python's own table, not the host's: .yaml is text/plain in the recorded exchanges; newer Pythons know it.
_TYPES = {**mimetypes.MimeTypes().types_map[True], ".yaml": "text/plain"}
_HASHED_UP_TO_BYTES = 64 * 1024**2


class BadName(Exception):
    """A name that this storage cannot keep: too long, empty, or leading out of it."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as a download needs it. ``etag`` comes with its quotes."""

    path: Path
    size_bytes: int
    modified: float
    etag: str
    media_type: str


class Storage(Protocol):
    """What both kinds can do. A ``key`` is relative to the data folder: ``user/data/a.csv``."""

    def file_id(self, key: str) -> str:
        """The id that a job's ``files_down`` holds for the key."""

    def find(self, key: str) -> StoredFile | None:
        """The file, None if there is none."""

    def is_folder(self, key: str) -> bool:
        """Whether there is something below the key."""

    def store(self, key: str, temporary: Path) -> None:
        """Moves a complete file to its key, over what was there; raises `BadName`."""

    def delete(self, key: str) -> None:
        """Removes a file."""

    def keys_below(self, prefix: str) -> list[str]:
        """The keys of all files below a folder, sorted, relative to it."""

    def open_temporary(self) -> BinaryIO:
        """A new file to write an upload to, on the same file system; its ``name`` is its path."""


def key_of(*parts: str) -> str:
    """The parts as one key; raises `BadName` if it leads out of the data folder."""
    key = posixpath.normpath("/".join(part for part in parts if part))
    if key in {".", ".."} or key.startswith(("../", "/")) or "\0" in key:
        raise BadName("/".join(parts))
    return key


def put_bytes(storage: Storage, key: str, content: bytes | Path) -> None:
    """Stores bytes, or a copy of a file."""
    with storage.open_temporary() as file:
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file, 1024**2)
        else:
            file.write(content)
    storage.store(key, Path(file.name))


def _guess_type(name: str) -> str:
    """The media type as the real server guesses it: text for what it does not know."""
    guess = _TYPES.get(posixpath.splitext(name)[1].lower(), "text/plain")
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess


class _Scratch:
    """A folder for unfinished uploads beside the files, so that a rename finishes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def open(self) -> BinaryIO:
        return (self.folder / secrets.token_hex(16)).open("wb")


class LocalStorage:
    """A folder tree. Ids are paths that begin with the server's name for its data folder."""

    def __init__(self, root: Path, data_root: str) -> None:
        self._files = root / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._scratch = _Scratch(root / "scratch")
        self._data_root = data_root

    def file_id(self, key: str) -> str:
        """The data folder's name and the key."""
        return f"{self._data_root}/{key}"

    def key_of_id(self, file_id: str) -> str:
        """The key behind an id; raises `BadName` for an id outside the data folder."""
        prefix = f"{self._data_root}/"
        if not file_id.startswith(prefix):
            raise BadName(file_id)
        return key_of(file_id.removeprefix(prefix))

    def find(self, key: str) -> StoredFile | None:
        """The file; its ETag is made of time and size, as the real server makes it."""
        path = self._files / key
        try:
            facts = path.stat()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        digest = hashlib.md5(f"{facts.st_mtime}-{facts.st_size}".encode(), usedforsecurity=False).hexdigest()
        return StoredFile(path, facts.st_size, facts.st_mtime, f'"{digest}"', _guess_type(path.name))

    def is_folder(self, key: str) -> bool:
        """Whether it is a directory."""
        try:
            return (self._files / key).is_dir()
        except (OSError, ValueError):
            return False

    def store(self, key: str, temporary: Path) -> None:
        """Renames the temporary file; raises `BadName` where the file system refuses."""
        path = self._files / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        except (OSError, ValueError) as error:
            temporary.unlink(missing_ok=True)
            raise BadName(key) from error

    def delete(self, key: str) -> None:
        """Unlinks the file."""
        (self._files / key).unlink(missing_ok=True)

    def keys_below(self, prefix: str) -> list[str]:
        """Walks the tree."""
        folder = self._files / prefix
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def open_temporary(self) -> BinaryIO:
        """A file in the scratch folder."""
        return self._scratch.open()


class ObjectStorage:
    """A flat bucket: any key up to 1,024 bytes, no directories. Ids are ``s3://bucket/key``."""

    def __init__(self, root: Path, data_root: str, bucket: str) -> None:
        self._objects = root / "objects"
        self._objects.mkdir(parents=True, exist_ok=True)
        self._scratch = _Scratch(root / "scratch")
        self._prefix = data_root.strip("./")
        self._bucket = bucket
        self._lock = threading.Lock()
        self._index: dict[str, StoredFile] = {}

    def object_key(self, key: str) -> str:
        """The key in the bucket: the data folder is its first part."""
        return f"{self._prefix}/{key}"

    def file_id(self, key: str) -> str:
        """The object's ``s3://`` address."""
        return f"s3://{self._bucket}/{self.object_key(key)}"

    def key_of_object(self, object_key: str) -> str | None:
        """The key relative to the data folder, None for an object outside it."""
        prefix = f"{self._prefix}/"
        return object_key.removeprefix(prefix) if object_key.startswith(prefix) else None

    def find(self, key: str) -> StoredFile | None:
        """The object."""
        with self._lock:
            return self._index.get(key)

    def is_folder(self, key: str) -> bool:
        """Whether the key is a prefix of others."""
        with self._lock:
            return any(other.startswith(f"{key.rstrip('/')}/") for other in self._index)

    def store(self, key: str, temporary: Path) -> None:
        """Takes the file over under the hash of its key; raises `BadName` for a key that S3 refuses."""
        if not key or len(self.object_key(key).encode()) > _S3_KEY_BYTES:
            temporary.unlink(missing_ok=True)
            raise BadName(key)
        size_bytes, etag = temporary.stat().st_size, _etag_of_content(temporary)
        with self._lock:
            path = self._objects / hashlib.sha256(key.encode()).hexdigest()
            temporary.replace(path)
            facts = path.stat()
            self._index[key] = StoredFile(path, size_bytes, facts.st_mtime, etag, "binary/octet-stream")

    def delete(self, key: str) -> None:
        """Removes the object."""
        with self._lock:
            stored = self._index.pop(key, None)
            if stored is not None:
                stored.path.unlink(missing_ok=True)

    def keys_below(self, prefix: str) -> list[str]:
        """The keys with that prefix."""
        start = f"{prefix}/"
        with self._lock:
            return sorted(key.removeprefix(start) for key in self._index if key.startswith(start))

    def open_temporary(self) -> BinaryIO:
        """A file in the scratch folder."""
        return self._scratch.open()


def _etag_of_content(path: Path) -> str:
    """An MD5 like S3's for what one part holds, for more a name with a dash, which is no MD5.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
    """
    if path.stat().st_size > _HASHED_UP_TO_BYTES:
        return f'"{secrets.token_hex(16)}-2"'
    with path.open("rb") as file:
        return f'"{hashlib.file_digest(file, "md5").hexdigest()}"'
