"""Which paths of a job are allowed, and under which names its files travel.

A path is a tuple of parts below the job's folder, which the container sees as `/files`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import quote

from agent.core.errors import JobFailed
from agent.core.models import OutputFile, OutputListing, Upload, UploadKind

MAX_NAME_BYTES = 255  # of Linux, and of the API's local storage
MAX_PATH_BYTES = 4096 - len("/files/") - 1  # what the container can still open by its full name
# An S3 key has at most 1024 bytes, with the user's prefix and the file's name in it
# (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
MAX_BASE_PATH_BYTES = 640
CONTAINER_LOG = "container.log"
_SHOWN_CHARS = 300
_SUFFIX_BYTES = 20  # what comes after the last dot is a file type only if it is short

# Browsers and urllib3 send these so in a form (https://url.spec.whatwg.org/, "multipart/form-data"). A
# backslash is not safe there: python-multipart collapses a pair and cuts `C:\` off, S3's ${filename} keeps
# only what follows the last one.
_FILE_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\\": "%5C"})

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input to download. `label`: its path as text that is safe to show."""

    path: Path
    file_id: str
    label: str


def shown(path: Path | str) -> str:
    """The path as one quoted line that is safe to log, odd bytes and control characters as escapes."""
    text = path if isinstance(path, str) else "/".join(path)
    if len(text) > _SHOWN_CHARS:
        text = f"{text[: _SHOWN_CHARS * 2 // 3]}…{text[-_SHOWN_CHARS // 3 :]}"
    return "'" + "".join(c if c.isprintable() else _escape_char(c) for c in text) + "'"


def _escape_char(char: str) -> str:
    byte = _byte_of(char)
    return char.encode("unicode_escape").decode("ascii") if byte is None else f"\\x{byte:02x}"


def _byte_of(char: str) -> int | None:
    """The byte that is not UTF-8 for which `os.fsdecode` writes this surrogate."""
    return ord(char) - 0xDC00 if "\udc80" <= char <= "\udcff" else None


def _parts_of(field_name: str, text: str) -> Path:
    """The parts of a relative path from the job's spec; `./a//b` is `a/b`."""

    def refuse(why: str) -> JobFailed:
        return JobFailed(f"{field_name}: {shown(text)}: {why}")

    if not text:
        raise refuse("the path is empty")
    if "\0" in text:
        raise refuse("a path cannot hold a NUL character")
    if text.startswith("/"):
        raise refuse("the path must be relative to the job's folder")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise refuse("the path is not valid Unicode") from None
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if ".." in parts:
        raise refuse("'..' could leave the job's folder")
    if not parts:
        raise refuse("the path is the job's folder itself")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise refuse(f"a name in it is longer than {MAX_NAME_BYTES} bytes")
    if size > MAX_PATH_BYTES:
        raise refuse(f"the path is longer than {MAX_PATH_BYTES} bytes")
    return parts


def input_path(text: str) -> Path:
    """The parts of a key of `files_down`; raises `JobFailed` that names the field and the path."""
    parts = _parts_of("files_down", text)
    if text.endswith(("/", "/.")):
        raise JobFailed(f"files_down: {shown(text)}: the path names a folder, not a file")
    return parts


def output_root(kind: UploadKind, text: str) -> Path:
    """The parts of a value of `files_up`; raises `JobFailed` that names the field and the path."""
    return _parts_of(f"files_up.{kind}", text)


def plan_inputs(files_down: Mapping[str, str] | None) -> tuple[InputFile, ...]:
    """What to download, in the spec's order; raises `JobFailed` for a path that is unsafe or in conflict."""
    planned: dict[Path, InputFile] = {}
    for text, file_id in (files_down or {}).items():
        path = input_path(text)
        if path in planned:
            raise JobFailed(f"files_down: {shown(text)}: two inputs have this path")
        if not file_id or not _is_utf8(file_id):
            raise JobFailed(f"files_down: {shown(text)}: {shown(file_id)} is not a file id")
        planned[path] = InputFile(path, file_id, shown(path)[1:-1])
    ordered = sorted(planned)  # what lies below a path follows it at once
    for above, path in pairwise(ordered):
        if path[: len(above)] == above:
            raise JobFailed(f"files_down: {shown(path)}: lies below {shown(above)}, an input file itself")
    return tuple(planned.values())


def plan_roots(files_up: Mapping[UploadKind, str] | None) -> dict[UploadKind, Path]:
    """Where the outputs are collected; raises `JobFailed` for a path outside the job's folder."""
    return {kind: output_root(kind, text) for kind, text in (files_up or {}).items()}


def upload_key(upload: Upload) -> str:
    """What the journal remembers of a file that has arrived; a file that changed has another key."""
    path = quote("/".join(upload.file.path).encode("utf-8", "surrogateescape"))
    if len(path) > MAX_BASE_PATH_BYTES:
        path = hashlib.sha256(path.encode()).hexdigest()
    return f"{upload.kind}:{path}:{upload.file.size_bytes}:{upload.file.modified_ns}"


