"""The agent's status and its past jobs as a person reads them: plain lines, times as people say them."""

from collections.abc import Iterator, Sequence

from agent.core.amounts import clock_text, free_text, share_text
from agent.core.lifecycle import duration_text
from agent.core.models import Phase
from agent.core.status import AgentStatus, JobStatus, Mode, PastJob, Trouble, health_of
from agent.core.wire import one_line

_TEXT_MAX_CHARS = 500
_IMAGE_MAX_CHARS = 60
_GAP = "  "
_HEADS = ("JOB", "VERDICT", "ENDED", "TOOK", "EXIT", "IMAGE", "REASON")


def overview_of(status: AgentStatus, now: float, width: int | None = None) -> list[str]:
    """All there is to know, the most important first; the table's lines are cut to `width`."""
    blocks = [list(_head(status, now))]
    blocks += [list(_job_lines(job, now)) for job in status.jobs]
    blocks += [list(_why_idle(status, now)), list(_in_the_way(status, now))]
    if status.recent:
        table = jobs_table(status.recent, now, None if width is None else width - len(_GAP))
        blocks.append(["last jobs", *(_GAP + line for line in table)])
    return [line for block in blocks if block for line in ("", *block)][1:]


def _head(status: AgentStatus, now: float) -> Iterator[str]:
    since = f"since {clock_text(status.started_at, now)} ({_ago(status.started_at, now)})"
    yield one_line(f"decode-agent {status.version} is {health_of(status)}, {since}, process {status.pid}")
    heard = "not heard yet" if status.api_heard_at is None else f"heard {_ago(status.api_heard_at, now)} ago"
    account = f" as {status.account}" if status.account else ""
    yield f"  api    {one_line(f'{status.api_url}{account}')}, {heard}"
    yield f"  jobs   {len(status.jobs)} of {status.slots} slots busy"
    if status.free_bytes is not None:
        yield f"  disk   {free_text(status.free_bytes)} free"
    yield f"  mode   {wish_text(status.mode)}"


def wish_text(mode: Mode) -> str:
    """What the owner asked for, and how to take it back."""
    match mode:
        case Mode.TAKING:
            return "takes jobs"
        case Mode.PAUSED:
            return "paused: takes no further job until `decode-agent resume`"
        case Mode.DRAINING:
            return "draining: takes no further job until `decode-agent resume`"
        case Mode.LEAVING:
            return "leaving: ends when no job runs; `decode-agent resume` takes it back"


def _job_lines(job: JobStatus, now: float) -> Iterator[str]:
    yield f"job {job.job_id}  {doing_text(job, now)}"
    gpus = f" ({', '.join(job.gpus)})" if job.gpus else ""
    claimed = f"claimed {clock_text(job.claimed_at, now)} ({_ago(job.claimed_at, now)} ago)"
    yield _GAP + one_line(f"{claimed}, slot {job.slot}{gpus}, {job.image or 'no image'}", _TEXT_MAX_CHARS)
    if job.trouble is not None:
        yield f"{_GAP}{_trouble_text(job.trouble, now)}"


def doing_text(job: JobStatus, now: float) -> str:
    """What becomes of the job now, how far that is and since when."""
    doing = {
        Phase.STAGING_IN: "downloading inputs" if job.doing else "preparing",
        Phase.RUNNING: "running",
        Phase.STAGING_OUT: "uploading outputs",
        Phase.REPORTING: "reporting",
        Phase.DONE: "cleaning up",
    }[job.phase]
    if job.doing.startswith("image "):
        doing = "pulling its image"
    lasting = f"{doing} for {_ago(job.phase_since, now)}"
    if not job.doing:
        return lasting
    share = share_text(job.done_bytes, job.total_bytes)
    percent = f", {100 * job.done_bytes // job.total_bytes} %" if job.total_bytes else ""
    return one_line(f"{lasting}: {job.doing} ({share}{percent})", _TEXT_MAX_CHARS)


def may_be_given_back(job: JobStatus) -> bool:
    """Whether the job may go back to the queue: its container has not ended yet."""
    return job.phase in {Phase.STAGING_IN, Phase.RUNNING}


def loss_text(job: JobStatus, now: float) -> str:
    """What is given up with the job, if it is given back now."""
    if not may_be_given_back(job):
        return f"Job {job.job_id} is {doing_text(job, now)}: its container has ended, it is left to that."
    lost = f"Job {job.job_id} was claimed {_ago(job.claimed_at, now)} ago, {doing_text(job, now)}"
    image = f" ({one_line(job.image, _IMAGE_MAX_CHARS)})" if job.image else ""
    return f"{lost}{image}: all of that is lost, it starts anew elsewhere."


def _why_idle(status: AgentStatus, now: float) -> Iterator[str]:
    """Why no job is taken, or, with nothing to do and nothing in the way, when the next look is."""
    if status.gates:
        yield "no job is taken now"
        yield from (_GAP + _trouble_text(gate, now) for gate in status.gates)
    elif not status.jobs:
        yield "no job is under way"
        if status.next_look_at is not None:
            left_s = max(0.0, status.next_look_at - now)
            yield f"{_GAP}nothing is in the way of one: next look for it in {duration_text(left_s)}"


def _in_the_way(status: AgentStatus, now: float) -> Iterator[str]:
    told = {gate.text for gate in status.gates}
    if left := [trouble for trouble in status.troubles if trouble.text not in told]:
        yield "in the way"
        yield from (_GAP + _trouble_text(trouble, now) for trouble in left)


def _trouble_text(trouble: Trouble, now: float) -> str:
    return f"{one_line(trouble.text, _TEXT_MAX_CHARS)} (since {clock_text(trouble.since, now)})"


def jobs_table(jobs: Sequence[PastJob], now: float, width: int | None = None) -> list[str]:
    """Past jobs under headings, aligned, each on one line that is cut to `width`."""
    rows = [_HEADS, *(_row(job, now) for job in jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        _GAP.join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return [
        line if width is None or len(line) <= width else f"{line[: max(1, width - 1)]}…" for line in lines
    ]


def _row(job: PastJob, now: float) -> tuple[str, ...]:
    return (
        str(job.job_id),
        one_line(job.verdict),
        clock_text(job.ended_at, now),
        duration_text(max(0.0, job.ended_at - job.claimed_at)),
        "" if job.exit_code is None else str(job.exit_code),
        one_line(job.image, _IMAGE_MAX_CHARS),
        one_line(job.reason, _TEXT_MAX_CHARS),
    )


def _ago(at: float, now: float) -> str:
    return duration_text(max(0.0, now - at))
