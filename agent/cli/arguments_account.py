"""What can be written behind `login`, `logout`, `whoami`."""

import argparse
from pathlib import Path

from agent.cli.options import Commands, add_common, plain

_LOGIN = """\
Asks for the user name and password of the worker's account (the password is not shown), checks them
against the login service and the API, keeps them where only this machine's service gets at them,
and restarts the service if it runs. Jobs under way are not harmed by that.

Run it with sudo for the service of this machine. Run as yourself it keeps them in the keyring of
your desktop (Secret Service), for a service of your own: see docs/credentials.md.
"""

_LOGIN_MORE = """\
examples:
  sudo decode-agent login                                  asks for both
  sudo decode-agent login --from lab.env                   USERNAME and PASSWORD, or ACCESS_TOKEN, in a file
  sudo decode-agent login --username w@lab.org --password-stdin < password.txt

exit codes:
  0    stored
  1    the API or the login service could not be asked, or the service did not start again
  77   right, but no administrator has made the account a worker yet (see --accept-unconfirmed)
  78   refused, or a setting is wrong
  Unless it ends with 0, or the restart failed, nothing was stored.
"""

_LOGOUT = """\
Empties the keyring. The service works on with what it has read until its next start, which then says
that there are no credentials.
"""

_WHOAMI = """\
Shows the account, where its credentials come from, its groups, how long its token is good, and whether
the API takes it as a worker.
"""

_WHOAMI_MORE = """\
exit codes:
  0    the API takes the account as a worker
  1    the API or the login service could not be asked
  77   no administrator has made the account a worker yet
  78   there are no credentials, or they are refused
"""


def add(commands: Commands) -> None:
    """Add the commands."""
    _add_login(commands)
    logout = plain(commands.add_parser("logout", help="forget the account", description=_LOGOUT))
    add_common(logout)
    logout.set_defaults(command=_logout)
    whoami = commands.add_parser(
        "whoami", help="show the account and its rights", description=_WHOAMI, epilog=_WHOAMI_MORE
    )
    add_common(plain(whoami))
    whoami.add_argument("--json", action="store_true", help="answer as one JSON object")
    whoami.set_defaults(command=_whoami)


def _add_login(commands: Commands) -> None:
    parser = commands.add_parser(
        "login", help="check and keep the account's password", description=_LOGIN, epilog=_LOGIN_MORE
    )
    add_common(plain(parser))
    parser.add_argument("--username", metavar="U", help="the account; asked for if it is not given")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
    source.add_argument("--from", type=Path, metavar="FILE", dest="source", help="take both from an env file")
    source.add_argument("--store-only", action="store_true", help=argparse.SUPPRESS)  # for install.sh
    parser.add_argument("--no-restart", action="store_true", help="leave the service as it is")
    parser.add_argument("--no-check", action="store_true", help="store without asking the API")
    parser.add_argument(
        "--accept-unconfirmed", action="store_true", help="store even if the account is no worker yet"
    )
    parser.set_defaults(command=_login)


def _login(arguments: argparse.Namespace) -> int:
    from agent.cli.login import login  # noqa: PLC0415  --help must work without what the command needs

    return login(arguments)


def _logout(arguments: argparse.Namespace) -> int:
    from agent.cli.login import logout  # noqa: PLC0415  same

    return logout(arguments)


def _whoami(arguments: argparse.Namespace) -> int:
    from agent.cli.whoami import whoami  # noqa: PLC0415  same

    return whoami(arguments)
