"""What the machine's owner asked for: kept in the journal, so that it outlives restarts."""

import logging
import threading
from collections.abc import Callable

from agent.core.errors import DiskTrouble
from agent.core.status import Mode
from agent.ports import Journal

log = logging.getLogger(__name__)


class Owner:
    """The owner's last wish; any thread may ask and steer. `ring` wakes who acts on it."""

    def __init__(self, journal: Journal) -> None:
        self.mode = Mode.TAKING
        self.ring: Callable[[], None] = lambda: None
        self._journal = journal
        self._lock = threading.Lock()

    def recall(self) -> None:
        """Take up what was asked for before the restart; a journal that cannot be read says nothing."""
        try:
            self.mode = self._journal.mode()
        except DiskTrouble as trouble:
            log.error("What the owner asked for last is unknown, taking jobs: %s.", trouble)  # noqa: TRY400  a sentence, no traceback
            return
        if self.mode is not Mode.TAKING:
            log.info("The owner's last word stands: %s.", self.mode)

    def steer(self, mode: Mode) -> None:
        """From now on, and after a restart, this. Raises `DiskTrouble`: nothing has changed."""
        with self._lock:
            self._journal.save_mode(mode)
            if mode is not self.mode:
                log.info("The owner asks for: %s.", mode)
            self.mode = mode
        self.ring()

    def may_leave(self) -> bool:
        """Whether the agent shall end now that no job runs; if so the next start takes jobs again."""
        with self._lock:
            if self.mode is not Mode.LEAVING:
                return False
            try:
                self._journal.save_mode(Mode.TAKING)
            except DiskTrouble as trouble:
                log.warning("Not leaving yet: %s.", trouble)
                return False
            self.mode = Mode.TAKING
            return True
