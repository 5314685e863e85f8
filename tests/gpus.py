"""Stand-in GPUs for a real agent and a real dockerd: slots come from GPUs."""

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).parent / "fakes/nvml/nvml.c"
_LINE = "gpu 0 0 8589934592 GPU-stand-in-{0} Stand-in {0}\n"


class GpuStandIns:
    """So many GPUs, by a library in `folder`; an agent started with `environment` finds them."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(exist_ok=True)
        library = folder / "libnvidia-ml.so.1"
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library), str(_SOURCE)]
        subprocess.run(command, check=True, timeout=60)
        (folder / "gpus").write_text("".join(_LINE.format(number) for number in range(count)))
        self.environment = {"LD_LIBRARY_PATH": str(folder), "NVML_FAKE_FILE": str(folder / "gpus")}

    @staticmethod
    def add_hook(folder: Path) -> None:
        """Put what dockerd must find on its PATH, or it refuses `--gpus`."""
        hook = folder / "nvidia-container-runtime-hook"
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
