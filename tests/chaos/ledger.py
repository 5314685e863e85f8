"""What containers say of themselves, in a folder of the machine that no agent knows of.

dockerd runs every container by a runtime that adds one mount, `/ledger`, and is runc else. So each run of a
job is on record, whatever becomes of the agent, its folders, the container and the daemon.
"""

import stat
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tests.chaos.facts import Run

_RUNTIME = """#!/bin/sh
for word; do
    [ "$before" != --bundle ] || bundle=$word
    before=$word
done
case " $* " in *" create "*)
    mount='{"destination":"/ledger","type":"bind","source":"LEDGER","options":["rbind","rw"]}'
    sed -i "s#\\"mounts\\":\\[#\\"mounts\\":[$mount,#" "$bundle/config.json"
    ;;
esac
exec runc "$@"
"""


class Ledger:
    """The folder, and the runtime that shows it to containers."""

    def __init__(self, folder: Path) -> None:
        self._marks = folder / "ledger"
        self._marks.mkdir()
        self._marks.chmod(0o1777)
        self.runtime = folder / "runtime"
        self.runtime.write_text(_RUNTIME.replace("LEDGER", str(self._marks)))
        self.runtime.chmod(self.runtime.stat().st_mode | stat.S_IXUSR)

    @property
    def engine_config(self) -> dict[str, object]:
        """What dockerd's configuration must hold."""
        return {"default-runtime": "ledger", "runtimes": {"ledger": {"path": str(self.runtime)}}}

    def runs_of(self, job: str) -> tuple[Run, ...]:
        """The runs of a job, the first one first."""
        try:
            lines = (self._marks / job).read_text().splitlines()
        except FileNotFoundError:
            return ()
        return runs_in(lines, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))

    def running(self) -> list[tuple[str, str]]:
        """Job and container of each run that has begun and not ended, the oldest first."""
        found = [
            (run.began_at, file.name, run.container)
            for file in self._marks.iterdir()
            for run in self.runs_of(file.name)
            if run.ended_at is None
        ]
        return [(job, container) for _, job, container in sorted(found)]


def runs_in(lines: Iterable[str], boot_at: float) -> tuple[Run, ...]:
    """The runs that the marks of one job tell of; `boot_at`: unix seconds at an uptime of 0."""
    runs: dict[str, Run] = {}
    for line in lines:
        word, container, up = line.split(" ")
        at = boot_at + float(up)
        if word == "begin":
            runs[container] = Run(container, at)
        else:
            runs[container] = replace(runs[container], ended_at=at)
    return tuple(runs.values())
