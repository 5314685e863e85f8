"""What can be written behind the commands that talk to the running service."""

import argparse
from pathlib import Path

from agent.cli.options import Commands, plain

# Written out, for what core.control_api imports would slow down every --help.
SOCKET_PATH = "/run/decode-agent/control.sock"
HISTORY_MAX = 10_000
_REASON, _REASON_MAX_CHARS = "released by this machine's owner", 200
_LIMIT = 20
_STATE_DIR = "/var/lib/decode-agent"

_STATUS = """\
Shows what the service does: each job under way with its phase and progress, why no job is taken if
none is, what is in the way, and how the last jobs ended.
"""

_STATUS_MORE = """\
exit codes:
  0    it runs, and nothing is in its way
  1    it does not answer, or not to this user
  3    it does not run
  4    it runs, but something is in the way: Docker or the API does not answer, the login is refused
"""

_JOBS = """\
Lists the jobs that are over, the last first. Where the service is down, root reads them from its
journal.
"""

_LOGS = """\
Prints what the job's container wrote: all of it while the job is under way, the last 64 KiB of one
that is over (kept for the last 200 jobs).
"""

_PAUSE = """\
Takes no further job until `decode-agent resume`; jobs under way go on. Outlives restarts.
"""

_RESUME = """\
Takes jobs again after `pause` or `drain`.
"""

_DRAIN = """\
Takes no further job and waits until none runs. It stays like that until `decode-agent resume`, also
over restarts and if the waiting is interrupted. With --exit the service ends then; the next start
takes jobs again.
"""

_RELEASE = """\
Gives jobs under way (all if none is named) back to the queue, for you want the machine now: ends
and removes their containers, and takes no further job until `decode-agent resume`. What they have
done so far is lost; they start anew on another machine. A job whose container has ended is left to
upload its outputs. Returns when the containers are gone.
"""

_RELOAD = """\
Has the service read its settings again, without touching jobs. If one of them is wrong nothing
changes, and the exit code is 78. This is what `systemctl reload decode-agent` does.
"""


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = _added(commands, "status", "show what the service does", _STATUS)
    parser.epilog = _STATUS_MORE
    parser.add_argument("--json", action="store_true", help="answer as one JSON object")
    parser.add_argument("--watch", action="store_true", help="show it again every 2 s")
    parser.set_defaults(command=_status)
    _add_jobs(commands)
    _add_logs(commands)
    _added(commands, "pause", "take no further job", _PAUSE).set_defaults(command=_pause)
    _added(commands, "resume", "take jobs again", _RESUME).set_defaults(command=_resume)
    parser = _added(commands, "drain", "take no further job, wait until none runs", _DRAIN)
    parser.add_argument("--exit", action="store_true", help="end the service when no job runs any more")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for that")
    parser.set_defaults(command=_drain)
    _add_release(commands)
    _added(commands, "reload", "read the settings again", _RELOAD).set_defaults(command=_reload)


def _add_jobs(commands: Commands) -> None:
    parser = _added(commands, "jobs", "list the jobs that are over", _JOBS)
    parser.add_argument(
        "--limit", type=_limit, default=_LIMIT, metavar="N", help=f"so many at most (default {_LIMIT})"
    )
    parser.add_argument("--json", action="store_true", help="answer as one JSON array")
    _add_state_dir(parser)
    parser.set_defaults(command=_jobs)


def _add_logs(commands: Commands) -> None:
    parser = _added(commands, "logs", "print a job's log", _LOGS)
    parser.add_argument("job", type=_job_id, metavar="JOB", help="the job's id")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job's container ends")
    _add_state_dir(parser)
    parser.set_defaults(command=_logs)


def _add_release(commands: Commands) -> None:
    parser = _added(commands, "release", "give jobs back to the queue at once", _RELEASE)
    parser.add_argument("jobs", type=_job_id, nargs="*", metavar="JOB", help="the ids of the jobs")
    about = f"what its user is told, one line (default: {_REASON})"
    parser.add_argument("--reason", type=_reason, default=_REASON, metavar="TEXT", help=about)
    parser.add_argument("--yes", action="store_true", help="do not ask whether this is meant")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the containers are gone")
    parser.set_defaults(command=_release)


def _added(commands: Commands, name: str, about: str, description: str) -> argparse.ArgumentParser:
    parser = plain(commands.add_parser(name, help=about, description=description))
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help=f"the service's control socket (default {SOCKET_PATH})"
    )
    parser.set_defaults(log_level=None)
    return parser


def _add_state_dir(parser: argparse.ArgumentParser) -> None:
    about = f"where the journal is that is read if the service is down (default {_STATE_DIR})"
    parser.add_argument("--state-dir", type=Path, default=Path(_STATE_DIR), metavar="DIR", help=about)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < len("1000000") and int(text) <= HISTORY_MAX):
        raise argparse.ArgumentTypeError(f"it must be a number up to {HISTORY_MAX}, not {text!r}")
    return int(text)


def _reason(text: str) -> str:
    if not (0 < len(text.strip()) <= _REASON_MAX_CHARS and text.isprintable()):
        raise argparse.ArgumentTypeError(f"it must be one line of up to {_REASON_MAX_CHARS} characters")
    return text.strip()


def _job_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len("999999999999999999")):
        raise argparse.ArgumentTypeError(f"a job id is a number, not {text!r}")
    return int(text)


def _status(arguments: argparse.Namespace) -> int:
    from agent.cli.status import status  # noqa: PLC0415  --help must work without what the command needs

    return status(arguments)


def _jobs(arguments: argparse.Namespace) -> int:
    from agent.cli.jobs import jobs  # noqa: PLC0415  same

    return jobs(arguments)


def _logs(arguments: argparse.Namespace) -> int:
    from agent.cli.logs import logs  # noqa: PLC0415  same

    return logs(arguments)


def _pause(arguments: argparse.Namespace) -> int:
    from agent.cli.steer import pause  # noqa: PLC0415  same

    return pause(arguments)


def _resume(arguments: argparse.Namespace) -> int:
    from agent.cli.steer import resume  # noqa: PLC0415  same

    return resume(arguments)


def _drain(arguments: argparse.Namespace) -> int:
    from agent.cli.steer import drain  # noqa: PLC0415  same

    return drain(arguments)


def _release(arguments: argparse.Namespace) -> int:
    from agent.cli.release import release  # noqa: PLC0415  same

    return release(arguments)


def _reload(arguments: argparse.Namespace) -> int:
    from agent.cli.steer import reload  # noqa: PLC0415  same

    return reload(arguments)
