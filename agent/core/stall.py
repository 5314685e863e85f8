"""Whether a job still does something: it writes, or uses the processor or its GPU.

A job may be silent for hours and a program that hangs may still turn over now and then, so this is a reason
to tell a person, never one to end the job.
"""

from dataclasses import dataclass

from agent.core.engine_models import Activity

STALLED = "no output and no CPU or GPU use"

_IDLE_CPU_SHARE = 0.01
"""Of one core: a program that waits in vain may wake up a hundred times a second and still use less."""

_IDLE_GPU_PERCENT = 1.0
_SAMPLES_IN_LIMIT = 6
_SLOWEST_S = 300.0
_FASTEST_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a container had done at `at` (monotonic seconds). `gpu_percent`: None where nobody knows."""

    at: float
    activity: Activity
    gpu_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Stillness:
    """Since when (monotonic seconds) nothing has moved, as far as the samples tell."""

    since: float
    last: Sample

    @property
    def lasted_s(self) -> float:
        """How long, up to the last sample."""
        return self.last.at - self.since


def is_moving(before: Sample, now: Sample) -> bool:
    """Whether something was done between two samples."""
    used_s = now.activity.cpu_s - before.activity.cpu_s
    return (
        now.activity.output_mark != before.activity.output_mark
        or used_s >= _IDLE_CPU_SHARE * (now.at - before.at) > 0
        or (now.gpu_percent or 0.0) >= _IDLE_GPU_PERCENT
    )


def after_sample(before: Stillness | None, now: Sample) -> Stillness:
    """What one more sample says; None before the first."""
    if before is None or is_moving(before.last, now):
        return Stillness(now.at, now)
    return Stillness(before.since, now)


def is_stalled(still: Stillness | None, limit_s: float) -> bool:
    """Whether it is time to tell; `limit_s` of 0 means never."""
    return still is not None and 0 < limit_s <= still.lasted_s


def pace_s(limit_s: float) -> float:
    """Seconds from one sample to the next, for a limit that is not 0."""
    return min(max(limit_s / _SAMPLES_IN_LIMIT, _FASTEST_S), _SLOWEST_S)
