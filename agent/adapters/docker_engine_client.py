"""The two ways to the Docker engine: docker-py for calls, connections of our own for what a stop hangs up."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from docker import APIClient

from agent.adapters.docker_engine_stream import Stream, open_stream
from agent.core.stopping import Stop


class Client:
    """The engine at `base_url`; nothing is asked of it until a method is called.

    `timeout_s`: what a call may take, and how long a stream may be silent before it begins.
    """

    def __init__(self, base_url: str, timeout_s: int) -> None:
        self.base_url = base_url
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._api: APIClient | None = None

    def __call__(self) -> Any:  # an APIClient; types-docker leaves some of its methods untyped
        """The client, made (and its API version agreed on) when it is first needed."""
        with self._lock:
            if self._api is None:
                self._api = APIClient(self.base_url, timeout=self.timeout_s)
            return self._api

    @contextmanager
    def fresh(self) -> Iterator[Any]:
        """A client with connections of its own.

        An engine that goes down answers on the old ones, and tells how it ended its containers, until it is
        gone; new ones it refuses from the first moment on. Seen with Docker 20.10.
        """
        with closing(APIClient(self.base_url, timeout=self.timeout_s)) as api:
            yield api

    def agree_anew(self) -> None:
        """The engine speaks another version now."""
        self._api = None

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        with self._lock:
            if self._api is not None:
                self._api.close()
            self._api = None

    @contextmanager
    def stream(
        self, method: str, path: str, stop: Stop, idle_s: float | None = None, headers: Mapping[str, str] = {}
    ) -> Iterator[Stream]:
        """An answer that comes bit by bit; see `open_stream`."""
        path = f"/v{self().api_version}{path}"
        idle_s = idle_s or self.timeout_s
        with open_stream(self.base_url, method, path, stop=stop, idle_s=idle_s, headers=headers) as stream:
            yield stream
