"""The marks that containers leave."""

from tests.chaos.facts import Run
from tests.chaos.ledger import runs_in


def test_marks_make_runs():
    """One for each container, in the order in which they began."""
    lines = ["begin aaa 10.5", "begin bbb 20.0", "end bbb 21.25"]
    assert runs_in(lines, 1000.0) == (Run("aaa", 1010.5), Run("bbb", 1020.0, 1021.25))
