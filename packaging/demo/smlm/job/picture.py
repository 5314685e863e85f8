"""Drawing localizations, and writing PNG files with the standard library."""

import struct
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Rgb: TypeAlias = NDArray[np.uint8]

HOT = np.array([[0, 0, 0], [90, 0, 8], [200, 30, 0], [255, 140, 10], [255, 225, 90], [255, 255, 255]], float)


def smear(image: Floats, sigma: float) -> Floats:
    """The image after a Gaussian of sigma pixels, dark beyond its edges."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    rows, columns = image.shape
    padded = np.pad(image, ((reach, reach), (0, 0)))
    down = sum((k * padded[i : i + rows] for i, k in enumerate(kernel)), np.float64(0))
    padded = np.pad(np.asarray(down), ((0, 0), (reach, reach)))
    return np.asarray(sum((k * padded[:, i : i + columns] for i, k in enumerate(kernel)), np.float64(0)))


def render(x_px: Floats, y_px: Floats, blur_px: Floats, shape: tuple[int, int]) -> Floats:
    """Each localization as a Gaussian as wide as it is uncertain, in steps of a third of a pixel or more."""
    canvas = np.zeros(shape)
    widths = np.array([0.6, 0.9, 1.3, 1.8, 2.5])
    nearest = np.abs(blur_px[:, None] - widths).argmin(1)
    for group, width in enumerate(widths):
        mine = nearest == group
        counts, _, _ = np.histogram2d(
            y_px[mine], x_px[mine], bins=shape, range=((0, shape[0]), (0, shape[1]))
        )
        canvas += smear(counts, width)
    return canvas


def coloured(image: Floats, brightest: float, gamma: float = 1.0) -> Rgb:
    """Black over red and yellow to white, white from the quantile `brightest` of the lit pixels on."""
    lit = image[image > image.max() / 1000]
    top = np.quantile(lit, brightest) if lit.size else 1.0
    level = np.clip(image / top, 0, 1) ** gamma * (len(HOT) - 1)
    step = np.minimum(level.astype(int), len(HOT) - 2)
    part = (level - step)[..., None]
    return np.asarray(np.rint(HOT[step] * (1 - part) + HOT[step + 1] * part), np.uint8)


def with_scale_bar(picture: Rgb, length_px: int) -> Rgb:
    """The picture with a white bar in its lower right corner."""
    rows, columns = picture.shape[:2]
    marked = picture.copy()
    edge, thick = columns // 30, max(4, rows // 150)
    marked[rows - edge - thick : rows - edge, columns - edge - length_px : columns - edge] = 255
    return marked


def side_by_side(left: Rgb, right: Rgb) -> Rgb:
    """Two pictures of one height with a grey line between them."""
    line = np.full((left.shape[0], 6, 3), 110, np.uint8)
    return np.concatenate([left, line, right], axis=1)


def write_png(picture: Rgb, path: Path) -> None:
    """Write an 8-bit RGB picture (rows, columns, 3)."""
    rows, columns = picture.shape[:2]
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), picture.reshape(rows, -1)], axis=1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 6))
        + chunk(b"IEND", b"")
    )
