"""The Docker engine: calls by docker-py, waiting and streams by connections that a stop can hang up."""

import logging
import math
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from docker import APIClient
from docker.auth import get_config_header, resolve_repository_name
from docker.errors import APIError, NotFound
from docker.utils import parse_repository_tag

from agent.adapters.docker_engine_errors import translated
from agent.adapters.docker_engine_oom import OomWatch, sleep
from agent.adapters.docker_engine_stream import Stream, open_stream
from agent.core import engine_faults as faults
from agent.core.container import LABEL_JOB
from agent.core.engine_api import create_body, fact_of, log_of
from agent.core.engine_models import (
    Activity,
    ContainerExit,
    ContainerFact,
    ContainerPlan,
    ContainerStatus,
    EngineInfo,
    ImagePull,
)
from agent.core.errors import DiskTrouble, EngineTrouble, JobFailed, Stopped
from agent.core.pull import pulled
from agent.core.stopping import Stop
from agent.ports import Progress

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 30.0  # a wait looks at the container itself this often, whatever the stream says
_PAUSE_S = 0.1  # before it asks again after the stream ended for nothing


class DockerEngine:
    """The engine at `base_url` (`unix:///…` or `tcp://…`); nothing is asked of it until a method is called.

    `timeout_s`: what a call may take. `pull_idle_s`: how long a pull may go without any event.
    """

    def __init__(
        self, base_url: str, agent_id: str, *, timeout_s: int = 30, pull_idle_s: float = 120
    ) -> None:
        self._base_url = base_url
        self._agent_id = agent_id
        self._timeout_s = timeout_s
        self._pull_idle_s = pull_idle_s
        self._lock = threading.Lock()
        self._api: APIClient | None = None

    def _client(self) -> Any:  # an APIClient; types-docker leaves some of its methods untyped
        """The client, made (and its API version agreed on) when it is first needed."""
        with self._lock:
            if self._api is None:
                self._api = APIClient(self._base_url, timeout=self._timeout_s)
            return self._api

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        with self._lock:
            if self._api is not None:
                self._api.close()
            self._api = None

    def ping(self) -> str:
        """The engine's version, if it answers."""
        with translated("asking for its version"):
            client = self._client()
            says = client.version(api_version=False)
            if says.get("ApiVersion") != client.api_version:  # Docker was updated: agree anew
                self._api = None
            return str(says.get("Version"))

    def info(self) -> EngineInfo:
        """What the engine says of itself."""
        with translated("asking for its state"):
            says = self._client().info()
            return EngineInfo(
                str(says.get("ServerVersion")),
                keeps_containers=bool(says.get("LiveRestoreEnabled")),
                data_root=str(says.get("DockerRootDir") or ""),
            )

    def ensure_image(self, image: str, policy: ImagePull, *, stop: Stop, progress: Progress) -> None:
        """Have the image here. A copy that is here serves whenever the registry does not give it."""
        stop.check()
        is_here = self._has_image(image)
        if is_here and (policy is not ImagePull.ALWAYS or "@sha256:" in image):
            return
        if policy is ImagePull.NEVER:
            raise JobFailed(f"image not found: {image} (IMAGE_PULL=never allows only images that are here)")
        try:
            self._pull(image, stop, progress)
        except (EngineTrouble, JobFailed) as trouble:
            if not is_here:
                raise
            log.warning("Using the copy of the image %s that is here: %s.", image, trouble)

    def _has_image(self, image: str) -> bool:
        doing = f"looking for the image {image}"
        with translated(doing, partial(faults.create_fault, image, doing)), suppress(NotFound):
            self._client().inspect_image(image)
            return True
        return False

    def _pull(self, image: str, stop: Stop, progress: Progress) -> None:
        log.info("Pulling the image %s.", image)
        judge = partial(faults.pull_fault, image)
        repository, tag = parse_repository_tag(image)
        path = "/images/create?" + urlencode({"fromImage": repository, "tag": tag or "latest"})
        with (
            translated(f"pulling the image {image}", judge, stop),
            progress.task(f"image {image}", None) as task,
            self._stream("POST", path, stop, self._pull_idle_s, self._login(repository)) as stream,
        ):
            for more in pulled(stream.lines(), judge):
                task.advance(more)
        if not self._has_image(image):
            raise EngineTrouble(f"the image {image} was pulled and is not there")

    def _login(self, repository: str) -> Mapping[str, str]:
        """The header with what `docker login` left for the registry, if anything."""
        registry, _ = resolve_repository_name(repository)
        login = get_config_header(self._client(), registry)
        return {"X-Registry-Auth": login.decode("ascii")} if login else {}

    def ensure_started(self, plan: ContainerPlan) -> ContainerFact:
        """Create the container if there is none of that name, start it if it never ran, adopt it else."""
        if self._ours(plan.name) is None:
            self._create(plan)
        fact = self._present(plan.name)
        if fact.status is not ContainerStatus.CREATED:
            log.debug("Container %s is there already and %s.", plan.name, fact.status)
            return fact
        doing = f"starting container {plan.name}"
        with translated(doing, partial(faults.start_fault, doing)):
            self._client().start(plan.name)
        return self._present(plan.name)

    def _create(self, plan: ContainerPlan) -> None:
        doing = f"creating container {plan.name}"
        with translated(doing, partial(faults.create_fault, plan.image, doing)):
            try:
                self._client().create_container_from_config(create_body(plan), plan.name)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise

    def look(self, name: str) -> ContainerFact | None:
        """What the engine knows of the container; None: nothing."""
        with translated(f"looking at container {name}"), suppress(NotFound):
            return fact_of(self._client().inspect_container(name))
        return None

    def _ours(self, name: str) -> ContainerFact | None:
        """Like `look`, but a container that somebody else made is trouble: it is never touched."""
        fact = self.look(name)
        if fact is not None:
            faults.check_owner(fact, self._agent_id)
        return fact

    def _present(self, name: str) -> ContainerFact:
        fact = self._ours(name)
        if fact is None:
            raise EngineTrouble(f"there is no container {name}")
        return fact

    def activity(self, name: str) -> Activity:
        """What the container has done so far."""
        with translated(f"looking at what container {name} does"):
            stats = self._client().stats(name, stream=False)
            cpu_s = stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
            tail = self._client().logs(name, timestamps=True, tail=1)
        return Activity(cpu_s, tail[:64].decode("ascii", "replace"))

    def list_ours(self) -> list[ContainerFact]:
        """All containers that carry our labels, those of other agents too."""
        with translated("listing the containers"):
            found = self._client().containers(all=True, quiet=True, filters={"label": [LABEL_JOB]})
        return [fact for each in found if (fact := self.look(str(each["Id"])))]

    def wait(self, name: str, *, timeout_s: float, stop: Stop) -> ContainerExit | None:
        """Sleep until the container has ended; None: it runs on when the time is over or `stop` is set.

        The engine's answer only wakes us: it ends when the daemon restarts too, so `inspect` decides.
        """
        deadline = time.monotonic() + timeout_s
        path = f"/containers/{name}/wait?condition=not-running"
        with self._watch_memory(name) as memory:
            while True:
                with suppress(Stopped), translated(f"waiting for container {name}", stop=stop):
                    with self._stream("POST", path, stop) as stream:
                        ended = self._watch(name, stream, memory, deadline, stop)
                    if ended is not None:
                        is_oom = ended.oom_killed or (ended.code != 0 and memory.has_killed())
                        return replace(ended, oom_killed=is_oom)
                if stop.is_set() or time.monotonic() >= deadline:
                    return None
                stop.wait(_PAUSE_S)

    def _watch_memory(self, name: str) -> OomWatch:
        with translated(f"looking at container {name}"), suppress(NotFound):
            details = self._client().inspect_container(name)
            return OomWatch(str(details["Id"]), int(details["State"]["Pid"]))
        raise EngineTrouble(f"there is no container {name}")

    def _watch(
        self, name: str, stream: Stream, memory: OomWatch, deadline: float, stop: Stop
    ) -> ContainerExit | None:
        """Look whenever something comes, or nothing for long; None once something came to no end."""
        is_woken = False
        while True:
            stop.check()
            fact = self._present(name)
            if fact.status is ContainerStatus.CREATED:
                raise EngineTrouble(f"container {name} was never started")
            left_s = deadline - time.monotonic()
            if fact.exit is not None or is_woken or left_s <= 0:
                return fact.exit
            is_woken = sleep(stream.fileno(), memory, min(left_s, _LOOK_AGAIN_S))

    def save_log(self, name: str, path: Path, *, stop: Stop) -> None:
        """Write the container's whole log, both streams in their order, to `path`, or leave that alone."""
        part = path.with_name(f"{path.name}.part")
        try:
            with closing(self.read_log(name, follow=False, stop=stop)) as pieces, part.open("wb") as file:
                file.writelines(pieces)
            part.replace(path)
        except OSError as error:
            raise DiskTrouble(f"cannot write {path}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                part.unlink()

    def read_log(self, name: str, *, follow: bool, stop: Stop) -> Generator[bytes, None, None]:
        """The container's log in pieces, both streams in their order; with `follow` until it ends."""
        self._present(name)
        path = f"/containers/{name}/logs?stdout=1&stderr=1&follow={follow:d}"
        with (
            translated(f"reading the log of container {name}", stop=stop),
            self._stream("GET", path, stop) as stream,
        ):
            if follow:
                stream.be_patient()
            yield from log_of(stream.read)

    def kill(self, name: str, *, grace_s: float) -> None:
        """SIGTERM, after `grace_s` SIGKILL; harmless if it has ended or is gone."""
        fact = self._ours(name)
        if fact is None or fact.status in {ContainerStatus.CREATED, ContainerStatus.EXITED}:
            return
        with translated(f"ending container {name}"), suppress(NotFound):
            if fact.status is ContainerStatus.PAUSED:  # Docker ends no paused container
                self._client().unpause(name)
            self._client().stop(name, timeout=math.ceil(grace_s))

    def remove(self, name: str) -> None:
        """Kill and remove the container; harmless if it is gone."""
        self.kill(name, grace_s=0)
        with translated(f"removing container {name}"), suppress(NotFound):
            try:
                self._client().remove_container(name, v=True, force=True)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                self._client().wait(name, timeout=self._timeout_s, condition="removed")

    @contextmanager
    def _stream(
        self, method: str, path: str, stop: Stop, idle_s: float | None = None, headers: Mapping[str, str] = {}
    ) -> Iterator[Stream]:
        path = f"/v{self._client().api_version}{path}"
        idle_s = idle_s or self._timeout_s
        with open_stream(self._base_url, method, path, stop=stop, idle_s=idle_s, headers=headers) as stream:
            yield stream
