"""What a change of the settings means for an agent that runs."""

from collections.abc import Collection, Mapping

from agent.core.wire import one_line

_SHOWN_CHARS = 80


def sentences_of(
    running: Mapping[str, object],
    wanted: Mapping[str, object],
    live: Collection[str],
    secret: Collection[str],
) -> tuple[str, ...]:
    """A sentence for each setting that is wanted otherwise than it runs; no value of a secret one.

    `live`: the settings that can change while jobs run.
    """
    changed = [name for name in wanted if wanted[name] != running[name]]
    return tuple(
        f"{name} is {_shown(wanted[name])} now (was {_shown(running[name])})"
        if name in live and name not in secret
        else f"{name} has changed: takes effect at the next restart"
        for name in changed
    )


def _shown(value: object) -> str:
    if value is None or value == ():
        return "not set"
    if isinstance(value, tuple):
        return one_line(", ".join(map(str, value)), _SHOWN_CHARS)
    return one_line(f"{value:g}" if isinstance(value, float) else str(value), _SHOWN_CHARS)
