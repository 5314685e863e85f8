"""What can be written behind `decode-agent`, and its help."""

import argparse
from collections.abc import Sequence

from agent import __version__
from agent.cli import arguments_account, arguments_doctor, arguments_service
from agent.cli.options import Commands, add_common, plain

_ABOUT = """\
Makes this machine a worker of DECODE OpenCloud: takes jobs from the API, downloads their
inputs, runs each as a container on this machine's Docker, and uploads what comes out.
"""

_MORE = """\
examples:
  decode-agent status                     what the service does; why nothing runs if nothing runs
  decode-agent logs 123 -f                what job 123 writes
  decode-agent pause                      take no further job until `decode-agent resume`
  sudo decode-agent doctor                prove that jobs would run; how to mend what is not right
  sudo decode-agent login                 keep the account's password for the service
  decode-agent check                      the settings, the account and Docker, without a container
  decode-agent run --once                 without a service: take one job, end when it is done
  DECODE_LOG_LEVEL=debug decode-agent run --env-file lab.env

settings:
  Each has a name such as API_URL. It is taken from DECODE_API_URL in the environment, else from
  the env file, else from API_URL in the environment. The env file is the one of --env-file, else
  ./.env, else /etc/decode-agent/agent.env. Required is API_URL; .env.example explains all of them.
  The account's password is kept by `sudo decode-agent login`, or set as USERNAME and PASSWORD.

exit codes:
  0    done, or all is well
  1    a check failed, or something unexpected happened
  2    the command line is wrong
  3    the agent does not run (status)
  4    the agent runs, but something is in its way (status)
  77   the account is not confirmed as a worker yet (login, whoami)
  78   a setting or the credentials are wrong: only a person can mend that
  79   drained: the agent has ended because its owner asked for that (drain --exit)
  130  interrupted
"""

_RUN = """\
Works in the foreground until it is asked to stop (Ctrl-C, SIGTERM). Stopping takes a moment and
leaves running containers alone: the next start adopts them and finishes their jobs.
"""

_CHECK = """\
Says for the settings, the folders, the login, the API and Docker whether they work, and how to mend
what does not. It takes no job and changes nothing.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; `command` is the function to call with them. Exits by itself on --help and mistakes."""
    return _parser().parse_args(argv)


def _parser() -> argparse.ArgumentParser:
    parser = plain(argparse.ArgumentParser(prog="decode-agent", description=_ABOUT, epilog=_MORE))
    parser.add_argument("--version", action="version", version=f"decode-agent {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    arguments_doctor.add(commands)
    arguments_account.add(commands)
    arguments_service.add(commands)
    return parser


def _add_run(commands: Commands) -> None:
    parser = plain(commands.add_parser("run", help="take jobs and run them", description=_RUN))
    add_common(parser)
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--once", action="store_true", help="take one job, end when it is done")
    until.add_argument("--until-idle", action="store_true", help="end when there is no job any more")
    parser.add_argument("--json-logs", action="store_true", help="log one JSON object per line")
    parser.set_defaults(command=_run)


def _add_check(commands: Commands) -> None:
    parser = plain(commands.add_parser("check", help="see whether all is set up", description=_CHECK))
    add_common(parser)
    parser.add_argument("--json", action="store_true", help="answer as one JSON object")
    parser.set_defaults(command=_check)


def _run(arguments: argparse.Namespace) -> int:
    from agent.cli.run import run  # noqa: PLC0415  --help must work without what the command needs

    return run(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from agent.cli.check import check  # noqa: PLC0415  same

    return check(arguments)
