"""The example of docs/library.md, run as it stands there, with nothing but the base install."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mock_api.server import RunningMock
from mock_api.settings import Settings

ROOT = Path(__file__).parents[2]
EXTRA = ("docker", "keyring", "pynvml", "pydantic_settings", "dotenv", "rich", "sdnotify", "truststore")

BASE_INSTALL = f"""
import sys
for name in {EXTRA!r}:
    sys.modules[name] = None  # as if it were not installed
"""

RUN = """
import json
def compute(job, folder):
    (folder / "output").mkdir()
    (folder / "output" / "upper.txt").write_text((folder / "data" / "in.txt").read_text().upper())
event = json.loads(sys.argv[1])
print(json.dumps(handler(event, compute)))
"""


@pytest.fixture(params=["local", "s3"])
def mock(request):
    with RunningMock(Settings(storage=request.param)) as mock:
        yield mock


def example():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)
    return code


def run_example(mock, tmp_path):
    event = f'{{"api_url": "{mock.url}", "token": "worker1-token", "work": "{tmp_path}"}}'
    command = [sys.executable, "-W", "error", "-c", BASE_INSTALL + example() + RUN, event]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_example_takes_a_job_home(mock, tmp_path):
    """Claimed, staged in, computed, staged out, reported."""
    job_id = mock.submit(files={"data/in.txt": b"hello"}, files_up={"output": "output"})
    assert run_example(mock, tmp_path) == f'[[{job_id}, "finished"]]'
    assert mock.output(job_id, "output/upper.txt") == b"HELLO"
    assert mock.job(job_id).statuses[-4:] == ["preprocessing", "running", "postprocessing", "finished"]
    assert list(tmp_path.iterdir()) == []


def test_the_example_reports_what_fails(mock, tmp_path):
    """A missing input and a malformed spec each become that job's error."""
    job_id = mock.submit(files_down={"data/in.txt": "/user_data/none"}, files_up={"output": "output"})
    assert run_example(mock, tmp_path) == f'[[{job_id}, "error"]]'
    assert "input 'data/in.txt'" in mock.job(job_id).runtime_details
    job_id = mock.submit(spec={"app": {}}, unchecked=True)
    assert run_example(mock, tmp_path) == "[]"
    assert mock.job(job_id).status == "error"
