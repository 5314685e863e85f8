"""Which jobs have a folder on this machine."""

import os
import re
from pathlib import Path

from agent.adapters.job_folder_tree import disk_errors

_JOB_ID = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def list_job_folders(base: Path) -> frozenset[int]:
    """The ids by which folders are named there; files, links and odd names are nobody's. `DiskTrouble`."""
    with disk_errors(base):
        try:
            with os.scandir(base) as entries:
                return frozenset(
                    int(entry.name)
                    for entry in entries
                    if _JOB_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return frozenset()
