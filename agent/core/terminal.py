"""Text from a job that must not do anything to the terminal it is shown on."""

import codecs
import re

# Colours and the like are left out; what else could move, hide, title or answer is shown as a character.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_UNFINISHED = re.compile(r"\x1b(\[[0-?]{0,60}[ -/]{0,10})?\Z")
_HARMLESS = frozenset("\n\t\r")
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in _HARMLESS}
_OTHERS = dict.fromkeys((*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_TABLE = {**_OTHERS, **_PICTURES}


class Disarmed:
    """Takes a text as bytes, piece by piece, and gives it as a terminal may have it.

    A carriage return stays, for progress bars: it can rewrite no line but its own.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = ""

    def __call__(self, piece: bytes, *, is_last: bool = False) -> str:
        """As much of the text as can be told by now; all that is left with the last piece."""
        text = _SEQUENCE.sub("", self._kept + self._decoder.decode(piece, final=is_last))
        cut = None if is_last else _UNFINISHED.search(text)
        self._kept = cut[0] if cut else ""
        return text[: len(text) - len(self._kept)].translate(_TABLE)
