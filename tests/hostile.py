"""How hypothesis looks for what breaks the agent: the same examples every time, or so many new ones.

HOSTILE_EXAMPLES=2000 .venv/bin/pytest tests/unit/test_hostile_world.py
"""

import os

from hypothesis import HealthCheck, settings

MORE = int(os.environ.get("HOSTILE_EXAMPLES", "0"))


def tries(examples: int) -> settings:
    """For tests that touch sockets and disks: no deadlines, and nothing is left behind in the tree."""
    return settings(
        max_examples=MORE or examples,
        derandomize=not MORE,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
