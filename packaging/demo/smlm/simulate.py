"""Simulated camera frames of blinking dyes on microtubules, with the positions they were made from."""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tifffile
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

FRAMES, SIDE_PX, PIXEL_NM = 3000, 96, 160.0
PSF_SIGMA_NM, PHOTONS_MEDIAN, BACKGROUND_PHOTONS = 135.0, 900.0, 9.0
OFFSET_ADU, ELECTRONS_PER_ADU, READ_NOISE_E = 100.0, 0.5, 1.6
BLINKS, BLINK_MEAN_FRAMES = 16_000, 1.4
TUBE_RADIUS_NM, SITE_STEP_NM = 18.0, 4.0
PATCH = np.arange(-6, 7)


@dataclass(frozen=True, slots=True)
class Blinks:
    """One row for each dye and frame it shines in."""

    frame: Ints
    x_nm: Floats
    y_nm: Floats
    photons: Floats


def filament(rng: np.random.Generator, start_nm: Floats, heading: float) -> Floats:
    """The dye sites (n, 2) in nm along one gently bending microtubule, cut to the field of view."""
    steps = int(1.5 * SIDE_PX * PIXEL_NM / SITE_STEP_NM)
    bend = np.cumsum(rng.normal(0, 0.0035, steps))
    angle = heading + np.cumsum(rng.normal(0, 0.004, steps)) + 0.02 * bend
    axis = start_nm + np.cumsum(SITE_STEP_NM * np.stack([np.cos(angle), np.sin(angle)], 1), 0)
    # Dyes sit on the surface of a tube: seen from above they crowd at its two edges.
    across = TUBE_RADIUS_NM * np.sin(rng.uniform(0, 2 * np.pi, steps))
    sites = axis + across[:, None] * np.stack([-np.sin(angle), np.cos(angle)], 1)
    margin, side = 3 * PIXEL_NM, SIDE_PX * PIXEL_NM
    return np.asarray(sites[np.all((sites > margin) & (sites < side - margin), axis=1)])


def microtubules(rng: np.random.Generator) -> Floats:
    """Dye sites (n, 2) in nm: crossing filaments, and two pairs nearer to each other than light resolves."""
    side = SIDE_PX * PIXEL_NM
    sites = []
    for start, heading in [
        ((0.02, 0.20), 0.25), ((0.02, 0.55), -0.30), ((0.02, 0.85), -0.55), ((0.30, 0.02), 1.25),
        ((0.62, 0.02), 1.80), ((0.98, 0.35), 2.75), ((0.75, 0.98), -1.90), ((0.10, 0.98), -0.95),
    ]:  # fmt: skip
        sites.append(filament(rng, np.array(start) * side, heading))
    for start, heading, gap_nm in [((0.02, 0.38), 0.05, 120.0), ((0.45, 0.98), -1.35, 180.0)]:
        course = rng.integers(2**32)
        for shift in (-gap_nm / 2, gap_nm / 2):
            aside = shift * np.array([-np.sin(heading), np.cos(heading)])
            sites.append(filament(np.random.default_rng(course), np.array(start) * side + aside, heading))
    return np.concatenate(sites)


def blink(rng: np.random.Generator, sites: Floats) -> Blinks:
    """Every dye's flashes, split over the frames they last; the first and the last frame get what fits."""
    site = rng.integers(len(sites), size=BLINKS)
    begin = rng.uniform(0, FRAMES, BLINKS)
    end = np.minimum(begin + rng.exponential(BLINK_MEAN_FRAMES, BLINKS), FRAMES)
    rate = PHOTONS_MEDIAN * np.exp(rng.normal(0, 0.45, BLINKS))
    frames, which = [], []
    for lag in range(int(np.ceil((end - begin).max())) + 1):
        frame = np.floor(begin).astype(np.int64) + lag
        alive = np.flatnonzero((frame < end) & (frame < FRAMES))
        frames.append(frame[alive])
        which.append(alive)
    frame, dye = np.concatenate(frames), np.concatenate(which)
    share = np.minimum(end[dye], frame + 1) - np.maximum(begin[dye], frame)
    order = np.argsort(frame, kind="stable")
    frame, dye, share = frame[order], dye[order], share[order]
    return Blinks(frame, sites[site[dye], 0], sites[site[dye], 1], rate[dye] * share)


def profile(centre_px: Floats, corner_px: Ints) -> Floats:
    """The light (n, PATCH) that each pixel of a row collects, integrated over the pixel in small steps."""
    fine = (np.arange(7) + 0.5) / 7
    at = corner_px[:, None, None] + PATCH[None, :, None] + fine - centre_px[:, None, None]
    sigma = PSF_SIGMA_NM / PIXEL_NM
    light: Floats = np.exp(-0.5 * (at / sigma) ** 2).mean(2) / (np.sqrt(2 * np.pi) * sigma)
    return light


def expose(rng: np.random.Generator, blinks: Blinks) -> NDArray[np.uint16]:
    """The camera's frames (FRAMES, SIDE_PX, SIDE_PX) in ADU, with shot and read noise."""
    yy, xx = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX - 0.5
    haze = BACKGROUND_PHOTONS * (0.7 + 0.8 * np.exp(-((xx + 0.1) ** 2 + (yy - 0.05) ** 2) / 0.12))
    light = np.repeat(haze[None].astype(np.float32), FRAMES, axis=0)
    x, y = blinks.x_nm / PIXEL_NM, blinks.y_nm / PIXEL_NM
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    spot = blinks.photons[:, None, None] * profile(y, row)[:, :, None] * profile(x, column)[:, None, :]
    rows, columns = row[:, None] + PATCH, column[:, None] + PATCH
    inside = ((rows >= 0) & (rows < SIDE_PX))[:, :, None] & ((columns >= 0) & (columns < SIDE_PX))[:, None, :]
    index = (blinks.frame[:, None, None] * SIDE_PX + rows[:, :, None]) * SIDE_PX + columns[:, None, :]
    np.add.at(light.reshape(-1), index[inside], spot[inside])
    stack = np.empty(light.shape, np.uint16)
    for frame, photons in enumerate(light):
        electrons = rng.poisson(photons) + rng.normal(0, READ_NOISE_E, photons.shape)
        stack[frame] = np.clip(np.rint(electrons / ELECTRONS_PER_ADU + OFFSET_ADU), 0, 65535)
    return stack


def save(blinks: Blinks, path: Path) -> None:
    """Write what was really there, in the columns of the job's own table."""
    with path.open("w", newline="", encoding="ascii") as file:
        table = csv.writer(file)
        table.writerow(["frame", "x [nm]", "y [nm]", "intensity [photon]"])
        for frame, x, y, photons in zip(blinks.frame, blinks.x_nm, blinks.y_nm, blinks.photons, strict=True):
            table.writerow([frame + 1, f"{x:.2f}", f"{y:.2f}", f"{photons:.1f}"])


def main() -> None:
    """Write <folder>/data/frames.tif, the job's input, and <folder>/truth/truth.csv, which it never sees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name in ("data", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20260122)
    blinks = blink(rng, microtubules(rng))
    stack = expose(rng, blinks)
    tifffile.imwrite(folder / "data" / "frames.tif", stack, photometric="minisblack")
    save(blinks, folder / "truth" / "truth.csv")
    print(
        f"simulated {FRAMES} frames of {SIDE_PX} x {SIDE_PX} pixels at {PIXEL_NM:.0f} nm "
        f"({stack.nbytes / 2**20:.0f} MiB) with {len(blinks.frame)} dye images, seen in one frame each"
    )


if __name__ == "__main__":
    main()
