"""Evaluation around the engine: what a question asks, and at which slots the images of an answer are."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from rich.console import Console

from imageref_ray.core.config import ConfigError, EvaluateConfig, ScriptedConfig
from imageref_ray.core.records import Image, to_row
from imageref_ray.dataset.paper_formats import Question, write_jsonl, write_labels
from imageref_ray.engines.base import Generate, Reply, Request, RequestError, Sampling, UnsupportedError
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.answer_modes import MODES, Manner
from imageref_ray.evaluation.evaluate_placement import answer_question, evaluate_placement, prepare
from imageref_ray.evaluation.placement_metrics import METRICS
from imageref_ray.stages import prompts
from imageref_ray.stages.place import guide
from imageref_ray.stages.prompts import load_pack
from tests.loopback import Step, fails, loopback, says
from tests.openai_engine import engine

IMAGES = tuple(Image(f"5/{k}.jpg", f"image/5/{k}.jpg") for k in range(3))
REFERENCE = "# A fair\nMuch to see.\n### Boats\nTwo boats came.\nIMAGE_1\n### Charts\nSongs were counted.\nIMAGE_2"
QUESTION = Question(
    "1", ("Tell it.\nIMAGE_1: ", IMAGES[0], "\nIMAGE_2: ", IMAGES[1], "\nIMAGE_3: ", IMAGES[2]), REFERENCE
)
MANNER = Manner(load_pack("compact"), system="Be brief.", sampling=Sampling(max_tokens=9))


async def answer(mode: str, generate: Generate, manner: Manner = MANNER) -> tuple[str, str]:
    """The text of the answer, and the mode in which it was made."""
    row = await answer_question({**to_row(QUESTION), "mode": mode}, generate, manner)
    return row["text"], row["made"]


async def test_guided_keeps_the_text_and_asks_with_the_same_messages_as_free() -> None:
    requests: list[Request] = []

    async def generate(request: Request) -> Reply:
        requests.append(request)
        if request.guide is None:
            return Reply(("# Something else",))
        return Reply(("IMAGE_3\n" if request.prefix.endswith("Two boats came.\n") else "",))

    placed = REFERENCE.replace("\nIMAGE_2", "").replace("IMAGE_1", "IMAGE_3")
    assert await answer("guided", generate) == (placed, "guided")
    assert await answer("free", generate) == ("# Something else", "free")
    assert {request.messages for request in requests} == {requests[0].messages}
    assert [message.role for message in requests[0].messages] == ["system", "user"]
    assert requests[0].messages[1].parts == QUESTION.prompt
    assert requests[-1].sampling.max_tokens == 9


async def test_an_engine_that_cannot_continue_places_all_images_in_one_request() -> None:
    requests: list[Request] = []

    async def generate(request: Request) -> Reply:
        if request.prefix:
            raise UnsupportedError("no")
        requests.append(request)
        return Reply((prompts.predictions([None, 3, None]),))

    placed = REFERENCE.replace("\nIMAGE_2", "").replace("IMAGE_1", "IMAGE_3")
    assert await answer("guided", generate) == await answer("structured", generate) == (placed, "structured")
    (turn,) = requests[0].messages
    assert turn.images == QUESTION.images
    assert turn.parts[:2] == QUESTION.prompt[:2]
    assert requests[0].guide == guide(3, 3, 0)
    assert "### Boats\n<Position 2>\nTwo boats came." in str(turn.parts[-1])


NEWS = replace(
    QUESTION, prompt=("Tell it.\n# Fair\nBoats.\nIMAGE_2: ", IMAGES[1], "\nIMAGE_1: ", IMAGES[0], "\nCharts.")
)


async def test_captions_stand_where_the_images_were() -> None:
    async def generate(request: Request) -> Reply:
        asked = str(request.messages[-1].parts[-1])
        if request.images:
            (image,) = request.images
            return Reply((f"Seen {image.uri}." if asked.endswith("Describe the picture.") else f"Is {image.uri}.",))
        return Reply((asked,))

    row = {**to_row(NEWS), "mode": "captions"}
    text = (await answer_question(row, generate, MANNER))["text"]
    assert text == "Tell it.\n# Fair\nBoats.\nIMAGE_2: Is image/5/1.jpg.\nIMAGE_1: Is image/5/0.jpg.\nCharts."


async def test_staged_asks_three_times_and_places_by_the_numbers_of_the_question() -> None:
    asked: list[str] = []

    async def generate(request: Request) -> Reply:
        text = "".join(part if isinstance(part, str) else f"[{part.uri}]" for part in request.messages[-1].parts)
        asked.append(text)
        if text.endswith("Write the response."):
            return Reply((REFERENCE,))
        return Reply((prompts.predictions([None, 2, 1]) if request.guide else f"C{len(asked)}",))

    row = {**to_row(NEWS), "mode": "staged"}
    answered = (await answer_question(row, generate, MANNER))["text"]
    assert [int(k) for k in re.findall(r"IMAGE_(\d)", answered)] == [2, 1]
    assert asked[0] == "Tell it.\n# Fair\nBoats.\nCharts.\nWrite the response."
    assert any("# Fair\nBoats.\n[image/5/0.jpg]\nCharts." in text for text in asked)
    assert asked[-1].startswith("IMAGE_1: C")


async def test_an_endpoint_that_refuses_unknown_fields_answers_in_all_modes(tmp_path: Path) -> None:
    known = {"model", "messages", "temperature", "top_p", "n", "seed", "stop", "logprobs", "top_logprobs"}
    known |= {"max_tokens", "response_format"}

    def openai(body: dict[str, Any]) -> Step:
        if unknown := sorted(body.keys() - known):
            return fails(400, f"Unrecognized request argument supplied: {unknown[0]}")
        asked = body["messages"][-1]["content"]
        asked = asked if isinstance(asked, str) else asked[-1].get("text", "")
        if asked.endswith("Place the pictures."):
            return says(prompts.predictions([None, 1, None]))
        return says(REFERENCE if asked.endswith("Write the response.") else "# A fair\nTwo boats.")

    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "0.jpg")
    image = Image("5/0.jpg", str(tmp_path / "0.jpg"))
    question = replace(QUESTION, prompt=("# Fair\nTell it.\nIMAGE_1: ", image))
    with loopback(otherwise=openai) as server:
        asked = engine(server.url)
        rows = [{**to_row(question), "mode": mode} for mode in MODES]
        answers = {row["mode"]: await answer_question(row, asked.generate, MANNER) for row in rows}
        await asked.close()
    assert {mode: row["made"] for mode, row in answers.items()} == {mode: mode for mode in MODES} | {
        "guided": "structured"
    }


def test_a_question_with_a_missing_image_fails_as_a_whole():
    with pytest.raises(RequestError, match=r"image/5/0.jpg does not exist"):
        prepare(to_row(QUESTION))


def test_a_question_with_more_images_than_the_limit_says_so():
    with pytest.raises(RequestError, match="3 images, more than the 2 of max_images"):
        prepare(to_row(QUESTION), max_images=2)


def test_labels_of_another_test_set_are_refused(tmp_path):
    human = {"from": "human", "value": "Tell it."}
    write_jsonl(tmp_path / "test.jsonl", [{"id": "1", "conversations": [human, {"from": "gpt", "value": REFERENCE}]}])
    write_labels(tmp_path / "label.csv", {"2": {}})
    config = EvaluateConfig(
        data=tmp_path / "test.jsonl",
        labels=tmp_path / "label.csv",
        output=tmp_path / "run",
        engine=ScriptedConfig(script="tests.scripted:annotator"),
    )
    with pytest.raises(ConfigError, match="give the labels of this test set"):
        evaluate_placement(config)
    assert not (tmp_path / "run").exists()


def test_the_closing_lines_name_both_ways_of_decoding_and_what_is_missing() -> None:
    values = dict.fromkeys(METRICS, 0.75)
    metrics = {"events": 1200, **values, "intervals": {name: [0.7, 0.8004] for name in METRICS}}
    summary = {
        "guided": {**metrics, "missing_events": 2, "unparsed_events": 0},
        "free": {**metrics, "missing_events": 0, "unparsed_events": 1},
        "run": {"problems": {"MissingImage": 2}},
    }
    screen = Console(file=io.StringIO(), width=140)
    screen.print(tables.placement("t", summary))
    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    for text in ("guided", "free", "0.750", "0.700 – 0.800", "1,200", "F1", "recall_3"):
        assert text in printed
    assert tables.notes(summary) == [
        "guided: 2 labelled events have no answer; the quarantine says why",
        "free: 1 answers share no section with the reference and count as answers without images",
        "problems: MissingImage 2",
    ]
