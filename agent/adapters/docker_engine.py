"""The Docker engine: calls by docker-py, waiting and streams by connections that a stop can hang up."""

import logging
import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from agent.adapters import docker_engine_machine as machine
from agent.adapters.docker_engine_client import Client
from agent.adapters.docker_engine_errors import translated
from agent.adapters.docker_engine_images import Images
from agent.adapters.docker_engine_oom import OomWatch, sleep
from agent.adapters.docker_engine_stream import Stream
from agent.core import engine_faults as faults
from agent.core.container import LABEL_JOB
from agent.core.engine_api import cpu_s_of, create_body, fact_of, is_going, log_of, mark_of
from agent.core.engine_models import (
    Activity,
    ContainerExit,
    ContainerFact,
    ContainerPlan,
    ContainerStatus,
    EngineInfo,
    EngineLife,
    ImagePull,
)
from agent.core.errors import DiskTrouble, EngineTrouble, Stopped, Unkillable
from agent.core.stopping import Stop
from agent.ports import Progress

log = logging.getLogger(__name__)

_PING_S = 10.0
_LOOK_AGAIN_S = 30.0  # a wait looks at the container itself this often, whatever the stream says
_PAUSE_S = 0.1  # before it asks again after the stream ended for nothing
_DEAD_WITHIN_S = 10.0  # after SIGKILL; dockerd itself waits as long
_GENTLY = "SIGTERM"
_DEFAULT_NETWORK = "bridge"


