"""The walls of the house: which part may import what, and how long things may get."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "imageref_ray"
HEAVY = ("deepspeed", "ray", "torch", "transformers", "vllm")

LIGHT = (
    "commands.cli",
    "commands.inspection",
    "core",
    "dataset",
    "engines.openai",
    "engines.scripted",
    "sources",
    "stages",
)
"""Rooms and modules that need none of them: they are imported in a blink, on a machine that has none of them."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("core/tokens.py", "", "Contracts: 1 kept, 0 broken"),
        (
            "core/tokens.py",
            "from imageref_ray.engines import base\n",
            "core is not allowed to import imageref_ray.engines",
        ),
        (
            "stages/place.py",
            "from imageref_ray.batch import store\n",
            "stages is not allowed to import imageref_ray.batch",
        ),
        ("loose.py", "", "imageref_ray.loose"),
    ],
)
def test_rooms_import_downwards_and_no_module_lies_beside_them(tmp_path: Path, file: str, text: str, said: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "imageref_ray", ignore=shutil.ignore_patterns("__pycache__", "checkpoint"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "imageref_ray" / file).open("a", encoding="utf-8") as module:
        module.write(text)
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=False
    )
    assert said in " ".join(done.stdout.split()), done.stdout + done.stderr
    assert (done.returncode == 0) == ("0 broken" in said)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {one.name: (one.end_lineno or one.lineno) - one.lineno + 1 for one in functions}
    assert not {name: length for name, length in lengths.items() if length > 47}


WRITES = {
    *("mkdtemp", "mkstemp", "FileHandler", "ParquetWriter", "NamedTemporaryFile", "write_table"),
    *("save_pretrained", "symlink_to", "touch", "utime", "write_bytes", "write_text"),
}
"""Calls that write files, besides those that open one for it."""

GUARDED_BY_CALLERS = {
    "batch.cluster": "its log is opened, which names it; what libraries print there is theirs",
    "batch.store": "Parquet in memory",
    "batch.work_queue": "write guards _write",
    "commands.publish": "publish guards _write",
    "dataset.export": "export guards _write_about",
    "dataset.export.writers": "export",
    "picturenews.corpus": "the command",
    "picturenews.tiny_internvl": "ours alone: it makes the embedded checkpoint",
    "serving.haproxy": "mkdtemp names its folder",
    "sources.download_cache": "fetch_once guards _open",
}
"""Modules with writes outside of any `with writing(…)` or `replacing(…)` → why the file is named all the same."""


def unguarded(tree: ast.AST, guarded: bool = False) -> Iterator[int]:
    """Lines that write a file outside of `with writing(…)`, which alone names the file that a full disk refuses."""
    for node in ast.iter_child_nodes(tree):
        inside = guarded
        if isinstance(node, ast.With | ast.AsyncWith):
            inside = guarded or any(called(item.context_expr) in ("writing", "replacing") for item in node.items)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = False
        if isinstance(node, ast.Call) and not inside and (called(node) in WRITES or opens_to_write(node)):
            yield node.lineno
        yield from unguarded(node, inside)


def called(node: ast.AST) -> str:
    """The last name of what is called."""
    function = node.func if isinstance(node, ast.Call) else None
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def opens_to_write(node: ast.Call) -> bool:
    """Whether it is an `open` with a mode that writes."""
    if called(node) not in ("open", "fdopen"):
        return False
    given = [*node.args, *(word.value for word in node.keywords)]
    modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any({*mode} <= {*"rwaxbt+"} and {*mode} & {*"wax+"} for mode in modes)


def test_every_write_says_which_file_a_full_disk_refused() -> None:
    found = {name_of(path): [*unguarded(ast.parse(path.read_text(encoding="utf-8")))] for path in modules()}
    assert {name: lines for name, lines in found.items() if lines and name not in GUARDED_BY_CALLERS} == {}
    assert all(found[name] for name in GUARDED_BY_CALLERS)


def test_the_light_rooms_load_nothing_heavy() -> None:
    metrics = {f"evaluation.{path.stem}" for path in (PACKAGE / "evaluation").glob("*_metrics.py")}
    names = {name_of(path) for path in modules()}
    wanted = sorted(metrics | {name for name in names if name.startswith(LIGHT)})
    assert len(wanted) > 60
    assert loaded_after(f"import {', '.join(f'imageref_ray.{name}' for name in wanted)}").isdisjoint(HEAVY)


def test_help_is_instant_because_it_loads_next_to_nothing() -> None:
    assert loaded_after("from imageref_ray.commands.cli import parser; parser()").isdisjoint(
        {*HEAVY, "pydantic", "numpy", "yaml"}
    )


def loaded_after(code: str) -> set[str]:
    """Top-level modules a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
