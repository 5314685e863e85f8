"""Maximum-likelihood fit of a Gaussian spot to many windows at once.

Levenberg-Marquardt on the Poisson likelihood after Laurence & Chromy (https://doi.org/10.1038/nmeth0510-338),
the light integrated over each pixel as in Smith et al. (https://doi.org/10.1038/nmeth.1449), read noise as in
Huang et al. (https://doi.org/10.1038/nmeth.2488). The uncertainty is the Cramér-Rao bound at the solution.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

X, Y, PHOTONS, BACKGROUND, SIGMA = range(5)


@dataclass(frozen=True, slots=True)
class Fits:
    """Parameters and their bounds (n, 5) in pixels and photons; how far (n,) each is from a perfect fit."""

    values: Floats
    bounds: Floats
    misfit: Floats


def erf(z: Floats) -> Floats:
    """The error function to 2e-7 (Abramowitz & Stegun 7.1.26): numpy has none."""
    t = 1 / (1 + 0.3275911 * np.abs(z))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(z) * (1 - series * np.exp(-z * z)))


def along_axis(centre: Floats, sigma: Floats, side: int) -> tuple[Floats, Floats, Floats]:
    """What each pixel (n, side) along one axis collects, and its derivatives by the centre and by sigma."""
    edge = np.arange(side + 1) - 0.5 - centre[:, None]
    s = sigma[:, None]
    bell = np.exp(-0.5 * (edge / s) ** 2) / (np.sqrt(2 * np.pi) * s)
    light = np.diff(0.5 * erf(edge / (np.sqrt(2) * s)), axis=1)
    return light, -np.diff(bell, axis=1), -np.diff(edge * bell / s, axis=1)


def model_of(values: Floats, side: int) -> tuple[Floats, Floats]:
    """Expected photons (n, side²) and their derivatives (n, 5, side²)."""
    x, x_shift, x_widen = along_axis(values[:, X], values[:, SIGMA], side)
    y, y_shift, y_widen = along_axis(values[:, Y], values[:, SIGMA], side)

    def outer(rows: Floats, columns: Floats) -> Floats:
        return (rows[:, :, None] * columns[:, None, :]).reshape(len(values), -1)

    photons = values[:, PHOTONS, None]
    shape = outer(y, x)
    slopes = [
        photons * outer(y, x_shift),
        photons * outer(y_shift, x),
        shape,
        np.ones_like(shape),
        photons * (outer(y_widen, x) + outer(y, x_widen)),
    ]
    return values[:, BACKGROUND, None] + photons * shape, np.stack(slopes, 1)


def misfit_of(data: Floats, model: Floats) -> Floats:
    """Twice the log of the likelihood lost against a model that equals the data (n,)."""
    return np.asarray(2 * np.sum(model - data + data * np.log(data / model), axis=1))


def guess(windows: Floats, sigma_px: float) -> Floats:
    """Starting values (n, 5): background from the rim, photons and centre from what rises above it."""
    side = windows.shape[1]
    rim = np.ones((side, side), bool)
    rim[1:-1, 1:-1] = False
    background = np.maximum(np.median(windows[:, rim], axis=1), 0.5)
    above = np.maximum(windows - background[:, None, None], 0)[:, 1:-1, 1:-1]
    total = np.maximum(above.sum((1, 2)), 10)
    at = np.arange(1, side - 1)
    x, y = (above.sum(1) * at).sum(1) / total, (above.sum(2) * at).sum(1) / total
    return np.stack([x, y, total, background, np.full(len(windows), sigma_px)], 1)


def clamp(values: Floats, side: int) -> Floats:
    """Values pulled back to where the model means something."""
    low = np.array([0.5, 0.5, 1.0, 0.01, 0.3])
    high = np.array([side - 1.5, side - 1.5, 1e7, 1e6, side / 2])
    return np.asarray(np.clip(values, low, high))


def fit(windows: Floats, sigma_px: float, read_noise_e: float, steps: int = 18) -> Fits:
    """Fit every window (n, side, side) of photons; a step that makes a window's fit worse is not taken."""
    side, noise = windows.shape[1], read_noise_e**2
    data = np.maximum(windows.reshape(len(windows), -1) + noise, 1e-3)
    values = clamp(guess(windows, sigma_px), side)
    damping = np.full(len(values), 0.1)
    model, slopes = model_of(values, side)
    misfit = misfit_of(data, model + noise)
    diagonal = np.arange(5)
    for _ in range(steps):
        weight = 1 / (model + noise)
        push = np.einsum("nik,nk->ni", slopes, data * weight - 1)
        curve = (slopes * weight[:, None, :]) @ slopes.transpose(0, 2, 1)
        curve[:, diagonal, diagonal] *= 1 + damping[:, None]
        trial = clamp(values + np.linalg.solve(curve, push[:, :, None])[:, :, 0], side)
        trial_model, trial_slopes = model_of(trial, side)
        trial_misfit = misfit_of(data, trial_model + noise)
        better = trial_misfit <= misfit
        for kept, new in ((values, trial), (model, trial_model), (slopes, trial_slopes)):
            kept[better] = new[better]
        misfit = np.where(better, trial_misfit, misfit)
        damping = np.where(better, damping / 6, damping * 8).clip(1e-6, 1e6)
    information = (slopes / (model + noise)[:, None, :]) @ slopes.transpose(0, 2, 1)
    bounds = np.sqrt(np.abs(np.linalg.pinv(information, hermitian=True)[:, diagonal, diagonal]))
    return Fits(values, bounds, misfit)
