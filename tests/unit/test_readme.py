"""The README is short, draws the rooms as they are, and names only files and targets that exist."""

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


def test_it_takes_two_minutes_to_read() -> None:
    assert len(README.splitlines()) <= 110


def test_every_link_leads_to_a_file() -> None:
    linked = re.findall(r"\]\(([^)#]+)", README)
    assert len(linked) > 20
    assert [name for name in linked if not (ROOT / name).is_file()] == []


def test_the_stages_and_modules_in_the_drawing_exist() -> None:
    drawing = README.partition("## The way of the data")[2].partition("\n## ")[0]
    named = re.findall(r"\b((?:sources|stages|batch|dataset|training|evaluation|serving)/[\w./]*)", drawing)
    assert len(named) > 7
    assert [name for name in named if not (ROOT / "imageref_ray" / name).exists()] == []


def test_the_make_targets_named_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^    )make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
