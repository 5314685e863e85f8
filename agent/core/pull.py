"""What the events of an image pull add up to."""

import json
from collections.abc import Callable, Iterable, Iterator


def pulled(lines: Iterable[bytes], fault_of: Callable[[str], Exception]) -> Iterator[int]:
    """How many bytes more each event of POST /images/create speaks of, over all layers.

    Less than 0 where a layer begins anew. Raises what `fault_of` makes of an error among the events.
    """
    here: dict[str, int] = {}
    totals: dict[str, int] = {}
    for line in lines:
        event = json.loads(line)
        if "error" in event:
            raise fault_of(str(event["error"]))
        layer, detail = str(event.get("id", "")), event.get("progressDetail") or {}
        match event.get("status"):
            case "Downloading":
                totals[layer] = int(detail.get("total", 0))
                size_bytes = int(detail.get("current", 0))
            case "Download complete":  # Docker leaves out most of the events before it
                size_bytes = totals.get(layer, 0)
            case _:  # a layer is being unpacked, say: nothing came, but something moves
                yield 0
                continue
        yield size_bytes - here.get(layer, 0)
        here[layer] = size_bytes
