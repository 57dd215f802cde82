"""The README draws the rooms as they are, and names only files and targets that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_room_has_its_line_and_nothing_lies_beside_them() -> None:
    rooms = {path.name for path in (ROOT / "imageref_ray").iterdir() if path.is_dir() and path.name != "__pycache__"}
    listed = re.findall(r"^      (\w+)/ ", README.partition("## The eleven rooms")[2], re.MULTILINE)
    assert len(listed) == 11
    assert set(listed) == rooms
    loose = {path.name for path in (ROOT / "imageref_ray").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "py.typed"}


def test_what_is_named_exists() -> None:
    files = set(re.findall(r"\b(?:jobs|docs|serve|requirements|tests)/[\w./-]+\.(?:py|yaml|md|json|txt|png)\b", README))
    assert len(files) > 8
    assert {name for name in files if not (ROOT / name).exists()} - {"docs/report.png"} == set()


def test_the_make_targets_named_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
