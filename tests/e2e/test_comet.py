"""One of the network's real applications, COMET drift correction, as its deployed job is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.agent_process import FILES, ROOT, finish

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

DEMO = ROOT / "packaging" / "demo"
BELIEVABLE_NM = 5.0


@pytest.fixture
def image(dockerd):
    """COMET in an image made of this machine's Python; its tarball is kept outside of the repository."""
    command = [sys.executable, DEMO / "build_image.py", "comet", "--docker-host", dockerd.url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_comet_recovers_a_known_drift(local_agent, local_mock, image, tmp_path):
    """Claimed, run by the shell, log redirected, output folder made by the program: a few nm of error."""
    simulated = tmp_path / "input"
    subprocess.run([sys.executable, DEMO / "comet" / "simulate.py", simulated], check=True)
    table = next((simulated / "data").glob("*.csv"))
    job_id = local_mock.submit(
        image=image,
        cmd=[(DEMO / "comet" / "command").read_text().strip()],
        files={f"data/{table.name}": table},
        files_up=FILES,
        memory=2048,
    )
    job = finish(local_agent, local_mock, job_id)
    assert job.status == "finished", job.runtime_details
    assert b"comet-smlm" in local_mock.output(job_id, "log/comet.log", "log")
    outputs = tmp_path / "outputs"
    for one in local_mock.outputs(job_id):
        target = outputs / one.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(local_mock.output(job_id, one.path, one.kind))
    errors = errors_nm(outputs, simulated / "truth")
    assert len(errors) == 3
    assert max(errors) < BELIEVABLE_NM


def errors_nm(outputs: Path, truth: Path) -> list[float]:
    """RMSE of the recovered drift in x, y and z, as the demo prints it."""
    command = [sys.executable, DEMO / "comet" / "assess.py", outputs, truth]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line.split("RMSE of ")[1].split()[0]) for line in done.stdout.splitlines()]
