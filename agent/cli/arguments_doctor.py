"""What can be written behind `doctor`."""

import argparse

from agent.cli.options import Commands, add_common, plain

_DOCTOR = """\
Proves that jobs would run here: looks at the service, its credentials, the API, the clock, Docker, the
GPUs, disks, updates and proxies, starts a small program under the service's own conditions and a small
container like a job's, and says how to mend what does not work. It takes no job, needs no registry, and
leaves nothing behind. Run it as root; without, it skips what it may not see.

It looks at the settings of the service where there is one, else at those that `run` would use here.
"""

_MORE = """\
exit codes:
  0    all is well, or there are warnings only
  1    something failed
  78   a setting is wrong
"""


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = plain(
        commands.add_parser("doctor", help="prove that jobs would run", description=_DOCTOR, epilog=_MORE)
    )
    add_common(parser)
    parser.add_argument("--json", action="store_true", help="answer as one JSON object")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="mend what is harmless: enable and start the service, set the clock by the network,"
        " keep needrestart away; each is said, and Docker is never touched",
    )
    parser.add_argument("--no-container", action="store_true", help="run no test container")
    parser.add_argument("--from-unit", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from agent.cli.doctor import doctor  # noqa: PLC0415  --help must work without what the command needs

    return doctor(arguments)
