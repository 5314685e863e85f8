"""The jobs: what they are submitted with, and what must come of each."""

import hashlib
import random
from dataclasses import dataclass, field

from tests.chaos.plan import JobKind, JobPlan

FILES_UP = {"output": "output", "log": "log"}
MEMORY_MIB = 64
HOSTILE_NAMES = (
    "with space.txt",
    "ha#sh.txt",
    "qu?ery.txt",
    "per%20cent.txt",
    "plus+.txt",
    "uniçödé ☃.txt",
    "-dash.txt",
    "semi;colon&and=.txt",
)

# Each run leaves its marks where the agent has no hand in it: `tests.chaos.ledger`.
_MARK = 'mark() { read up rest < /proc/uptime; echo "$1 $HOSTNAME $up" >> /ledger/$CHAOS_JOB; }; mark begin;'
_COPY = "cp -r /files/data /files/output/ || exit 9"


@dataclass(frozen=True, slots=True)
class Expected:
    """How the job ends if nobody ends it: its exit code, what its reason begins with, its outputs by hash."""

    code: int
    reason: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChaosJob:
    """A job as it is submitted, and what must come of it."""

    plan: JobPlan
    command: str
    files: dict[str, bytes]
    expected: Expected


def make_job(plan: JobPlan) -> ChaosJob:
    """The job of a plan; the same plan makes the same bytes."""
    draw = random.Random(plan.seed)
    files = _inputs_of(plan.kind, draw)
    outputs = {f"output/{path}": hash_of(content) for path, content in files.items()}
    body, code, reason = f"sleep {plan.runs_s:.2f}; {_COPY}", 0, ""
    match plan.kind:
        case JobKind.FAILS:
            code, reason = 3, "exit code 3"
        case JobKind.OOM:
            body = f"{_COPY}; head -c 200m /dev/zero | tail"
            code, reason = 137, f"killed: out of memory (limit {MEMORY_MIB} MiB)"
        case JobKind.FORKS:
            body = f"(trap '' TERM; sleep 600) & (sleep 600 &) ; {body}"
        case JobKind.STUBBORN:
            body = f"trap '' TERM; {body}"
        case JobKind.MADE:
            lines = draw.randint(10, 20_000)
            body = f"sleep {plan.runs_s:.2f}; seq 1 {lines} | cat > /files/output/made || exit 9"
            content = "".join(f"{number}\n" for number in range(1, lines + 1))
            outputs = {"output/made": hash_of(content.encode())}
        case JobKind.QUICK | JobKind.HOSTILE | JobKind.MANY | JobKind.LARGE:
            pass
    command = f"{_MARK} {body}; mark end; exit {code}"
    return ChaosJob(plan, command, files, Expected(code, reason, outputs))


def _inputs_of(kind: JobKind, draw: random.Random) -> dict[str, bytes]:
    match kind:
        case JobKind.HOSTILE:
            return {f"data/{name}": draw.randbytes(200) for name in HOSTILE_NAMES}
        case JobKind.MANY:
            return {
                f"data/{at // 10}/{at}.bin": draw.randbytes(draw.randint(0, 2000))
                for at in range(draw.randint(20, 60))
            }
        case JobKind.LARGE:
            return {"data/large.bin": draw.randbytes(draw.randint(2, 6) << 20)}
        case JobKind.MADE:
            return {}
        case JobKind.QUICK | JobKind.FAILS | JobKind.OOM | JobKind.FORKS | JobKind.STUBBORN:
            return {"data/in.csv": draw.randbytes(draw.randint(1, 50_000))}


def hash_of(content: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(content).hexdigest()
