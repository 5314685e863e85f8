"""What a job writes cannot do anything to the terminal it is shown on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.terminal import Disarmed


def shown(*pieces):
    disarmed = Disarmed()
    return "".join(disarmed(piece) for piece in pieces) + disarmed(b"", is_last=True)


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (b"epoch 1\tloss 0.3\n", "epoch 1\tloss 0.3\n"),
        (b"10 %\r20 %\r", "10 %\r20 %\r"),
        ("Größe 5 µm ✓\n".encode(), "Größe 5 µm ✓\n"),
        (b"\x1b[31mred\x1b[0m \x1b[1;32mgreen\x1b[m", "red green"),
        (b"\x1b[2J\x1b[H", ""),
        (b"\x1b]0;title\x07", "␛]0;title␇"),
        (b"\x1bP+q\x1b\\", "␛P+q␛\\"),
        (b"a\x00b\x08c\x7fd", "a␀b␈cd"),
        ("\x9b31m\x85\u2028\u202e".encode(), "31m"),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
        (b"ends with \x1b", "ends with ␛"),
        (b"ends with \x1b[31", "ends with ␛[31"),
        (b"\x1b[" + b"1;" * 1000 + b"m", ""),
    ],
)
def test_what_is_seen(written, seen):
    """Text, tabs and progress bars stay; colours go; the rest becomes a picture of itself, or nothing."""
    assert shown(written) == seen


@pytest.mark.parametrize("cut", range(20))
def test_pieces_may_end_anywhere(cut):
    """In the middle of a character or of a sequence."""
    text = "ä\x1b[1;31mrot\x1b[0m ✓\n".encode()
    assert shown(text[:cut], text[cut:]) == "ärot ✓\n"


def test_what_can_be_told_is_told_at_once():
    """Only the beginning of a sequence is held back."""
    disarmed = Disarmed()
    assert disarmed(b"line 1\nhalf") == "line 1\nhalf"
    assert disarmed(b" a line\x1b[3") == " a line"
    assert disarmed(b"1mred") == "red"
    assert disarmed(b"\x1b[" + b"1" * 100) == "␛[" + "1" * 100


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_nothing_harmful_passes(pieces):
    """Whatever is written, in whatever pieces."""
    assert all(char.isprintable() or char in "\n\t\r" or ord(char) > 0xFF for char in shown(*pieces))
    assert "\x1b" not in shown(*pieces)
