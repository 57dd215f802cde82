"""Evaluation around the engine: what a question asks, and at which slots the images of an answer are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from imageref_ray.core.config import ConfigError, EvaluateConfig, ScriptedConfig
from imageref_ray.core.records import Image, to_row
from imageref_ray.dataset.paper_formats import Question, write_jsonl, write_labels
from imageref_ray.engines.base import Reply, Request, RequestError
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.evaluate_placement import answer_question, evaluate_placement, prepare
from imageref_ray.evaluation.placement_metrics import METRICS

IMAGES = tuple(Image(f"5/{k}.jpg", f"image/5/{k}.jpg") for k in range(3))
REFERENCE = "# A fair\nMuch to see.\n### Boats\nTwo boats came.\nIMAGE_1\n### Charts\nSongs were counted.\nIMAGE_2"
QUESTION = Question(
    "1", ("Tell it.\nIMAGE_1: ", IMAGES[0], "\nIMAGE_2: ", IMAGES[1], "\nIMAGE_3: ", IMAGES[2]), REFERENCE
)
SETTINGS = {"modes": ("guided", "free"), "variant": "plain", "paper": False, "system": "Be brief.", "max_tokens": 9}


async def test_both_modes_ask_with_the_same_messages_and_guided_keeps_the_text():
    requests: list[Request] = []

    async def generate(request: Request) -> Reply:
        requests.append(request)
        if request.guide is None:
            return Reply(("# Something else",))
        return Reply(("IMAGE_3\n" if request.prefix.endswith("Two boats came.\n") else "",))

    answers = await answer_question(to_row(QUESTION), generate, **SETTINGS)
    assert answers["guided"] == REFERENCE.replace("\nIMAGE_2", "").replace("IMAGE_1", "IMAGE_3")
    assert answers["free"] == "# Something else"
    assert {request.messages for request in requests} == {requests[0].messages}
    assert [message.role for message in requests[0].messages] == ["system", "user"]
    assert requests[0].messages[1].parts == QUESTION.prompt
    assert requests[-1].sampling.max_tokens == 9


def test_a_question_with_a_missing_image_fails_as_a_whole():
    with pytest.raises(RequestError, match=r"image/5/0.jpg does not exist"):
        prepare(to_row(QUESTION))


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
