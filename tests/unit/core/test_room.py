"""When a disk is too full for one more job."""

import pytest

from agent.core.room import Room, lack_of_room

GIB = 1024**3


def rooms(*free_gib, same_disk=False):
    uses = ("the journal", "jobs", "Docker's data")
    return [
        Room(use, f"/{number}", 1 if same_disk else number, int(free * GIB))
        for number, (use, free) in enumerate(zip(uses, free_gib, strict=False))
    ]


@pytest.mark.parametrize(
    ("found", "min_gib", "was_lacking", "text"),
    [
        ((), 10, False, ""),
        (rooms(10, 10, 10), 10, False, ""),
        (rooms(0, 0, 0), 0, False, ""),
        (rooms(0, 0, 0), 0, True, ""),
        (rooms(50, 50, 3.2), 10, False, "only 3.2 GiB are free on /2 (Docker's data; MIN_FREE_DISK_GIB=10)"),
        (rooms(9, 2, 3.2), 10, False, "only 2.0 GiB are free on /1 (jobs; MIN_FREE_DISK_GIB=10)"),
        (
            rooms(3, 3, 3, same_disk=True),
            10,
            False,
            "only 3.0 GiB are free on /0 (the journal and jobs and Docker's data; MIN_FREE_DISK_GIB=10)",
        ),
        (rooms(0.4), 0.5, False, "only 410 MiB are free on /0 (the journal; MIN_FREE_DISK_GIB=0.5)"),
        (rooms(10.5), 10, False, ""),
        (
            [Room("jobs", "/0", 0, int(10.5 * GIB))],
            10,
            True,
            "only 10 GiB are free on /0 (jobs; MIN_FREE_DISK_GIB=10, jobs are taken again from 11 GiB on)",
        ),
        (rooms(11), 10, True, ""),
        (rooms(101), 100, True, ""),
    ],
)
def test_the_fullest_disk_says_why(found, min_gib, was_lacking, text):
    """With its uses and the setting; once it lacked, a tenth more has to be free, 1 GiB at most."""
    assert lack_of_room(found, int(min_gib * GIB), was_lacking=was_lacking) == text
