"""What the disks have left where the state, the jobs' files and Docker's data lie."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from agent.core.errors import EngineTrouble
from agent.core.room import Room
from agent.ports import Engine

log = logging.getLogger(__name__)


class Disks:
    """The disks below these folders, by what they are used for, and below that of the engine's data.

    Where Docker keeps its data is asked once for each time that Docker is there again.
    """

    def __init__(self, uses: Mapping[str, Path], engine: Engine) -> None:
        self._uses = dict(uses)
        self._engine = engine
        self._docker_root = ""
        self._is_asked = False

    def rooms(self, is_engine_there: bool) -> tuple[Room, ...]:  # noqa: FBT001  a port with one question
        """What each has left; without Docker's while it does not answer. What cannot be read is left out."""
        if not is_engine_there:
            self._is_asked = False
        elif not self._is_asked:
            self._ask()
        docker = {"Docker's data": Path(self._docker_root)} if self._is_asked and self._docker_root else {}
        return tuple(
            room
            for use, path in (self._uses | docker).items()
            if (room := _room_at(use, path, may_be_made=use not in docker)) is not None
        )

    def least_free_bytes(self) -> int | None:
        """The least of them, by what is known without asking; None if nothing is."""
        docker = [Path(self._docker_root)] if self._docker_root else []
        found = [_room_at("", path, may_be_made=True) for path in (*self._uses.values(), *docker)]
        return min((room.free_bytes for room in found if room is not None), default=None)

    def _ask(self) -> None:
        try:
            self._docker_root = self._engine.info().data_root
        except EngineTrouble as trouble:
            log.warning("Where Docker keeps its data is not known: %s.", trouble)
            return
        self._is_asked = True


def _room_at(use: str, path: Path, *, may_be_made: bool) -> Room | None:
    """The disk of the folder, or of where it would be made."""
    for folder in (path, *path.parents) if may_be_made else (path,):
        try:
            return Room(use, str(path), folder.stat().st_dev, shutil.disk_usage(folder).free)
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
