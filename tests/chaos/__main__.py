"""A workstation in storm after storm: nothing may be lost.

    sudo python -m tests.chaos [--seed N] [--minutes M | --jobs N] [--storm N] [--json FILE]

Starts a Docker engine, a stand-in of the API and a real agent of its own, submits jobs and lets blows fall on
all of them at random: the agent, containers and dockerd killed, frozen and restarted, the API and the storage
failing in all their ways, the disk filled, the clock set, the owner and the users busy. After each storm the
books are balanced. The same seed makes the same plan. Ends with 1 if anything was lost.
"""

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from tests.chaos.campaign import Campaign, Total, json_of, table_of
from tests.engine_host import why_no_engine


def say(line: str) -> None:
    """To the terminal, at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


def main() -> int:
    """Storm; 1 if a violation was found, 2 if no engine can be started here."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="the plan to repeat; drawn if it is left out")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--minutes", type=float, help="begin no further storm after so many (default 10)")
    end.add_argument("--jobs", type=int, help="begin no further storm after so many jobs")
    parser.add_argument("--storm", type=int, default=0, help="the number of the first storm")
    parser.add_argument("--storms", type=int, help="so many storms at most")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--keep", action="store_true", help="keep the agents' logs also if all is well")
    arguments = parser.parse_args()
    if why := why_no_engine():
        say(why)
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = random.SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    say(f"seed {seed}")
    total = Campaign(seed, say, keep=arguments.keep).run(goes_on_until(arguments), arguments.storm)
    if arguments.json:
        arguments.json.write_text(json_of(total))
    sys.stdout.write(table_of(total, command_of(arguments, seed)) + "\n")
    if total.violations:
        say(f"seed {seed}: {len(total.violations)} violations")
    return 1 if total.violations else 0


def goes_on_until(arguments: argparse.Namespace):
    """What tells whether another storm is to come."""

    def goes_on(total: Total) -> bool:
        if arguments.storms is not None and len(total.results) >= arguments.storms:
            return False
        if arguments.jobs is not None:
            return total.jobs < arguments.jobs
        return time.time() - total.began_at < 60 * (arguments.minutes or 10)

    return goes_on


def command_of(arguments: argparse.Namespace, seed: int) -> str:
    """What repeats this run."""
    length = (
        f"--jobs {arguments.jobs}" if arguments.jobs is not None else f"--minutes {arguments.minutes or 10:g}"
    )
    return f"python -m tests.chaos --seed {seed} {length}"


if __name__ == "__main__":
    sys.exit(main())
