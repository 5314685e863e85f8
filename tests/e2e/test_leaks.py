"""What an agent holds does not grow with the jobs it has done; `python -m tests.bench.leaks` does 10,000."""

import pytest

from tests.bench.leaks import growth_of, measure, row_of


@pytest.mark.timeout(600)
def test_hundreds_of_jobs_leave_nothing(tell):
    """Memory, threads, descriptors, rows and folders are what they were after the warm-up."""
    found = measure(jobs=400, slots=4, steps=2, tell=lambda _: None)
    assert growth_of(found) == [], "\n".join(map(row_of, found))
    assert found[-1].history == 400
    tell(f"leaks: after {found[0].jobs} and {found[-1].jobs} jobs {found[0]}, {found[-1]}")
