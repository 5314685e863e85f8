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

SHELL = {"settings": 0, "steps": 1, "heartbeat": 1, "parallel": 1, "phases": 2, "runner": 3, "recover": 3, "daemon": 4}
"""Modules of the shell by height: each may import those below it (and core; from 1 on, ports)."""

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


def is_allowed(importer: str, imported: str) -> bool:
    """The import rules of docs/why.md."""
    if imported == "agent" or imported.count(".") > 1 and is_allowed(importer, imported.rpartition(".")[0]):
        return True
    parts, target = importer.split("."), imported.split(".")
    if target[0] != "agent":
        return False
    layer = parts[1] if len(parts) > 1 else ""
    match layer:
        case "cli" | "__main__":
            return True
        case "core":
            return target[1] == "core"
        case "ports":
            return target[1] == "core"
        case "adapters":
            return target[1] in {"core", "ports"} or imported == importer
        case _ if layer in SHELL:
            if target[1] in {"core"} or (target[1] == "ports" and SHELL[layer] > 0):
                return True
            return target[1] in SHELL and SHELL[target[1]] < SHELL[layer]
        case _:
            return imported == "agent"


@pytest.mark.parametrize("path", AGENT_FILES, ids=module_of)
def test_imports_follow_the_layers(path):
    """core ← ports ← adapters and the shell ← cli; adapters never import each other."""
    importer = module_of(path)
    wrong = {name for name in imports_of(path) if not is_allowed(importer, name)}
    assert not wrong, f"{importer} must not import {sorted(wrong)}"


def test_the_rule_has_teeth():
    """An import across the layers is refused, so the test above can fail."""
    assert not is_allowed("agent.core.paths", "agent.ports")
    assert not is_allowed("agent.adapters.transfer", "agent.adapters.worker_api")
    assert not is_allowed("agent.steps", "agent.heartbeat")
    assert not is_allowed("agent.daemon", "agent.adapters.journal")
    assert not is_allowed("agent.runner", "tests.fakes.engine")
    assert is_allowed("agent.daemon", "agent.runner")
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
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
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
