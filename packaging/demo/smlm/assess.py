"""How good the job's localizations are, against the positions that the frames were simulated from."""

import argparse
import csv
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

REACH_NM, FAINT_PHOTONS = 100.0, 300.0


def read(path: Path) -> Floats:
    """Rows of frame, x and y in nm, photons (n, 4), sorted by frame."""
    with path.open(newline="", encoding="ascii") as file:
        rows = [
            [float(row[name]) for name in ("frame", "x [nm]", "y [nm]", "intensity [photon]")]
            for row in csv.DictReader(file)
        ]
    table = np.array(rows).reshape(-1, 4)
    return table[np.argsort(table[:, 0], kind="stable")]


def pairs_of(found: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Rows of both, matched: in one frame, each the other's nearest, and nearer than REACH_NM."""
    ours, theirs = [], []
    for frame in np.intersect1d(found[:, 0], truth[:, 0]):
        here = slice(*np.searchsorted(found[:, 0], (frame, frame + 1)))
        there = slice(*np.searchsorted(truth[:, 0], (frame, frame + 1)))
        apart = np.hypot(*(found[here, None, axis] - truth[None, there, axis] for axis in (1, 2)))
        nearest = apart.argmin(1)
        rows = np.arange(len(nearest))
        mutual = (apart.argmin(0)[nearest] == rows) & (apart[rows, nearest] < REACH_NM)
        ours.append(found[here][mutual])
        theirs.append(truth[there][nearest[mutual]])
    return np.concatenate([*ours, np.empty((0, 4))]), np.concatenate([*theirs, np.empty((0, 4))])


def report(found: Floats, truth: Floats) -> list[str]:
    """Lines for a person: how many were found, how many were made up, how far off they are."""
    ours, theirs = pairs_of(found, truth)
    if not len(ours):
        return [f"none of {len(truth)} dye images was found within {REACH_NM:.0f} nm"]
    bright, bright_found = (np.count_nonzero(t[:, 3] >= FAINT_PHOTONS) for t in (truth, theirs))
    off = ours[:, 1:3] - theirs[:, 1:3]
    rmse = float(np.sqrt((off**2).mean()))
    alone = len(found) - len(ours)
    share = f"{100 * bright_found / bright:.1f} % of those with {FAINT_PHOTONS:.0f} photons or more"
    nothing_near = f"no dye shining within {REACH_NM:.0f} nm of them in their frame"
    return [
        f"found {len(ours)} of {len(truth)} dye images, {share}",
        f"{alone} of {len(found)} localizations ({100 * alone / len(found):.1f} %) have {nothing_near}",
        f"RMSE {rmse:.1f} nm per axis, mean offset ({off[:, 0].mean():+.2f}, {off[:, 1].mean():+.2f}) nm",
    ]


def main() -> int:
    """Print the figures; 1 if the job's outputs are not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("truth", type=Path)
    args = parser.parse_args()
    for name in ("localizations.csv", "rendering.png"):
        if not any(args.outputs.rglob(name)):
            print(f"the job left no {name} in {args.outputs}", file=sys.stderr)
            return 1
    found = read(next(args.outputs.rglob("localizations.csv")))
    print("\n".join(report(found, read(args.truth / "truth.csv"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
