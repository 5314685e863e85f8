"""A container engine in memory; it outlives the agent: one object serves it before and after a crash."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.core.container import LABEL_AGENT, LABEL_JOB, LABEL_NOTE
from agent.core.engine_faults import check_owner
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
from agent.core.errors import DiskTrouble, EngineTrouble, ImageMissing, JobFailed, Stopped, Unkillable
from agent.core.stopping import Stop
from agent.ports import Progress

SIGKILLED, SIGTERMED = 137, 143
_IMAGE_BYTES = 1000
_FOREVER_S = 1e6


@dataclass(frozen=True, slots=True)
class Script:
    """What a container does once it was started.

    `exit_code`: with what it ends as soon as somebody waits for it; None: it runs until `finish` or a kill.
    `writes`: path below the job's folder → content.
    """

    exit_code: int | None = 0
    oom: bool = False
    log: bytes = b""
    writes: Mapping[str, bytes] = field(default_factory=dict)
    ignores_term: bool = False


class FakeEngine:
    """Fulfils `ports.Engine`.

    Settings, to be changed at will: `images` (here), `registry` (to be pulled), `scripts` by job id,
    `is_away` (dockerd does not answer), `is_registry_away`, `engine_info`, `activities` and `ages` (seconds;
    not known where there is none) by container name, `unkillable` (their names).
    What happened: `starts` by container name, `pulls`, `killed`, `removed` in order, `plans` by name.
    """

    def __init__(self, agent_id: str = "agent", clock: Callable[[], float] = time.time) -> None:
        self.agent_id = agent_id
        self.images: set[str] = set()
        self.registry: set[str] = set()
        self.scripts: dict[int, Script] = {}
        self.is_away = False
        self.is_registry_away = False
        self.engine_info = EngineInfo("0.0-fake", EngineLife("boot-1", "start-1"))
        self.activities: dict[str, Activity] = {}
        self.ages: dict[str, float] = {}
        self.unkillable: set[str] = set()
        self.starts: Counter[str] = Counter()
        self.pulls: list[str] = []
        self.killed: list[str] = []
        self.removed: list[str] = []
        self.plans: dict[str, ContainerPlan] = {}
        self._facts: dict[str, ContainerFact] = {}
        self._logs: dict[str, bytes] = {}
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())

    # What a test does to it

    def finish(self, name: str, code: int = 0, *, oom: bool = False) -> None:
        """End a running container."""
        with self._changed:
            fact = self._facts[name]
            if fact.exit is None:
                ended = ContainerExit(code, oom, "", fact.started_at, self._clock())
                self._facts[name] = replace(fact, status=ContainerStatus.EXITED, exit=ended)
            self._changed.notify_all()

    def finish_all(self) -> None:
        """Time passes: every container whose script ends has ended."""
        for name, fact in list(self._facts.items()):
            if fact.status is ContainerStatus.RUNNING:
                self._end_by_script(name)

    def set_status(self, name: str, status: ContainerStatus) -> None:
        """Somebody pauses a container, or the engine died between create and start."""
        with self._changed:
            self._facts[name] = replace(self._facts[name], status=status)

    def add_foreign(self, name: str, job_id: int | None = None, agent_id: str = "") -> None:
        """A container that this agent did not make."""
        self._facts[name] = ContainerFact(name, ContainerStatus.RUNNING, job_id, agent_id, self._clock())

    def vanish(self, name: str) -> None:
        """Somebody removed the container behind the agent's back."""
        with self._changed:
            self._facts.pop(name, None)
            self._changed.notify_all()

    # The port

    def ping(self) -> str:
        """The engine's version, if it answers."""
        self._answer()
        return self.engine_info.version

    def info(self) -> EngineInfo:
        """What the engine says of itself."""
        self._answer()
        return self.engine_info

    def ensure_image(self, image: str, policy: ImagePull, *, stop: Stop, progress: Progress) -> None:
        """Have the image here."""
        self._answer()
        stop.check()
        is_here = image in self.images
        if is_here and policy is not ImagePull.ALWAYS:
            return
        if policy is not ImagePull.NEVER and image in self.registry and not self.is_registry_away:
            with progress.task(f"image {image}", None) as task:
                task.advance(_IMAGE_BYTES)
            self.pulls.append(image)
            self.images.add(image)
        elif not is_here and self.is_registry_away and policy is not ImagePull.NEVER:
            raise EngineTrouble(f"the registry does not give the image {image}: it is away")
        elif not is_here:
            raise JobFailed(f"image not found: {image}")

    def ensure_started(self, plan: ContainerPlan) -> ContainerFact:
        """Create the container if there is none of that name, start it if it never ran, adopt it else."""
        self._answer()
        with self._changed:
            fact = self._ours(plan.name) or self._create(plan)
            if fact.status is ContainerStatus.CREATED:
                fact = self._start(plan, fact)
            return replace(fact, age_s=self.ages.get(plan.name))

    def _create(self, plan: ContainerPlan) -> ContainerFact:
        if plan.image not in self.images:
            raise ImageMissing(f"somebody removed the image {plan.image}")
        labels = dict(plan.labels)
        self.plans[plan.name] = plan
        return ContainerFact(
            plan.name,
            ContainerStatus.CREATED,
            int(labels[LABEL_JOB]),
            labels[LABEL_AGENT],
            0.0,
            job_note=labels.get(LABEL_NOTE, ""),
        )

    def _start(self, plan: ContainerPlan, fact: ContainerFact) -> ContainerFact:
        script = self._script(fact)
        self.starts[plan.name] += 1
        self._logs[plan.name] = script.log
        for path, content in script.writes.items():
            target = Path(plan.folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        started = replace(fact, status=ContainerStatus.RUNNING, started_at=self._clock())
        self._facts[plan.name] = started
        return started

    def wait(self, name: str, *, timeout_s: float, stop: Stop) -> ContainerExit | None:
        """Sleep until the container has ended; None: it runs on when the time is over or `stop` is set."""
        self._answer()
        deadline = time.monotonic() + timeout_s
        with stop.attach(self._notify), self._changed:
            self._end_by_script(name)
            while True:
                self._answer()
                fact = self._present(name)
                if fact.status is ContainerStatus.CREATED:
                    raise EngineTrouble(f"container {name} was never started")
                left_s = deadline - time.monotonic()
                if fact.exit is not None or stop.is_set() or left_s <= 0:
                    return fact.exit
                self._changed.wait(left_s)

    def look(self, name: str) -> ContainerFact | None:
        """What the engine knows of the container; None: nothing."""
        self._answer()
        fact = self._facts.get(name)
        return None if fact is None else replace(fact, age_s=self.ages.get(name))

    def activity(self, name: str) -> Activity:
        """What the container has done so far: what the test says."""
        self._answer()
        if self._present(name).status not in {ContainerStatus.RUNNING, ContainerStatus.PAUSED}:
            raise EngineTrouble(f"container {name} does not run")
        return self.activities.get(name, Activity(0.0, ""))

    def list_ours(self) -> list[ContainerFact]:
        """All containers that carry our labels, those of other agents too."""
        self._answer()
        return [fact for fact in self._facts.values() if fact.job_id is not None]

    def save_log(self, name: str, path: Path, *, stop: Stop) -> None:
        """Write the container's whole log to `path`."""
        self._answer()
        if stop.is_set():
            raise Stopped("asked to stop")
        self._present(name)
        try:
            path.write_bytes(self._logs.get(name, b""))
        except OSError as error:
            raise DiskTrouble(f"cannot write {path}: {error.strerror}") from error

    def read_log(self, name: str, *, follow: bool, stop: Stop) -> Iterator[bytes]:
        """The container's log in pieces; with `follow` until it ends."""
        self._answer()
        stop.check()
        self._present(name)
        yield from filter(None, [self._logs.get(name, b"")])
        if follow:
            with suppress(EngineTrouble):  # who removes it ends it
                self.wait(name, timeout_s=_FOREVER_S, stop=stop)
            stop.check()

    def kill(self, name: str, *, grace_s: float) -> None:
        """SIGTERM, after `grace_s` SIGKILL; harmless if it has ended or is gone."""
        del grace_s
        self._answer()
        fact = self._ours(name)
        if fact is None or fact.status not in {ContainerStatus.RUNNING, ContainerStatus.PAUSED}:
            return
        self.killed.append(name)
        if name in self.unkillable:
            raise Unkillable(f"container {name} cannot be killed")
        self.finish(name, SIGKILLED if self._script(fact).ignores_term else SIGTERMED)

    def remove(self, name: str) -> None:
        """Kill and remove the container; harmless if it is gone."""
        self._answer()
        with self._changed:
            fact = self._ours(name)
            if fact is not None and fact.exit is None and name in self.unkillable:
                raise Unkillable(f"container {name} cannot be killed")
            if fact is not None:
                self.removed.append(name)
                self.vanish(name)

    def _answer(self) -> None:
        if self.is_away:
            raise EngineTrouble("Docker cannot be reached")

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _script(self, fact: ContainerFact) -> Script:
        return self.scripts.get(-1 if fact.job_id is None else fact.job_id, Script())

    def _end_by_script(self, name: str) -> None:
        fact = self._present(name)
        script = self._script(fact)
        if fact.status is ContainerStatus.RUNNING and script.exit_code is not None:
            self.finish(name, script.exit_code, oom=script.oom)

    def _ours(self, name: str) -> ContainerFact | None:
        fact = self._facts.get(name)
        if fact is not None:
            check_owner(fact, self.agent_id)
        return fact

    def _present(self, name: str) -> ContainerFact:
        fact = self._ours(name)
        if fact is None:
            raise EngineTrouble(f"there is no container {name}")
        return fact
