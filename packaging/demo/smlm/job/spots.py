"""Finding spots in camera frames: a band-pass filter, local maxima, and a small window around each."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Windows:
    """Square windows (n, side, side) in photons, with the frame and the pixel of their upper left corners."""

    photons: NDArray[np.float64]
    frame: Ints
    row: Ints
    column: Ints


def blur(frames: Images, sigma_px: float) -> Images:
    """Frames (n, rows, columns) after a Gaussian of sigma_px; edges are mirrored."""
    reach = int(np.ceil(3 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    rows, columns = frames.shape[1:]
    padded = np.pad(frames, ((0, 0), (reach, reach), (0, 0)), mode="reflect")
    down = sum((k * padded[:, i : i + rows] for i, k in enumerate(kernel)), np.float32(0))
    padded = np.pad(down, ((0, 0), (0, 0), (reach, reach)), mode="reflect")
    return np.asarray(sum((k * padded[:, :, i : i + columns] for i, k in enumerate(kernel)), np.float32(0)))


def band_pass(frames: Images, sigma_px: float) -> Images:
    """Frames with everything smoother or rougher than a spot of sigma_px taken out."""
    return blur(frames, sigma_px) - blur(frames, 2.5 * sigma_px)


def noise_of(filtered: Images) -> float:
    """The standard deviation of the background, from the median so that spots do not count."""
    return float(1.4826 * np.median(np.abs(filtered - np.median(filtered))))


def find_maxima(filtered: Images, floor: float, border_px: int) -> tuple[Ints, Ints, Ints]:
    """Frame, row and column of the pixels above floor that no neighbour in 3 x 3 exceeds, off the border."""
    rows, columns = filtered.shape[1:]
    inner = filtered[:, 1:-1, 1:-1]
    top = inner > floor
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            top &= inner >= filtered[:, dy : dy + rows - 2, dx : dx + columns - 2]
    frame, row, column = np.nonzero(top)
    row, column = row + 1, column + 1
    clear = (
        (row >= border_px) & (row < rows - border_px) & (column >= border_px) & (column < columns - border_px)
    )
    return frame[clear], row[clear], column[clear]


def cut_windows(frames: Images, sigma_px: float, threshold: float, side_px: int) -> Windows:
    """Every spot that stands out of the noise by the threshold, in a window of side_px (odd)."""
    filtered = band_pass(frames, sigma_px)
    half = side_px // 2
    frame, row, column = find_maxima(filtered, threshold * noise_of(filtered), half)
    span = np.arange(-half, half + 1)
    photons = frames[
        frame[:, None, None], (row[:, None] + span)[:, :, None], (column[:, None] + span)[:, None, :]
    ]
    return Windows(photons.astype(np.float64), frame, row - half, column - half)
