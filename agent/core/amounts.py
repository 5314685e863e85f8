"""Sizes and times as a person says them."""

import time

_KIBI = 1024
_DAY_S = 86400
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_of(size_bytes: float) -> str:
    """`12 MiB`, `3.4 GiB`."""
    power = _power_of(size_bytes)
    return f"{_digits(max(size_bytes, 0.0) / _KIBI**power, power)} {_UNITS[power]}"


def share_text(done_bytes: float, total_bytes: float | None) -> str:
    """`3.1 of 10 GiB`, in the unit of the total; the size alone where nobody knows the total."""
    if total_bytes is None:
        return size_of(done_bytes)
    power = _power_of(total_bytes)
    return f"{_digits(max(done_bytes, 0.0) / _KIBI**power, power)} of {size_of(total_bytes)}"


def free_text(size_bytes: int) -> str:
    """`212 GB`: decimal, as disks are sold."""
    size_gb = size_bytes / 1e9
    return f"{size_gb:.1f} GB" if size_gb < 10 else f"{size_gb:.0f} GB"  # noqa: PLR2004  two digits say enough


def clock_text(at: float, now: float) -> str:
    """The local time of day, `14:02`; with its date if that was a day ago or more."""
    shape = "%H:%M" if abs(now - at) < _DAY_S else "%Y-%m-%d %H:%M"
    return time.strftime(shape, time.localtime(at))


def _power_of(size_bytes: float) -> int:
    power = 0
    while size_bytes >= _KIBI ** (power + 1) and power < len(_UNITS) - 1:
        power += 1
    return power


def _digits(size: float, power: int) -> str:
    return f"{size:.1f}" if power and size < 10 else f"{size:.0f}"  # noqa: PLR2004  two digits say enough
