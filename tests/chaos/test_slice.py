"""A slice of chaos for every run of the tests; `python -m tests.chaos` makes longer ones with new seeds."""

import os
import time

import pytest

from tests.chaos.campaign import Campaign, table_of
from tests.engine_host import why_no_engine

MINUTES = float(os.environ.get("DECODE_CHAOS_MINUTES", "10"))
USUAL_SEED = 48
"""The storms of every run of the tests are the same; the moments at which they hit are not."""

_SLOWEST_STORM_S = 600
_SET_UP_S = 300


@pytest.mark.docker
@pytest.mark.chaos
@pytest.mark.timeout(MINUTES * 60 + _SLOWEST_STORM_S + _SET_UP_S)
def test_nothing_is_lost_in_storms(need, tell):
    """Whatever happens to agent, containers, dockerd, API, storage and disk: the books balance."""
    need(why_no_engine())
    seed = int(os.environ.get("DECODE_CHAOS_SEED", USUAL_SEED))
    lines = [f"chaos with seed {seed}"]
    total = Campaign(seed, lines.append).run(lambda so_far: time.time() - so_far.began_at < 60 * MINUTES)
    lines.append(table_of(total, f"DECODE_CHAOS_SEED={seed} ./tests/run tests/chaos"))
    assert total.violations == [], "\n".join(lines)
    assert total.jobs > 0
    assert total.kills > 0
    tell(
        f"chaos: seed {seed}, {len(total.results)} storms, {total.jobs} jobs, {total.kills} kills,"
        f" {sum(total.blows.values())} blows, nothing lost"
    )
