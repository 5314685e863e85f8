"""COMET drift correction: localizations in, the corrected localizations and the drift curve out."""

import argparse
import os
import platform
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import matplotlib as mpl
import numpy as np
from comet.core.drift_optimizer import comet_run_kd
from comet.core.io_utils import correct_and_save_thunderstorm_csv, load_thunderstorm_csv
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first: there is no screen


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--localizations_path", type=Path, required=True, help="CSV as ThunderSTORM writes it"
    )
    parser.add_argument("--output_path", type=Path, required=True, help="folder, made if it is missing")
    parser.add_argument("--segmentation_var", type=int, default=60, help="frames per time window")
    parser.add_argument("--max_drift_nm", type=float, default=300.0)
    parser.add_argument("--target_sigma_nm", type=float, default=10.0)
    parser.add_argument("--mode", choices=["cpu", "cuda"], default="cpu")
    return parser.parse_args()


def narrate(stage: str, facts: dict[str, object]) -> None:
    """One line per stage that COMET reports, but for each single evaluation of its cost."""
    if stage in {"evaluation", "run_start", "done"}:
        return
    shown = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    print(f"{stage}: {shown}", flush=True)


def draw(drift: NDArray[np.float64], path: Path) -> None:
    """The drift (frames, 4: x, y, z in nm and the frame) over time, and its course in the plane."""
    figure, (over_time, in_plane) = plt.subplots(
        1, 2, figsize=(11, 4.2), width_ratios=(3, 2), layout="constrained"
    )
    for axis, name in enumerate("xyz"):
        over_time.plot(drift[:, 3], drift[:, axis], label=name)
    over_time.set(xlabel="frame", ylabel="drift [nm]", title="Drift estimated by COMET")
    over_time.legend()
    over_time.grid(alpha=0.3)
    course = in_plane.scatter(drift[:, 0], drift[:, 1], c=drift[:, 3], s=3, cmap="viridis")
    in_plane.set(xlabel="x [nm]", ylabel="y [nm]", title="Course in the plane", aspect="equal")
    in_plane.grid(alpha=0.3)
    figure.colorbar(course, label="frame")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Estimate the drift, then write corrected.csv, drift.csv and drift.png."""
    began, args = monotonic(), arguments()
    print(f"comet-smlm {version('comet-smlm')}, python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"reading {args.localizations_path}", flush=True)
    localizations = load_thunderstorm_csv(args.localizations_path)
    drift = comet_run_kd(
        localizations,
        segmentation_mode=2,
        segmentation_var=args.segmentation_var,
        max_drift_nm=args.max_drift_nm,
        target_sigma_nm=args.target_sigma_nm,
        mode=args.mode,
        progress=narrate,
    )
    args.output_path.mkdir(parents=True, exist_ok=True)
    correct_and_save_thunderstorm_csv(drift, args.localizations_path, args.output_path / "corrected.csv")
    np.savetxt(
        args.output_path / "drift.csv",
        drift[:, [3, 0, 1, 2]],
        fmt=["%d", "%.3f", "%.3f", "%.3f"],
        delimiter=",",
        header="frame,x [nm],y [nm],z [nm]",
        comments="",
    )
    draw(drift, args.output_path / "drift.png")
    spread = ", ".join(
        f"{axis} {reach:.0f} nm" for axis, reach in zip("xyz", np.ptp(drift[:, :3], axis=0), strict=True)
    )
    print(
        f"corrected {len(localizations)} localizations for a drift of {spread} in {monotonic() - began:.1f} s"
    )


if __name__ == "__main__":
    main()
