"""Everything that a workstation may go through, at random, and the books balanced after it."""
