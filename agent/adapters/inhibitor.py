"""A delay lock of systemd-logind: a machine that is told to go down waits a moment for an upload.

logind grants it to a service's user if polkit runs (every desktop has it; a bare server need not), waits
InhibitDelayMaxSec at most (5 s unless its configuration says more), and then goes on. Source:
https://systemd.io/INHIBITOR_LOCKS/, org.freedesktop.login1(5).
"""

import logging
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_END_S = 5.0
_TEXT_MAX_CHARS = 200


class LogindInhibitor:
    """Fulfils `ports_host.Inhibitor`: one lock for all blocks that run at the same time.

    The lock is held by a child that ends with our end of its stdin, however we end. A machine without
    systemd-inhibit, or one that refuses, is not asked for more than once.
    """

    def __init__(self, path: str = _PATH) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._users = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._is_refused = False

    @contextmanager
    def __call__(self, why: str) -> Iterator[None]:
        """Hold the lock until the block ends; the first of several says why."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._child = self._begin(why)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users and self._child is not None:
                    child, self._child = self._child, None
                    self._end(child)

    def _begin(self, why: str) -> "subprocess.Popen[bytes] | None":
        program, waiting = (shutil.which(name, path=self._path) for name in ("systemd-inhibit", "cat"))
        if self._is_refused or program is None or waiting is None:
            return None
        words = [program, "--what=shutdown", "--mode=delay", "--who=decode-agent", f"--why={why}", waiting]
        try:
            return subprocess.Popen(  # noqa: S603  programs of the system, named in our own code
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": self._path, "LC_ALL": "C.UTF-8"},  # ours may hold the password
                start_new_session=True,  # Ctrl-C is for the agent
            )
        except (OSError, RuntimeError, MemoryError) as error:
            log.debug("No lock against a shutdown: %s.", error)
            return None

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        """Let go of the lock; a child that does not end by itself is ended."""
        try:
            _, said = child.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            _, said = child.communicate()
        if child.returncode > 0 and not self._is_refused:
            self._is_refused = True
            text = said.decode(errors="replace").strip()[:_TEXT_MAX_CHARS]
            log.info(
                "logind holds no shutdown up for uploads (it needs polkit for that): %s.", text or "refused"
            )
