"""What the events of an image pull add up to."""

import json
from collections.abc import Callable, Iterable, Iterator


def pulled(lines: Iterable[bytes], fault_of: Callable[[str], Exception]) -> Iterator[int]:
    """How many bytes more each event of POST /images/create speaks of, over all layers.

    Less than 0 where a layer begins anew. Raises what `fault_of` makes of an error among the events.
    """
    layers: dict[str, int] = {}
    for line in lines:
        event = json.loads(line)
        if "error" in event:
            raise fault_of(str(event["error"]))
        size_bytes = (event.get("progressDetail") or {}).get("current")
        if event.get("status") != "Downloading" or not isinstance(size_bytes, int):
            continue
        layer = str(event.get("id", ""))
        more = size_bytes - layers.get(layer, 0)
        layers[layer] = size_bytes
        yield more