class DockerEngine:
    """The engine at `base_url` (`unix:///…` or `tcp://…`); nothing is asked of it until a method is called.

    `timeout_s`: what a call may take. `pull_idle_s`: how long a pull may go without any event.
    """

    def __init__(
        self, base_url: str, agent_id: str, *, timeout_s: int = 30, pull_idle_s: float = 120
    ) -> None:
        self._agent_id = agent_id
        self._is_local = machine.is_local(base_url)
        self._client = Client(base_url, timeout_s)
        self._images = Images(self._client, pull_idle_s)

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        self._client.close()

    def ping(self) -> str:
        """The engine's version, if it answers: soon, for who asks has other things to do."""
        with translated("asking for its version"):
            client = self._client()
            timeout_s = min(_PING_S, self._client.timeout_s)
            answer = client.get(f"{client.base_url}/version", timeout=timeout_s)
            answer.raise_for_status()
            says = answer.json()
            if says.get("ApiVersion") != client.api_version:  # Docker was updated: agree anew
                self._client.agree_anew()
            return str(says.get("Version"))

    def info(self) -> EngineInfo:
        """What the engine says of itself, and this machine if the engine is on it."""
        with translated("asking for its state"), self._client.fresh() as client:
            says = client.info()
            return EngineInfo(
                str(says.get("ServerVersion")),
                EngineLife(machine.boot_id() if self._is_local else "", _start_name_of(client)),
                keeps_containers=bool(says.get("LiveRestoreEnabled")),
                data_root=str(says.get("DockerRootDir") or "") if self._is_local else "",
            )

    def ensure_image(self, image: str, policy: ImagePull, *, stop: Stop, progress: Progress) -> None:
        """Have the image here. A copy that is here serves whenever the registry does not give it."""
        self._images.ensure(image, policy, stop=stop, progress=progress)

    def ensure_started(self, plan: ContainerPlan) -> ContainerFact:
        """Create the container if there is none of that name, start it if it never ran, adopt it else."""
        if self._ours(plan.name) is None:
            self._create(plan)
        fact = self._present(plan.name)
        if fact.status is not ContainerStatus.CREATED:
            log.debug("Container %s is there already and %s.", plan.name, fact.status)
            return fact
        self._start(plan.name)
        return self._present(plan.name)

    def _start(self, name: str) -> None:
        doing = f"starting container {name}"
        with translated(doing, partial(faults.start_fault, doing)):
            try:
                self._client().start(name)
            except APIError as error:
                if faults.is_half_started(str(error.explanation)):
                    self._client().remove_container(name, v=True, force=True)  # the next try makes another
                raise

    def _create(self, plan: ContainerPlan) -> None:
        doing = f"creating container {plan.name}"
        with translated(doing, partial(faults.create_fault, plan.image, doing)):
            try:
                self._client().create_container_from_config(create_body(plan), plan.name)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise

    def look(self, name: str) -> ContainerFact | None:
        """What the engine knows of the container; None: nothing. One that is being removed is waited for."""
        with translated(f"looking at container {name}"), suppress(NotFound):
            details = self._client().inspect_container(name)
            if is_going(details):
                self._client().wait(name, timeout=self._client.timeout_s, condition="removed")
                details = self._client().inspect_container(name)
            if is_going(details):
                raise EngineTrouble(f"container {name} is being removed")
            return replace(fact_of(details), age_s=machine.age_of(details) if self._is_local else None)
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
        """What the container has done so far. `EngineTrouble` too if it does not run.

        Docker's own numbers need all controllers of cgroup v1: where one lacks they are zeros (20.10).
        """
        with translated(f"looking at what container {name} does"):
            client = self._client()
            details = client.inspect_container(name)
            if not details["State"]["Running"]:
                raise EngineTrouble(f"container {name} does not run")
            cpu_s = machine.cpu_s_of(details) if self._is_local else None
            if cpu_s is None:
                cpu_s = cpu_s_of(client.stats(name, stream=False, one_shot=True))
            return Activity(cpu_s, mark_of(client.logs(name, timestamps=True, tail=1)))

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
                    with self._client.stream("POST", path, stop) as stream:
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
            self._client.stream("GET", path, stop) as stream,
        ):
            if follow:
                stream.be_patient()
            yield from log_of(stream.read)

    def kill(self, name: str, *, grace_s: float) -> None:
        """SIGTERM (or what the image wants), after `grace_s` SIGKILL; harmless if it has ended or is gone.

        Not by Docker's `stop`, which waits for ever (20.10) where SIGKILL does not help.
        """
        fact = self._ours(name)
        if fact is None or fact.status in {ContainerStatus.CREATED, ContainerStatus.EXITED}:
            return
        if fact.status is ContainerStatus.PAUSED:  # Docker ends no paused container
            with translated(f"ending container {name}"), suppress(NotFound):
                self._client().unpause(name)
        if grace_s > 0:
            self._send(name, self._stop_signal(name))
            if self._has_ended(name, grace_s):
                return
        self._send(name, "SIGKILL")
        if not self._has_ended(name, _DEAD_WITHIN_S):
            raise Unkillable(faults.unkillable_text(name))

    def _stop_signal(self, name: str) -> str:
        with translated(f"looking at container {name}"), suppress(NotFound):
            return str(self._client().inspect_container(name)["Config"].get("StopSignal") or _GENTLY)
        return _GENTLY

    def _send(self, name: str, signal: str) -> None:
        doing = f"ending container {name}"
        with translated(doing, partial(faults.kill_fault, name, doing)), suppress(NotFound):
            try:
                self._client().kill(name, signal)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:  # that is: it does not run any more
                    raise

    def _has_ended(self, name: str, within_s: float) -> bool:
        try:
            return self.wait(name, timeout_s=within_s, stop=Stop()) is not None
        except EngineTrouble:
            if self.look(name) is None:
                return True
            raise

    def remove(self, name: str) -> None:
        """Kill and remove the container; harmless if it is gone."""
        self.kill(name, grace_s=0)
        doing = f"removing container {name}"
        with translated(doing, partial(faults.kill_fault, name, doing)), suppress(NotFound):
            try:
                self._client().remove_container(name, v=True, force=True)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                self._client().wait(name, timeout=self._client.timeout_s, condition="removed")


def _start_name_of(client: Any) -> str:
    """The id of the default network: each start of the daemon makes that anew, unless containers live on.

    See `initBridgeDriver` in https://github.com/moby/moby/blob/master/daemon/daemon_unix.go; seen with
    Docker 20.10 and 26.1 in good order, after SIGKILL and with `live-restore`.
    """
    with suppress(NotFound):  # the daemon may be told to have none
        return str(client.inspect_network(_DEFAULT_NETWORK)["Id"])
    return ""
