"""The docs are what the code says: generated pages are fresh; messages, commands and settings that are quoted exist."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from docs import generate
from imageref_ray.commands.cli import parser
from imageref_ray.commands.table import COMMANDS as TABLE
from imageref_ray.core.config import BuildConfig, ServeConfig, TrainConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("README.md"))]
COMMANDS = {command.name.partition(" ")[0] for command in TABLE}


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return generate.pages()


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "files.md"])
def test_generated_pages_are_fresh(name: str, generated: dict[str, str]) -> None:
    committed = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert committed == generated[name], f"docs/reference/{name} is stale; run: make docs"


def test_every_page_is_generated_or_written_by_hand_but_never_both(generated: dict[str, str]) -> None:
    assert {path.name for path in (DOCS / "reference").iterdir()} == set(generated)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    done = built(tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    assert {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")} <= pages
    with (tmp_path / "docs" / "concepts.md").open("a", encoding="utf-8") as page:
        page.write("[lost](index.md#nowhere)\n")
    broken = built(tmp_path)
    assert broken.returncode != 0 and "anchor does not exist" in broken.stderr


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_message_in_troubleshooting_is_one_that_the_code_has() -> None:
    said = messages()
    quoted = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) > 20
    patterns = {text: re.compile(".*".join(map(re.escape, re.split(r"\s*…\s*", text)))) for text in quoted}
    assert [text for text, pattern in patterns.items() if not any(map(pattern.search, said))] == []


def messages() -> list[str]:
    """Every text of the package; what is filled in stands as {}."""
    texts: list[str] = []
    for path in (ROOT / "imageref_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = re.sub(r"https?://\S+", "", page.read_text(encoding="utf-8"))
    named = set(re.findall(r"\b(?:imageref_ray|jobs|docs|serve|deploy|requirements|benchmarks)/[\w./-]+\.\w+\b", text))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_printed_command_parses(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"^(?: {4})*imageref ((?:\w|-).*)$", text, re.MULTILINE):
        words = shlex.split(command, comments=True)
        if words[0] in COMMANDS and "…" not in command:
            parser().parse_args(words)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_every_printed_setting_is_one(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for key, value in yaml.safe_load(textwrap.dedent(block)).items():
            model = next(model for model in (BuildConfig, TrainConfig, ServeConfig) if key in model.model_fields)
            TypeAdapter(model.model_fields[key].rebuild_annotation()).validate_python(value)
