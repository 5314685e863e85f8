"""Simulated localizations of microtubules in a sample that drifts, with the drift that was put in."""

import argparse
import csv
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

FRAMES, LOCALIZATIONS, SIDE_NM, DEPTH_NM = 6000, 24_000, 8000.0, 500.0
FILAMENTS, SITE_STEP_NM = 14, 12.0
PRECISION_NM = np.array([9.0, 9.0, 22.0])
SLOW_NM, JITTER_NM = np.array([140.0, 110.0, 90.0]), 0.6


def dye_sites(rng: np.random.Generator) -> Floats:
    """Positions (n, 3) in nm along gently bending filaments at different depths."""
    steps = int(1.3 * SIDE_NM / SITE_STEP_NM)
    sites = []
    for _ in range(FILAMENTS):
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.012, steps))
        tilt = rng.uniform(-0.05, 0.05)
        stride = np.stack([np.cos(heading), np.sin(heading), np.full(steps, tilt)], 1)
        middle = np.array([*rng.uniform(0.3, 0.7, 2) * SIDE_NM, rng.uniform(-0.5, 0.5) * DEPTH_NM])
        path = np.cumsum(SITE_STEP_NM * stride, 0)
        sites.append(path - path[steps // 2] + middle)
    every = np.concatenate(sites)
    return np.asarray(every[np.all((every[:, :2] > 0) & (every[:, :2] < SIDE_NM), axis=1)])


def drift_of(rng: np.random.Generator) -> Floats:
    """The stage's position (FRAMES, 3) in nm: slow bends as after warming up, and a small random walk."""
    time = np.linspace(0, 1, FRAMES)[:, None]
    bends = 1 - np.exp(-2.5 * time) + 0.25 * np.sin(2 * np.pi * (time * [1.1, 0.8, 1.6] + [0.1, 0.35, 0.7]))
    walk = np.cumsum(rng.normal(0, JITTER_NM, (FRAMES, 3)), 0)
    course = SLOW_NM * [1, -1, 1] * bends + walk
    return np.asarray(course - course[0])


def save_csv(path: Path, header: list[str], whole: Ints, rest: Floats) -> None:
    """A table with one whole-numbered column and then others."""
    with path.open("w", newline="", encoding="ascii") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(
            [int(number), *(f"{value:.3f}" for value in row)] for number, row in zip(whole, rest, strict=True)
        )


def main() -> None:
    """Write <folder>/data/localizations.csv, the input, and <folder>/truth/drift.csv, kept from the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name in ("data", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20260122)
    sites, drift = dye_sites(rng), drift_of(rng)
    frame = np.sort(rng.integers(FRAMES, size=LOCALIZATIONS))
    site = sites[rng.integers(len(sites), size=LOCALIZATIONS)]
    seen = site + drift[frame] + rng.normal(0, 1, (LOCALIZATIONS, 3)) * PRECISION_NM
    axes = ["x [nm]", "y [nm]", "z [nm]"]
    save_csv(folder / "data" / "localizations.csv", ["frame", *axes], frame, seen)
    save_csv(folder / "truth" / "drift.csv", ["frame", *axes], np.arange(FRAMES), drift)
    spread = ", ".join(
        f"{axis} {reach:.0f} nm" for axis, reach in zip("xyz", np.ptp(drift, axis=0), strict=True)
    )
    print(f"simulated {LOCALIZATIONS} localizations in {FRAMES} frames of a sample that drifts by {spread}")


if __name__ == "__main__":
    main()
