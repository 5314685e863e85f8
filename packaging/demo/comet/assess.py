"""How near the drift that the job found is to the drift that was put in."""

import argparse
import csv
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


def read(path: Path) -> Floats:
    """Drift by frame (frames, 3) in nm, the frames in order."""
    with path.open(newline="", encoding="ascii") as file:
        rows = [
            [float(row[name]) for name in ("frame", "x [nm]", "y [nm]", "z [nm]")]
            for row in csv.DictReader(file)
        ]
    table = np.array(rows)
    return np.asarray(table[np.argsort(table[:, 0]), 1:])


def error_of(found: Floats, truth: Floats) -> Floats:
    """RMSE (3,) in nm; a constant offset means nothing, as nobody knows where the sample began."""
    frames = min(len(found), len(truth))
    off = found[:frames] - truth[:frames]
    return np.asarray(np.sqrt(((off - off.mean(0)) ** 2).mean(0)))


def main() -> int:
    """Print the figures; 1 if the job's outputs are not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("truth", type=Path)
    args = parser.parse_args()
    for name in ("corrected.csv", "drift.csv", "drift.png"):
        if not any(args.outputs.rglob(name)):
            print(f"the job left no {name} in {args.outputs}", file=sys.stderr)
            return 1
    truth = read(args.truth / "drift.csv")
    error = error_of(read(next(args.outputs.rglob("drift.csv"))), truth)
    spread = np.ptp(truth, axis=0)
    for axis, reach, off in zip("xyz", spread, error, strict=True):
        print(f"{axis}: known drift spans {reach:.0f} nm, recovered with an RMSE of {off:.1f} nm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
