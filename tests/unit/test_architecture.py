"""The walls of the house: which part may import what, and how long things may get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "imageref_ray"
HEAVY = ("deepspeed", "ray", "torch", "transformers", "vllm")

LAYERS = {
    "records": 0,
    "config": 0,
    "choice": 0,
    "page": 0,
    "engines.base": 1,
    "markdown": 1,
    "sentences": 1,
    "similarity": 1,
    "attempt": 1,
    "commit": 1,
    "memo": 2,
    "suspects": 2,
    "todo": 1,
    "watch": 0,
    "prompts": 2,
    "parsing": 2,
    "sources": 2,
    "estimate": 2,
    "engines": 3,
    "evaluation": 3,
    "examples": 3,
    "stages": 3,
    "export": 3,
    "instruct_rows": 3,
    "picturenews": 3,
    "training": 3,
    "check": 4,
    "inspection": 4,
    "serving": 4,
    "worker": 4,
    "pipeline": 5,
    "build": 6,
    "evaluation.run": 6,
    "evaluation.answers": 6,
    "demo": 7,
    "retry": 7,
    "cli": 8,
}
"""Imports go to the same or a lower number, never up."""

LIGHT = [
    "records",
    "markdown",
    "sentences",
    "prompts",
    "parsing",
    "stages",
    "config",
    "cli",
    "engines",
    "engines.base",
    "estimate",
    "inspection",
]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layer(module: str) -> int | None:
    """The number of a module or of the nearest package above it."""
    while module:
        if module in LAYERS:
            return LAYERS[module]
        module = module.rpartition(".")[0]
    return None


def imported(path: Path) -> set[str]:
    """Names inside this package that a file imports, at any depth of the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("imageref_ray.") for name in found if name.startswith("imageref_ray.")}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    own = layer(name_of(path))
    if own is None:
        return
    upward = {name for name in imported(path) if (other := layer(name)) is not None and other > own}
    assert not upward


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert not {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= 50}


def test_the_ray_free_part_loads_nothing_heavy() -> None:
    metrics = [name_of(path) for path in sorted((PACKAGE / "evaluation").glob("*.py")) if path.stem != "run"]
    stages = [name_of(path) for path in sorted((PACKAGE / "stages").glob("*.py"))]
    wanted = [f"imageref_ray.{name}" for name in [*LIGHT, *metrics, *stages]]
    assert loaded_after(f"import {', '.join(wanted)}").isdisjoint(HEAVY)


def test_help_is_instant_because_it_loads_next_to_nothing() -> None:
    assert loaded_after("from imageref_ray.cli import parser; parser()").isdisjoint(
        {*HEAVY, "pydantic", "numpy", "yaml"}
    )


def loaded_after(code: str) -> set[str]:
    """Top-level modules a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
