"""One job's container: cleared away, started or adopted, watched to its end, and whose fault that was."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from agent.core.adoption import note_of
from agent.core.blame import Scene, blame_of
from agent.core.container import container_name, with_note
from agent.core.engine_faults import check_owner
from agent.core.engine_models import (
    ContainerExit,
    ContainerFact,
    ContainerPlan,
    ContainerStatus,
    EngineLife,
)
from agent.core.errors import DiskTrouble, HostTrouble, ImageMissing, Unkillable
from agent.core.joblog import JobLog
from agent.core.lifecycle import LOG_TAIL_LINES, after_loss, outcome_of, with_outcome
from agent.core.models import Outcome, Phase, Record, Verdict
from agent.core.reconcile import Move, found_of, move_for
from agent.core.stopping import Stop
from agent.ports import JobFolder
from agent.toolbox import Tools
from agent.track import Track
from agent.watching import Watch

_LOG_TAIL_BYTES = 16 * 1024


class Attempt:
    """The actions on one job's container; `save` keeps what must be known before an action has ended.

    `stop` is the job's own.
    """

    def __init__(
        self,
        tools: Tools,
        folder: JobFolder,
        stop: Stop,
        save: Callable[[Record], None],
        track: Track,
        job_log: JobLog,
    ) -> None:
        self._tools = tools
        self._folder = folder
        self._stop = stop
        self._save = save
        self._track = track
        self._log = job_log
        self._record: Record
        self._seen: EngineLife | None = None
        self._was_there = False
        self._least_free: int | None = None
        self._blame: str | None = None

    def take_blame(self) -> str | None:
        """Why the machine failed the attempt that has just ended, empty where it did not; once each."""
        blame, self._blame = self._blame, None
        return blame

    def clear(self, record: Record) -> None:
        """See to it that no container is in the way of the record's phase, nor what one left behind.

        Raises `EngineTrouble`, `DiskTrouble`.
        """
        engine = self._tools.engine
        name = container_name(record.job_id)
        fact = engine.look(name)
        match self._move(record, fact):
            case Move.REMOVE:
                engine.remove(name)
            case Move.WIPE:  # the container goes last: as long as it is there the folder is not clean
                self._log.info("Removing what an attempt before has left.")
                engine.kill(name, grace_s=0)
                self._folder.remove()
                engine.remove(name)
            case Move.END:
                self._log.warning("Container %s runs although its job is over; ending it.", name)
                engine.kill(name, grace_s=self._tools.policy.stop_grace_s)
            case Move.BLOCKED:
                self._refuse(fact)
            case Move.GO_ON | Move.START | Move.ADOPT | Move.AGAIN:
                pass

    def run(self, record: Record, plan: ContainerPlan) -> Record:
        """Start the container or adopt it, wait for its end; the record that follows.

        Raises `EngineTrouble`, `DiskTrouble`, `JobFailed`, `Stopped`.
        """
        self._record = record
        engine = self._tools.engine
        # Asked before the look: what is seen running then runs under this life or a later one.
        life = engine.info().life
        fact = engine.look(plan.name)
        match self._move(record, fact):
            case Move.AGAIN:
                self._folder.remove()
                return self._lost(record, "its container vanished: somebody removed it")
            case Move.START:
                self._was_there = True
                self._keep(replace(record, life=life))
            case Move.ADOPT:
                self._log.info("Adopting its container %s.", plan.name)
            case Move.GO_ON | Move.REMOVE | Move.WIPE | Move.END | Move.BLOCKED:
                self._refuse(fact)
        try:
            fact = engine.ensure_started(with_note(plan, note_of(self._record)))
        except ImageMissing as missing:
            return self._lost(replace(record, attempts=record.attempts + 1), str(missing))
        self._note_start(fact, life)
        return self._follow(fact, plan)

    def _follow(self, fact: ContainerFact, plan: ContainerPlan) -> Record:
        watch = Watch(self._tools, self._stop, self._track, self._log, self._keep, plan.gpu_uuids)
        try:
            ended = watch.until_end(self._record, fact)
        except Unkillable as trouble:
            return self._stuck(self._record, trouble)
        scene = replace(self._scene(self._record, ended, plan), lost_sight=watch.lost_sight)
        try:
            self._save_log(plan.name)
        except DiskTrouble:  # what fills the disk may be this job's: if that ended it, it goes
            tail = self._read_log_end(plan.name)
            reason = blame_of(replace(scene, log_tail=tail))
            if not reason:
                raise
        else:
            tail = tail_of(self._folder.log)
            reason = blame_of(replace(scene, log_tail=tail))
        if reason:
            return self._lost(self._record, reason)
        return self._ended(self._record, ended, plan, tail)

    def _scene(self, record: Record, ended: ContainerExit, plan: ContainerPlan) -> Scene:
        tools = self._tools
        free = [size for size in (self._least_free, tools.free_bytes()) if size is not None]
        self._least_free = min(free, default=None)  # there may be room again when the log can be saved
        return Scene(
            ended,
            tools.engine.info(),
            record.life,
            saw_running=self._seen is not None and self._seen == record.life,
            was_there=self._was_there,
            ending=record.ending,
            has_gpu=bool(plan.gpu_uuids),
            free_bytes=self._least_free,
            min_free_bytes=tools.policy.min_free_bytes,
        )

    def _save_log(self, name: str) -> None:
        self._folder.create()  # it is there, unless somebody removed it while the container ran
        self._tools.engine.save_log(name, self._folder.log, stop=self._stop)

    def _read_log_end(self, name: str) -> str:
        end = b""
        for piece in self._tools.engine.read_log(name, follow=False, stop=self._stop):
            end = (end + piece)[-_LOG_TAIL_BYTES:]
        return _last_lines(end.decode("utf-8", "replace"))

    def _ended(self, record: Record, ended: ContainerExit, plan: ContainerPlan, tail: str) -> Record:
        outcome = outcome_of(ended, plan.memory_mib, tail, record.ending)
        self._blame = ""
        self._log.info("Container %s ended: %s.", plan.name, outcome.reason or "exit code 0")
        return replace(with_outcome(record, outcome), phase=Phase.STAGING_OUT)

    def _lost(self, record: Record, reason: str) -> Record:
        after = after_loss(record, reason)
        then = "giving the job back" if after.phase is Phase.REPORTING else "starting anew"
        self._log.warning("Not the job's fault: %s; %s.", reason, then)
        self._blame = reason
        self._seen = self._least_free = None
        return after

    def _stuck(self, record: Record, trouble: Unkillable) -> Record:
        """Nothing ends it: what it has written is delivered, and the slot is taken until it is removed."""
        if not record.ending:
            raise trouble
        self._log.error("%s; delivering what there is.", trouble)
        with suppress(HostTrouble):
            self._tools.engine.save_log(container_name(record.job_id), self._folder.log, stop=self._stop)
        self._blame = str(trouble)
        outcome = Outcome(Verdict.ERROR, record.ending, log_tail=tail_of(self._folder.log))
        return replace(with_outcome(record, outcome), phase=Phase.STAGING_OUT)

    def _note_start(self, fact: ContainerFact, life: EngineLife) -> None:
        """Write down that it was seen running, and under which life of the engine."""
        record = self._record
        self._track.clear()
        self._track.began_at(fact.started_at)
        if fact.status in {ContainerStatus.RUNNING, ContainerStatus.PAUSED}:
            self._seen, self._was_there = life, True
        else:
            life = record.life or EngineLife()
        if not record.container_started:
            self._log.info("Container %s runs.", container_name(record.job_id))
            record = replace(record, container_started=True, attempts=record.attempts + 1)
        elif record.life == life:
            return
        self._keep(replace(record, life=life))

    def _keep(self, record: Record) -> None:
        """Write it down; what others write down of this attempt comes through here too."""
        self._save(record)
        self._record = record

    def _refuse(self, fact: ContainerFact | None) -> None:
        """Raise `NameTaken`."""
        if fact is not None:
            check_owner(fact, self._tools.journal.agent_id)

    def _move(self, record: Record, fact: ContainerFact | None) -> Move:
        return move_for(record, found_of(record, fact, self._tools.journal.agent_id))


def tail_of(path: Path) -> str:
    """The last lines of a log file, control characters left out."""
    return _last_lines(end_of(path, _LOG_TAIL_BYTES))


def end_of(path: Path, size_bytes: int) -> str:
    """The end of a log file as it is; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size_bytes))
            return file.read(size_bytes).decode("utf-8", "replace")
    except OSError:
        return ""


def _last_lines(text: str) -> str:
    text = "\n".join(text.removesuffix("\n").split("\n")[-LOG_TAIL_LINES:])
    return "".join(char for char in text if char.isprintable() or char == "\n").rstrip()
