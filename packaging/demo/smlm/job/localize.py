"""Single-molecule localization: camera frames in, a table of localizations and a picture of them out."""

import argparse
import csv
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import tifffile
from fit import BACKGROUND, PHOTONS, SIGMA, Fits, X, Y, fit
from numpy.typing import NDArray
from picture import coloured, render, side_by_side, with_scale_bar, write_png
from spots import Windows, cut_windows

BATCH_FRAMES, WINDOW_PX, ZOOM = 250, 7, 10
NARROWEST, WIDEST, OFF_CENTRE_PX, MISFIT_SIGMAS = 0.7, 1.4, 1.5, 6.0


@dataclass(frozen=True, slots=True)
class Found:
    """Localizations, one per row, frames counted from 1."""

    frame: NDArray[np.int64]
    x_nm: NDArray[np.float64]
    y_nm: NDArray[np.float64]
    sigma_nm: NDArray[np.float64]
    photons: NDArray[np.float64]
    background: NDArray[np.float64]
    uncertainty_nm: NDArray[np.float64]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames_path", type=Path, required=True, help="TIFF stack")
    parser.add_argument("--output_path", type=Path, required=True, help="folder, made if it is missing")
    parser.add_argument("--pixelsize_nm", type=float, default=160.0)
    parser.add_argument("--camera_offset_adu", type=float, default=100.0)
    parser.add_argument("--electrons_per_adu", type=float, default=0.5)
    parser.add_argument("--read_noise_e", type=float, default=1.6)
    parser.add_argument("--psf_sigma_nm", type=float, default=135.0, help="a first guess, fitted per spot")
    parser.add_argument("--threshold", type=float, default=6.0, help="in sigmas of the background")
    parser.add_argument("--max_uncertainty_nm", type=float, default=40.0)
    return parser.parse_args()


def batches(path: Path, args: argparse.Namespace) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The first frame's number, from 0, and up to BATCH_FRAMES frames in photons."""
    with tifffile.TiffFile(path) as file:
        pages = len(file.pages)
        for first in range(0, pages, BATCH_FRAMES):
            adu = np.stack([file.pages[i].asarray() for i in range(first, min(first + BATCH_FRAMES, pages))])
            yield first, ((adu - args.camera_offset_adu) * args.electrons_per_adu).astype(np.float32)


def trusted(fits: Fits, side_px: int, sigma_px: float, max_uncertainty_px: float) -> NDArray[np.bool_]:
    """Which fits look like one dye: of its width, in the window's middle, precise, with nothing left over."""
    value, middle = fits.values, (side_px - 1) / 2
    width = value[:, SIGMA] / sigma_px
    off_centre = np.hypot(value[:, X] - middle, value[:, Y] - middle)
    precise = np.hypot(fits.bounds[:, X], fits.bounds[:, Y]) / np.sqrt(2) < max_uncertainty_px
    alike = (width > NARROWEST) & (width < WIDEST) & (off_centre < OFF_CENTRE_PX)
    pixels = side_px**2
    return np.asarray(alike & precise & (fits.misfit < pixels + MISFIT_SIGMAS * np.sqrt(2 * pixels)))


def table_of(windows: Windows, fits: Fits, first_frame: int, pixel_nm: float) -> Found:
    """Window coordinates turned into nm from the camera's corner; a pixel's middle is at half a pixel."""
    value, bound = fits.values, fits.bounds
    return Found(
        frame=windows.frame + first_frame + 1,
        x_nm=(windows.column + value[:, X] + 0.5) * pixel_nm,
        y_nm=(windows.row + value[:, Y] + 0.5) * pixel_nm,
        sigma_nm=value[:, SIGMA] * pixel_nm,
        photons=value[:, PHOTONS],
        background=value[:, BACKGROUND],
        uncertainty_nm=np.hypot(bound[:, X], bound[:, Y]) / np.sqrt(2) * pixel_nm,
    )


def joined(parts: list[Found], keep: list[NDArray[np.bool_]]) -> Found:
    """One table of the rows to keep."""

    def column(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(part, name)[good] for part, good in zip(parts, keep, strict=True)])

    return Found(column("frame").astype(np.int64), *(column(name) for name in Found.__slots__[1:]))


def save_table(found: Found, path: Path) -> None:
    """Write the table in the columns that ThunderSTORM made common."""
    with path.open("w", newline="", encoding="ascii") as file:
        table = csv.writer(file)
        table.writerow([
            "id", "frame", "x [nm]", "y [nm]", "sigma [nm]", "intensity [photon]",
            "offset [photon]", "uncertainty [nm]",
        ])  # fmt: skip
        for i, row in enumerate(zip(*(getattr(found, name) for name in Found.__slots__), strict=True), 1):
            table.writerow([i, row[0], *(f"{value:.2f}" for value in row[1:])])


def draw(found: Found, mean_frame: NDArray[np.float64], pixel_nm: float, path: Path) -> None:
    """What the camera averages to on the left, the localizations on the right, with a bar of 2 µm."""
    fine_nm = pixel_nm / ZOOM
    shape = (mean_frame.shape[0] * ZOOM, mean_frame.shape[1] * ZOOM)
    sharp = render(found.x_nm / fine_nm, found.y_nm / fine_nm, found.uncertainty_nm / fine_nm, shape)
    above: NDArray[np.float64] = np.maximum(mean_frame - np.quantile(mean_frame, 0.05), 0.0)
    coarse = above.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    bar = round(2000 / fine_nm)
    both = side_by_side(
        with_scale_bar(coloured(coarse, 0.998), bar), with_scale_bar(coloured(sharp, 0.985, 0.7), bar)
    )
    write_png(both, path)


def main() -> None:
    """Localize every batch, then write localizations.csv and rendering.png."""
    began, args = monotonic(), arguments()
    print(f"python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores")
    print(f"reading {args.frames_path}", flush=True)
    sigma_px = args.psf_sigma_nm / args.pixelsize_nm
    parts, keep, total, frames = [], [], np.float64(0), 0
    for first, photons in batches(args.frames_path, args):
        windows = cut_windows(photons, sigma_px, args.threshold, WINDOW_PX)
        fits = fit(windows.photons, sigma_px, args.read_noise_e)
        good = trusted(fits, WINDOW_PX, sigma_px, args.max_uncertainty_nm / args.pixelsize_nm)
        parts.append(table_of(windows, fits, first, args.pixelsize_nm))
        keep.append(good)
        total, frames = total + photons.sum(0, dtype=np.float64), frames + len(photons)
        print(f"frames {first + 1}-{frames}: {len(good)} spots, {good.sum()} kept", flush=True)
    if not any(good.any() for good in keep):
        message = "no spot was found: is this a single-molecule recording, and is --threshold right?"
        raise SystemExit(message)
    found = joined(parts, keep)
    args.output_path.mkdir(parents=True, exist_ok=True)
    save_table(found, args.output_path / "localizations.csv")
    draw(found, np.asarray(total / frames), args.pixelsize_nm, args.output_path / "rendering.png")
    print(
        f"{len(found.frame)} localizations, median {np.median(found.photons):.0f} photons, "
        f"sigma {np.median(found.sigma_nm):.0f} nm, uncertainty {np.median(found.uncertainty_nm):.1f} nm, "
        f"{monotonic() - began:.1f} s"
    )


if __name__ == "__main__":
    main()
