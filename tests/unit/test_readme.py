"""The README names every file, and only files and targets that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_module_has_its_line() -> None:
    listed = README.partition("<!-- files -->")[2].partition("<!-- /files -->")[0].split()
    modules = [path.relative_to(ROOT / "imageref_ray") for path in (ROOT / "imageref_ray").rglob("*.py")]
    wanted = {path.as_posix() for path in modules if path.name != "__init__.py"}
    wanted |= {path.name for path in (ROOT / "serve").glob("*.py") if path.name != "__init__.py"}
    assert wanted <= set(listed)


def test_what_is_named_exists() -> None:
    files = set(re.findall(r"\b(?:jobs|docs|serve|requirements|tests)/[\w./-]+\.(?:py|yaml|md|json|txt|png)\b", README))
    assert len(files) > 8
    assert {name for name in files if not (ROOT / name).exists()} - {"docs/report.png"} == set()


def test_the_make_targets_named_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
