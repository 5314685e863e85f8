"""The command line of ``python -m mock_api``."""

import argparse
import os
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"

_EXAMPLES = """\
a whole session, in three terminals:
  python -m mock_api serve
  API_URL=http://127.0.0.1:8000 ACCESS_TOKEN=worker1-token decode-agent run --once
  python -m mock_api submit --image debian:12 --cmd 'wc -l $(find /files/data -name "*.csv")' \\
      --cmd '> /files/output/lines.txt' --file data/frames.csv=./frames.csv --outputs ./results

exit codes: 0 done (with --watch: the job finished), 1 the job ended with error, 2 wrong usage,
  3 the stand-in cannot be reached or refuses, 4 the job was deleted, 5 --timeout passed
"""


class UsageError(Exception):
    """What was asked for cannot be done; the message is one line for a person."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m mock_api",
        description="A stand-in of DECODE OpenCloud's worker-facing API: serve it, and be its user.",
        epilog=_EXAMPLES,
        formatter_class=shape,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|submit|jobs|cancel")
    serve = commands.add_parser("serve", help="run the stand-in until it is stopped", formatter_class=shape)
    _add_serve_options(serve)
    submit = commands.add_parser(
        "submit", help="submit a job with its files; watch it, fetch its outputs", formatter_class=shape
    )
    _add_submit_options(submit)
    jobs = commands.add_parser("jobs", help="list the jobs")
    jobs.add_argument("--json", action="store_true", help="everything, with each job's history, as JSON")
    cancel = commands.add_parser("cancel", help="delete a job, as its user would")
    cancel.add_argument("id", help="the job's id, as `jobs` shows it")
    for command in (submit, jobs, cancel):
        command.add_argument(
            "--api",
            default=os.environ.get("MOCK_API_URL", DEFAULT_URL),
            metavar="URL",
            help="where the stand-in is (default: $MOCK_API_URL, else %(default)s)",
        )
    return parser


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Runs until SIGINT or SIGTERM. Nothing is kept, unless --root names a folder."
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, help="port of the API; 0 for any free one (default: %(default)s)")
    add("--storage", choices=("local", "s3"), default="local", help="where files lie (default: %(default)s)")
    add("--storage-port", type=int, default=0, help="port of the S3-like storage (default: any free one)")
    add(
        "--data-root",
        default="/user_data",
        metavar="PATH",
        help="beginning of local file ids; a relative one: ../user_data (default: %(default)s)",
    )
    add("--root", type=Path, metavar="DIR", help="keep the files here (default: a folder removed at the end)")
    add("--token-life", type=float, default=3600, metavar="S", help="life of a token (default: %(default)s)")
    add("--url-life", type=float, default=600, metavar="S", help="life of an S3 URL (default: %(default)s)")
    add(
        "--job-timeout",
        type=float,
        default=300,
        metavar="S",
        help="a silent job goes back to the queue after",
    )
    add(
        "--account",
        action="append",
        default=[],
        metavar="NAME:PASSWORD[:GROUP,…[:TOKEN]]",
        help="one more account (default groups: users,workers); TOKEN works as ACCESS_TOKEN for ever",
    )
    add("--ready-file", type=Path, metavar="FILE", help="write the API's URL here once it listens")


def _add_submit_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Submits a job and prints its id; with --watch or --outputs stays until it is over."
    parser.epilog = _EXAMPLES
    add = parser.add_argument
    add("--image", help="the image to run")
    add("--cmd", action="append", metavar="TEXT", help="the command; several are joined with spaces")
    add(
        "--file",
        action="append",
        default=[],
        metavar="LOCAL=HOST",
        help="input: path in the job's folder=file",
    )
    add("--env", action="append", default=[], metavar="K=V", help="environment of the job")
    add("--output", default="output", metavar="PATH", help="outputs are collected here; '' for none")
    add("--log", default="log", metavar="PATH", help="logs are collected here; '' for none")
    add("--artifact", default="model", metavar="PATH", help="artifacts are collected here; '' for none")
    add("--memory", type=int, default=1, metavar="MIB", help="memory the job needs (default: %(default)s)")
    add("--cpus", type=int, default=1, metavar="N", help="cores the job needs (default: %(default)s)")
    add("--gpu-mem", type=int, default=0, metavar="MIB", help="GPU memory it needs (default: %(default)s)")
    add(
        "--environment",
        choices=("local", "cloud", "any"),
        default="local",
        help="where (default: %(default)s)",
    )
    add("--priority", type=int, default=5, metavar="N", help="higher comes first (default: %(default)s)")
    add("--spec", type=Path, metavar="FILE", help="JSON of a whole JobSpecs in place of the options above")
    add("--unchecked", action="store_true", help="serve the job as it stands, however malformed")
    add("--watch", action="store_true", help="print each change until the job is over")
    add("--outputs", type=Path, metavar="DIR", help="watch, then fetch what was uploaded into DIR")
    add("--timeout", type=float, metavar="S", help="stop watching after so long")
