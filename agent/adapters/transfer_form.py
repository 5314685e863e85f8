"""A file in a multipart form, read while it is sent."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from urllib3.fields import RequestField
from urllib3.filepost import choose_boundary, encode_multipart_formdata

from agent.core.errors import DiskTrouble, JobFailed
from agent.core.paths import shown

_SEND_BYTES = 256 << 10


class Form:
    """An iterable with a length: the fields, then as the last one, `file`, the source's bytes.

    `count` hears the bytes that are sent, `sent` is called before the last piece. Requests' own `files=`
    reads the whole file into memory (https://requests.readthedocs.io/en/latest/user/quickstart/).
    `is_sent`: all of it was taken from here.
    Iterating raises `JobFailed` for a source that has not the announced size, `DiskTrouble`.
    """

    def __init__(
        self,
        fields: dict[str, str],
        name: str,
        source: BinaryIO,
        size_bytes: int,
        count: Callable[[int], None],
        sent: Callable[[], None],
    ) -> None:
        self.is_sent = False
        parts = [RequestField(field, value) for field, value in fields.items()]
        parts.append(RequestField("file", b"", filename=name))
        for part in parts:
            part.make_multipart()
        boundary = choose_boundary()
        whole, self.content_type = encode_multipart_formdata(parts, boundary)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._head = whole.removesuffix(self._tail)
        self._name, self._source, self._size_bytes = shown(name), source, size_bytes
        self._count, self._sent = count, sent

    def __len__(self) -> int:
        return len(self._head) + self._size_bytes + len(self._tail)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self._head
        left = self._size_bytes
        while left:
            data = self._read(min(left, _SEND_BYTES))
            if not data:
                raise JobFailed(f"output {self._name} became shorter while it was uploaded")
            yield memoryview(data)
            left -= len(data)
            self._count(len(data))
        if self._read(1):
            raise JobFailed(f"output {self._name} became longer while it was uploaded")
        self._sent()
        yield self._tail
        self.is_sent = True

    def _read(self, size_bytes: int) -> bytes:
        try:
            return self._source.read(size_bytes)
        except OSError as error:
            raise DiskTrouble(
                f"output {self._name} cannot be read: {error.strerror or type(error).__name__}"
            ) from error
