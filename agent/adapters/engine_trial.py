"""Containers of a passing image of our own, run on the real engine to see that it can run any.

No registry is asked: the image is this machine's shell and what that is linked with, about 3 MB.
"""

import io
import secrets
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import requests
from docker import APIClient
from docker.errors import APIError, DockerException, StreamParseError
from urllib3.exceptions import HTTPError

from agent.core.doctor_trial import LABEL, plan_trial
from agent.core.engine_api import create_body
from agent.core.engine_faults import cause_of
from agent.core.errors import EngineTrouble
from agent.core.wire import one_line

_FOREIGN = (DockerException, StreamParseError, HTTPError, HTTPException, OSError, ValueError)
_LEFT_OVER_S = 600
_REPOSITORY = "decode-agent/selftest"
_LOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ran:
    """How a trial container ended, and the end of what it said."""

    exit_code: int
    log: str


class EngineTrial:
    """The engine at `base_url`, every call bounded by `timeout_s`. Raises `EngineTrouble`."""

    def __init__(self, base_url: str, timeout_s: int = 30) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s

    def info(self) -> Mapping[str, Any]:
        """What the engine says of itself."""
        with self._client() as client:
            return dict(client.info())

    @contextmanager
    def image(self, files: Mapping[str, Path]) -> Iterator[str]:
        """An image of these files, by their paths in it, that is gone when the block ends; its name."""
        tag = secrets.token_hex(6)
        name = f"{_REPOSITORY}:{tag}"
        with self._client() as client:
            self._remove_left_overs(client)
            client.import_image_from_data(  # docker-py's import_image would take the archive for a path
                _archive(files), repository=_REPOSITORY, tag=tag, changes=[f"LABEL {LABEL}=1"]
            )
        try:
            yield name
        finally:
            with suppress(EngineTrouble), self._client() as client:
                client.remove_image(name, force=True)

    def run(
        self, image: str, folder: Path, libraries: tuple[str, ...], gpu_uuids: tuple[str, ...] = ()
    ) -> Ran:
        """Run the trial in a container like a job's, and remove it whatever happens."""
        plan = plan_trial(f"decode-selftest-{secrets.token_hex(6)}", image, str(folder), libraries, gpu_uuids)
        with self._client() as client:
            try:
                client.create_container_from_config(create_body(plan), plan.name)
                client.start(plan.name)
                ended = client.wait(plan.name, timeout=self._timeout_s)
                log = client.logs(plan.name, stdout=True, stderr=True, tail=200)
            finally:
                with suppress(*_FOREIGN):  # what went wrong before is what counts
                    client.remove_container(plan.name, v=True, force=True)
        return Ran(int(ended["StatusCode"]), log[-_LOG_BYTES:].decode(errors="replace"))

    def _remove_left_overs(self, client: Any) -> None:
        """Those of a doctor that was killed; younger ones may be of one that is at work."""
        ours = {"label": [LABEL]}
        before = time.time() - _LEFT_OVER_S
        for container in client.containers(all=True, filters=ours):
            if int(container.get("Created", 0)) < before:
                client.remove_container(container["Id"], v=True, force=True)
        for image in client.images(filters=ours):
            if int(image.get("Created", 0)) < before:
                client.remove_image(image["Id"], force=True)

    @contextmanager
    def _client(self) -> Iterator[Any]:  # an APIClient; types-docker leaves some of its methods untyped
        try:
            with closing(APIClient(self._base_url, version="auto", timeout=self._timeout_s)) as client:
                yield client
        except _FOREIGN as error:
            raise _fault_of(error) from error


def _fault_of(error: Exception) -> EngineTrouble:
    match error:
        case APIError():
            return EngineTrouble(one_line(str(getattr(error, "explanation", None) or error)))
        case requests.Timeout() | TimeoutError():
            return EngineTrouble("Docker did not answer in time")
        case _:
            return EngineTrouble(f"Docker cannot be reached: {cause_of(error)}")


def _archive(files: Mapping[str, Path]) -> bytes:
    """A root file system of root's with these files, and the folders that NVIDIA's hook writes to."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", dereference=True) as archive:
        for folder in ("etc", "usr/bin", "usr/lib"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, path in files.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
