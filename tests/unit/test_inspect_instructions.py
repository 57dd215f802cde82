"""The page about an instruct run: every draft beside its correction, unit by unit, and what became of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import manifest
from imageref_ray.batch.store import Result, Store
from imageref_ray.commands import inspection
from imageref_ray.core.records import Answer, Failure, Image, Instruction, Unit, Usage, to_row
from tests.unit.test_inspection import EVIL, Reader, evil, parsed

DRAFT = "Two red boats lie here. A dog sleeps on the pier. It rains."
UNITS = (
    Unit("Two red boats lie here.", "kept", before=0.97),
    Unit(" A dog sleeps on the pier.", "changed", " A cat sleeps on the pier.", 0.08, 0.91),
    Unit(" It rains.", "dropped", " It snows.", 0.2, 0.3),
)


def instruction(image: Image, number: int = 0, **changes: Any) -> Instruction:
    """One whose answer was verified: a unit kept, one rewritten, one dropped."""
    made = Instruction(
        f"{image.id}:{number}",
        image,
        "conversation",
        "Ask a question about the picture.",
        "What is to be seen?",
        DRAFT,
        DRAFT,
        UNITS,
        "Two red boats lie here. A cat sleeps on the pier.",
        "end",
        usage=Usage(5, 640, 96, 32, 88),
    )
    return dataclasses.replace(made, **changes)


def picture(folder: Path, name: str = "0.png") -> Image:
    PIL.Image.new("RGB", (80, 60), "teal").save(folder / name)
    return Image(name, str(folder / name))


def instruct(
    folder: Path, by_image: Sequence[Sequence[Instruction]], failures: Sequence[Failure] = (), done: bool = True
) -> Path:
    run, settings = folder / "run", {"job": "instruct", "tasks": ["conversation"]}
    manifest.begin(run, settings)
    rows = [
        Result(str(k), {"id": str(k), "instructions": [to_row(item) for item in items]}, Usage(5, 640, 96, 32, 88))
        for k, items in enumerate(by_image)
    ]
    Store(run).write(rows, failures)
    if done:
        manifest.finish(run, settings, settings, {"records": len(rows), "seconds": 9.0, "tokens_per_second": 40.0})
    return run


def page_of(run: Path, samples: int = 48) -> Reader:
    page = inspection.write_page(inspection.read_view(run, samples), run / "inspect.html")
    return parsed(page.path.read_text(encoding="utf-8"))


def words(page: Reader) -> str:
    return " ".join(page.text.split())


def flags(page: Reader) -> list[set[str]]:
    """What each card can be filtered by."""
    return [
        {name.removeprefix("data-") for name in attributes if name.startswith("data-")}
        for tag, attributes in page.tags
        if tag == "article"
    ]


def test_every_unit_shows_what_became_of_it_and_how_probable_it_was(tmp_path: Path) -> None:
    page = page_of(instruct(tmp_path, [[instruction(picture(tmp_path))]]))
    draft, corrected = words(page).split(" Draft ", 1)[1].split(" Corrected ", 1)
    assert draft == DRAFT
    assert corrected.startswith(
        "Two red boats lie here. ✓ kept p 0.97 "
        "A dog sleeps on the pier. A cat sleeps on the pier. ✎ rewritten p 0.08 → 0.91 "
        "It rains. tried instead: It snows. ✕ dropped p 0.20 → 0.30"
    )
    struck = [tag for tag, _ in page.tags].count("del")
    assert struck == 4  # two sentences of the draft, two units
    assert flags(page) == [{"changed", "dropped", "different", "task-0"}]
    assert any(attributes.get("class") == "pic p0" for _, attributes in page.tags)


def test_all_instructions_are_counted_by_task_also_those_not_shown(tmp_path: Path) -> None:
    image = picture(tmp_path)
    same = instruction(image, 1, units=(Unit(DRAFT),), corrected=DRAFT, task="detail", ended="steps")
    useless = instruction(
        image, 2, problem="the reply is no question: 'Where'", units=(), corrected="", ended="", question=""
    )
    run = instruct(tmp_path, [[instruction(image)], [same, useless]])
    text = words(page_of(run, samples=0))
    assert "conversation ended: the answer ended 1 1 1 0% 1 (33%) 1 (33%) 1 (33%) 0.42 0.60" in text
    assert "detail ended: as many units as asked for 1 1 0 100% 1 (100%) 0 (0%) 0 (0%) – –" in text
    assert "the reply is no question 1 conversation, for example: 'Where'" in text
    assert "probability of a unit 0.42 that the image shows it, before correction; mean of 3 units" in text
    page = page_of(run)
    assert flags(page) == [{"changed", "dropped", "different", "task-0"}, {"task-1"}, {"unusable", "task-0"}]
    assert "not used: the reply is no question: 'Where'" in words(page)
    assert "3 instructions about 2 images of 2" in words(page)


def test_knowledge_questions_show_their_answers_by_weight(tmp_path: Path) -> None:
    answers = (Answer("a boat", 30.0), Answer("a ship", 10.0))
    asked = instruction(picture(tmp_path), task="okvqa", candidates=answers, units=(), ended="", corrected="", draft="")
    assert "Answers by weight a boat 75 % a ship 25 %" in words(page_of(instruct(tmp_path, [[asked]])))


def test_questions_without_answers_and_answers_without_units_say_so(tmp_path: Path) -> None:
    image = picture(tmp_path)
    asked = instruction(image, units=(), ended="", answer="", corrected="")
    emptied = instruction(image, 1, units=(Unit(DRAFT, "dropped"),), corrected="", ended="repeats")
    page = page_of(instruct(tmp_path, [[asked, emptied]], done=False))
    assert "Corrected not answered" in words(page) and "✕ dropped" in words(page)
    assert "Not finished" in words(page) and flags(page)[1] == {"dropped", "different", "early", "task-0"}


def test_nothing_of_an_instruct_run_becomes_markup(tmp_path: Path) -> None:
    image = picture(tmp_path)
    item = instruction(image, candidates=())
    units = tuple(dataclasses.replace(evil(unit), action=unit.action) for unit in UNITS)
    wicked = dataclasses.replace(evil(item), image=image, units=units)
    others = [
        dataclasses.replace(wicked, candidates=(Answer(EVIL, 2.0),)),
        dataclasses.replace(wicked, problem=EVIL, image=Image(EVIL, EVIL)),
    ]
    run = instruct(tmp_path, [[wicked, *others]], [Failure(EVIL, EVIL, EVIL, EVIL)])
    page = page_of(run)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) > 15


@pytest.mark.parametrize("broken", [3, [3], [{}], [{"id": "a", "image": None, "task": 5, "units": [{}]}]])
def test_rows_that_hold_something_else_are_counted_and_the_rest_is_shown(tmp_path: Path, broken: Any) -> None:
    run = instruct(tmp_path, [[instruction(picture(tmp_path))]], done=False)
    Store(run).write([Result("b", {"instructions": broken})], [])
    text = words(page_of(run))
    assert "1 rows cannot be read as instructions" in text and "1 instruction about 1 image of 2" in text


def test_an_image_that_is_gone_is_reported_in_its_place(tmp_path: Path) -> None:
    run = instruct(tmp_path, [[instruction(picture(tmp_path))]])
    (tmp_path / "0.png").unlink()
    assert f"not shown: {tmp_path / '0.png'} does not exist" in words(page_of(run))