def plan_uploads(
    roots: Mapping[UploadKind, Path],
    listings: Mapping[UploadKind, OutputListing],
    container_log: OutputFile | None = None,
) -> tuple[Upload, ...]:
    """Every file with the folder and the name that the API gets, each pair once per kind.

    `container_log` (its path is empty, it lies outside the job's folder) goes beside the job's logs, if
    `files_up` has any. Raises nothing; the same listing gives the same plan.
    """
    uploads: list[Upload] = []
    for kind, listing in listings.items():
        uploads += _plan_kind(kind, listing.files)
    root = roots.get(UploadKind.LOG)
    if container_log is not None and root is not None:
        if any(upload.file.path == root for upload in uploads if upload.kind is UploadKind.LOG):
            root = root[:-1]
        uploads.append(_plan_container_log(root, uploads, container_log))
    return tuple(uploads)


def _plan_container_log(root: Path, uploads: Iterable[Upload], log: OutputFile) -> Upload:
    """The container's log under a name that the job did not use itself."""
    folder = _Folder()
    for part in root:
        folder = folder.below(_escape_folder(part))
    base = folder.text
    taken = {upload.name for upload in uploads if upload.kind is UploadKind.LOG and upload.base_path == base}
    below = f"{base}/" if base else ""
    taken |= {
        upload.base_path.removeprefix(below).split("/", 1)[0]
        for upload in uploads
        if upload.kind is UploadKind.LOG and upload.base_path.startswith(below)
    }
    return Upload(UploadKind.LOG, base, _Names(taken).claim(CONTAINER_LOG), log)


@dataclass(slots=True)
class _Node:
    """A folder on the disk: what it holds of one listing."""

    files: dict[str, OutputFile] = field(default_factory=dict)
    folders: dict[str, "_Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder at the API: its path, or the beginning of it and a digest of the rest once it is too long."""

    head: str = ""
    digest: str = ""

    def below(self, name: str) -> "_Folder":
        longer = f"{self.head}/{name}" if self.head else name
        if not self.digest and len(longer.encode()) <= MAX_BASE_PATH_BYTES:
            return _Folder(longer)
        return _Folder(self.head, hashlib.sha256(f"{self.digest}/{name}".encode()).hexdigest()[:16])

    @property
    def text(self) -> str:
        return f"{self.head}/~{self.digest}" if self.digest else self.head


class _Names:
    """The names in one folder at the API."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def claim(self, name: str) -> str:
        """The name, cut to what fits, with `~2` and so on before its suffix if it is taken."""
        name = wanted = _cut(name)
        number = self._next.get(wanted, 2)
        while name in self._taken:
            name = _cut(wanted, f"~{number}")
            number += 1
        self._next[wanted] = number
        self._taken.add(name)
        return name


def _plan_kind(kind: UploadKind, files: Iterable[OutputFile]) -> Iterator[Upload]:
    """The uploads of one kind, folder by folder."""
    # Not recursive and not by prefixes of paths: a job may nest thousands of folders.
    pending = [(_Folder(), _tree_of(files))]
    while pending:
        folder, node = pending.pop()
        wire = {name: _escape_file(name) for name in node.files}
        wire |= {name: _escape_folder(name) for name in node.folders}
        names = _Names()
        # Who can keep their name keep it, whoever comes first.
        for name in sorted(wire, key=lambda name: (wire[name] != name, name)):
            wire[name] = names.claim(wire[name])
        for name in sorted(node.files):
            yield Upload(kind, folder.text, wire[name], node.files[name])
        below = sorted(node.folders, reverse=True)
        pending += [(folder.below(wire[name]), node.folders[name]) for name in below]


def _tree_of(files: Iterable[OutputFile]) -> _Node:
    top = _Node()
    for file in files:
        node = top
        for part in file.path[:-1]:
            node = node.folders.setdefault(part, _Node())
        node.files[file.path[-1]] = file
    return top


def _escape_folder(name: str) -> str:
    """The name in UTF-8; `${` is broken up since S3 puts the file's name for `${filename}` in a key."""
    return _percent(name).replace("${", "%24{")


def _escape_file(name: str) -> str:
    """The name as it will arrive, so that what is sent needs no more changes."""
    return _percent(name).translate(_FILE_ESCAPES)


def _percent(name: str) -> str:
    """The name with every byte that is not UTF-8 as `%FF`."""
    if name.isascii():
        return name
    return "".join(c if (byte := _byte_of(c)) is None else f"%{byte:02X}" for c in name)


def _cut(name: str, mark: str = "") -> str:
    """The name with the mark before its suffix, in at most 255 bytes; a digest stands for what is cut out."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > _SUFFIX_BYTES:
        stem, dot, suffix = name, "", ""
    marked = f"{stem}{mark}{dot}{suffix}"
    if len(marked.encode()) <= MAX_NAME_BYTES:
        return marked
    tail = f"~{hashlib.sha256(name.encode()).hexdigest()[:12]}{mark}{dot}{suffix}"
    kept = stem.encode()[: MAX_NAME_BYTES - len(tail.encode())].decode("utf-8", "ignore")
    return kept + tail


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
