"""The rules that keep the design: who may import whom, how long a file and a function may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("agent", "mock_api")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
AGENT_FILES = [path for path in FILES if path.is_relative_to(ROOT / "agent")]

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40

_BASE = {"core", "ports", "ports_host"}
MAY_IMPORT = {
    "core": {"core"},
    "ports": {"core"},
    "ports_host": {"core"},
    "adapters": _BASE,
    "settings": {"core"},
    "steps": _BASE,
    "heartbeat": _BASE,
    "parallel": _BASE,
    "track": _BASE,
    "heard": _BASE,
    "owner": _BASE,
    "wakeup": set(),
    "wishes": {"core"},
    "toolbox": _BASE,
    "watching": _BASE | {"toolbox", "track"},
    "attempt": _BASE | {"toolbox", "track", "watching"},
    "phases": _BASE | {"attempt", "steps", "heartbeat", "parallel", "toolbox", "track"},
    "runner": _BASE | {"steps", "heartbeat", "parallel", "phases", "toolbox", "track"},
    "recover": _BASE,
    "leftovers": _BASE | {"toolbox"},
    "resting": _BASE,
    "crew": _BASE | {"heartbeat", "runner", "toolbox", "track"},
    "looking": _BASE | {"steps", "leftovers", "toolbox"},
    "delivery": _BASE | {"crew", "station", "wakeup"},
    "station": _BASE | {"heard", "looking", "toolbox"},
    "daemon": _BASE
    | {
        "heartbeat",
        "toolbox",
        "recover",
        "leftovers",
        "heard",
        "owner",
        "wakeup",
        "wishes",
        "crew",
        "delivery",
        "looking",
        "resting",
        "station",
    },
    "desk": _BASE | {"daemon"},
}
"""Who may import whom below `agent`; `cli` may import all."""

NOT_IN_STEPS = ("docker", "pynvml", "keyring", "sdnotify", "pydantic_settings", "rich", "truststore")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Every module of the project that the file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in {"agent", "mock_api", "tests"}}


ADAPTERS = {path.stem for path in (ROOT / "agent" / "adapters").glob("*.py")}


def is_part_of_one_system(importer: str, imported: str) -> bool:
    """Whether both serve one outside system: x may import its parts x_y, and these each other, but not x."""
    part = [*imported.split("."), ""][2]
    heads = [name for name in ADAPTERS if part.startswith(f"{name}_")]
    return not part or any(importer.split(".")[2].startswith(head) for head in heads)


def is_allowed(importer: str, imported: str) -> bool:
    """Whether the one module may import the other (or a name out of it)."""
    if not imported.startswith("agent"):
        return False
    layer, target = [*importer.split("."), ""][1], [*imported.split("."), ""][1]
    if layer in {"cli", "__main__"} or target in {"", "__version__"}:
        return True
    if layer == target == "adapters":
        return is_part_of_one_system(importer, imported)
    return target in MAY_IMPORT[layer]


@pytest.mark.parametrize("path", AGENT_FILES, ids=module_of)
def test_imports_follow_the_layers(path):
    """Core ← ports ← adapters and the shell ← cli; adapters never import each other."""
    importer = module_of(path)
    wrong = {name for name in imports_of(path) if not is_allowed(importer, name)}
    assert not wrong, f"{importer} must not import {sorted(wrong)}"


def test_the_rule_has_teeth():
    """An import across the layers is refused, so the test above can fail."""
    assert not is_allowed("agent.core.paths", "agent.ports")
    assert not is_allowed("agent.adapters.transfer", "agent.adapters.worker_api")
    assert is_allowed("agent.adapters.job_folder", "agent.adapters.job_folder_tree")
    assert not is_allowed("agent.adapters.job_folder_tree", "agent.adapters.job_folder")
    assert not is_allowed("agent.steps", "agent.heartbeat")
    assert not is_allowed("agent.daemon", "agent.adapters.journal")
    assert not is_allowed("agent.runner", "tests.fakes.engine")
    assert is_allowed("agent.daemon", "agent.crew")
    assert is_allowed("agent.cli", "agent.adapters.journal")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_fits_in_the_head(path):
    """No file reaches 300 lines."""
    assert len(path.read_text().splitlines()) < MAX_FILE_LINES


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from `def` to its end, without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_function_fits_on_a_screen(path):
    """No function reaches 40 lines."""
    nodes = ast.walk(ast.parse(path.read_text()))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: code_lines(node) for node in functions if code_lines(node) >= MAX_FUNCTION_LINES}
    assert not long


def test_every_exemption_has_a_reason():
    """`type: ignore` and `noqa` name their code and say why."""
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for mark in ("# type: ignore", "# noqa"):
                if mark in line:
                    reason = line.split(mark, 1)[1].lstrip(":[ ").split(None, 1)
                    assert len(reason) > 1, f"{path}:{number}: {mark} without a reason"


def test_the_library_is_light():
    """`import agent.steps` pulls in nothing of the extra `host`."""
    code = f"import agent.steps, sys; print([m for m in {NOT_IN_STEPS!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
