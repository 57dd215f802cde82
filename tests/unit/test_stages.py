"""The stages with a written-out model: what is asked, in which order, and what comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from imageref_ray.core import markdown
from imageref_ray.core.records import Caption, Document, Failure, Image, Placement, Record, Sample, Usage
from imageref_ray.engines.base import Generate, Reply, Request, Sampling
from imageref_ray.stages import parsing, prompts
from imageref_ray.stages.caption import caption
from imageref_ray.stages.free_decode import decode
from imageref_ray.stages.guided_decode import guided, pattern
from imageref_ray.stages.place import guide, place
from imageref_ray.stages.respond import respond

PACK = prompts.load_pack("compact")
GREEDY = Sampling()
COST = Usage(1, 10, 4, 2, 3)
SAMPLE = Sample(
    "s",
    "Tell me.",
    (
        Document("7", "Boats", "Mara came.\n[Image 0]", (Image("7/0.jpg", "a", "aa"),)),
        Document(
            "8", "Tents", "[Image 0]\nRain.\n[Image 1]", (Image("8/0.jpg", "b", "bb"), Image("8/1.jpg", "c", "cc"))
        ),
    ),
)
RESPONSE = "# Boats\nAll of it.\n### Mara\nShe came.\n### Rain\nIt rained.\nA lot."


def model(answer: Callable[[Request], str], asked: list[Request] | None = None) -> Generate:
    """An engine that answers by a function and writes down what it was asked."""

    async def generate(request: Request) -> Reply:
        if asked is not None:
            asked.append(request)
        return Reply((answer(request),), usage=COST)

    return generate


def captioned() -> Record:
    captions = tuple(Caption(image.id, "seen", f"Caption of {image.id}.") for image in SAMPLE.images)
    return Record(SAMPLE, response=RESPONSE, captions=captions, usage=COST)


async def test_respond_writes_the_text_without_seeing_images() -> None:
    asked: list[Request] = []
    record = await respond(Record(SAMPLE), model(lambda request: f"```\n{RESPONSE}\n```", asked), PACK, GREEDY)
    assert record == Record(SAMPLE, response=RESPONSE, usage=COST)
    assert asked == [Request(prompts.respond(PACK, SAMPLE), GREEDY)] and asked[0].images == ()


async def test_a_response_cut_off_by_the_token_limit_is_an_error_that_says_what_to_do() -> None:
    async def cut(request: Request) -> Reply:
        return Reply((RESPONSE,), ("length",))

    with pytest.raises(parsing.ParseError, match="response was cut off at 1024 tokens; raise max_tokens"):
        await respond(Record(SAMPLE), cut, PACK, GREEDY)


async def test_caption_asks_twice_an_image_and_shows_the_second_turn_what_the_first_saw() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> str:
        (image,) = request.images
        return f"what {image.sha256} shows" if len(asked_texts(request)) < 30 else f"Caption of {image.id}."

    record = await caption(Record(SAMPLE), model(answer, asked), PACK, GREEDY)
    assert record.captions == tuple(
        Caption(image.id, f"what {image.sha256} shows", f"Caption of {image.id}.") for image in SAMPLE.images
    )
    assert record.usage == Usage(6, 60, 24, 12, 18)
    seconds = [text for text in map(asked_texts, asked) if text.endswith("Caption the picture.")]
    assert all(
        f"Picture: what {image.sha256} shows" in text for image, text in zip(SAMPLE.images, seconds, strict=True)
    )
    assert "Rain." not in seconds[0] and "Rain." in seconds[1]


def asked_texts(request: Request) -> str:
    return "".join(part for message in request.messages for part in message.parts if isinstance(part, str))


async def test_all_images_are_asked_about_at_once() -> None:
    waiting = asyncio.Event()
    first = 0

    async def generate(request: Request) -> Reply:
        nonlocal first
        first += 1
        if first == 3:
            waiting.set()
        await asyncio.wait_for(waiting.wait(), 60)
        return Reply(("Some words.",))

    assert len((await caption(Record(SAMPLE), generate, PACK, GREEDY)).captions) == 3


async def test_a_failing_image_fails_the_record_after_all_requests_have_ended() -> None:
    ended = 0

    async def generate(request: Request) -> Reply:
        nonlocal ended
        await asyncio.sleep(0 if request.images[0].id == "7/0.jpg" else 0.01)
        ended += 1
        return Reply(("" if request.images[0].id == "7/0.jpg" else "Words.",))

    with pytest.raises(parsing.ParseError, match="the caption is empty"):
        await caption(Record(SAMPLE), generate, PACK, GREEDY)
    assert ended == 5


async def test_the_context_of_a_caption_is_cut_to_its_tokens() -> None:
    asked: list[Request] = []
    await caption(Record(SAMPLE), model(lambda request: "Words.", asked), PACK, GREEDY, context_tokens=3)
    assert asked_texts(asked[1]).startswith("Mara came.\n\nPicture:")


async def test_place_asks_under_a_schema_and_names_every_slot() -> None:
    asked: list[Request] = []
    reply = prompts.predictions([None, 1, 3])
    record = await place(captioned(), model(lambda request: reply, asked), PACK, GREEDY)
    assert record.placements == (Placement(1), Placement(2, "7/0.jpg"), Placement(3, "8/1.jpg"))
    assert record.usage == COST + COST
    assert asked[0].guide == guide(slots=3, images=3, words=0)
    assert "IMAGE_3: Caption of 8/1.jpg." in asked_texts(asked[0]) and "<Position 3>" in asked_texts(asked[0])


async def test_predictions_that_cannot_be_used_are_told() -> None:
    entries = [(1, "IMAGE_2"), (2, "Image 1"), (3, "IMAGE_9"), (7, "IMAGE_1")]
    reply = json.dumps({"predictions": [{"position": f"<Position {p}>", "image": image} for p, image in entries]})
    left_out: list[Failure] = []
    record = await place(captioned(), model(lambda request: reply, []), PACK, GREEDY, left_out=left_out)
    assert record.placements == (Placement(1, captioned().captions[1].image_id), Placement(2), Placement(3))
    (failure,) = left_out
    assert (failure.record_id, failure.stage, failure.error) == (record.id, "place", "UnreadPredictions")
    assert failure.message.startswith("the reply's 3 predictions name no position, no image that is listed")


async def test_nothing_to_place_costs_no_request() -> None:
    asked: list[Request] = []
    record = await place(replace(captioned(), captions=()), model(lambda request: "", asked), PACK, GREEDY)
    assert record.placements == (Placement(1), Placement(2), Placement(3)) and asked == []


def test_the_schema_fixes_positions_in_order_and_asks_for_reasons_only_where_the_pack_does() -> None:
    plain, reasoned, short = guide(2, 1, words=0), guide(2, 1), guide(2, 1, words=12)
    assert plain.kind == "json" and list(json.loads(json.dumps(plain.value))) == list(plain.value)
    listed = plain.value["properties"]["predictions"]
    assert (listed["minItems"], listed["maxItems"], listed["items"]) == (2, 2, False)
    assert [item["properties"] for item in listed["prefixItems"]] == [
        {"position": {"const": f"<Position {p}>"}, "image": {"type": "string", "enum": ["IMAGE_1", "Not Insert"]}}
        for p in (1, 2)
    ]
    entry = reasoned.value["properties"]["predictions"]["prefixItems"][0]
    assert entry["required"] == ["position", "analysis", "image", "explanation"]
    assert [entry["properties"][key]["maxLength"] for key in ("analysis", "explanation")] == [400, 400]
    entry = short.value["properties"]["predictions"]["prefixItems"][0]
    assert [entry["properties"][key]["maxLength"] for key in ("analysis", "explanation")] == [120, 120]


async def test_the_words_asked_for_are_those_of_the_prompt_and_of_the_schema() -> None:
    asked: list[Request] = []
    answer = model(lambda request: prompts.predictions([None, 1, 3]), asked)
    for words in (None, 0, 7):
        await place(captioned(), answer, prompts.load_pack("default-en"), GREEDY, words=words)
    assert [request.guide for request in asked] == [guide(3, 3), guide(3, 3, 0), guide(3, 3, 7)]
    full, none, short = map(asked_texts, asked)
    assert "one short sentence" in full and "at most 7 words" in short
    assert "analysis" not in none and "explanation" not in none


def example(id: str, text: str) -> prompts.CaptionExample:
    image = Image(f"{id}/0.jpg", f"{id}.jpg", id)
    return prompts.CaptionExample(Document(id, "", text, (image,)), image, f"seen in {id}", f"caption of {id}")


EXAMPLES = (example("x", "A market."), example("y", "Rain fell."), example("z", "Mara came to the harbour."))


async def turns_before(examples: prompts.Examples[prompts.CaptionExample]) -> tuple[set[object], list[object]]:
    """What stands before the question in the descriptions' and in the captions' requests, in the images' order."""
    asked: list[Request] = []
    await caption(Record(SAMPLE), model(lambda r: "Words.", asked), prompts.load_pack("default-en"), GREEDY, examples)
    seconds = {r.images[-1].id: r.messages[:-1] for r in asked if "What is visible" in asked_texts(r)}
    firsts = {r.messages[:-1] for r in asked if "What is visible" not in asked_texts(r)}
    assert len(seconds) == 3 and all(before[0].role == "system" for before in seconds.values())
    return set(firsts), [seconds[image.id] for image in SAMPLE.images]


async def test_the_first_examples_stand_before_all_that_differs_between_requests() -> None:
    firsts, seconds = await turns_before(prompts.Examples(EXAMPLES, 2))
    assert len(firsts) == len(set(seconds)) == 1
    assert [turn.parts for turn in seconds[0] if turn.role == "assistant"] == [("caption of x",), ("caption of y",)]  # type: ignore[attr-defined]


async def test_examples_by_likeness_are_those_like_the_document_and_the_same_for_all_its_images() -> None:
    firsts, (boats, *tents) = await turns_before(prompts.by_likeness(EXAMPLES, 1))
    assert boats[-1].parts == ("caption of z",)  # type: ignore[index]
    assert len(set(tents)) == 1 and tents[0][-1].parts == ("caption of y",)  # type: ignore[index]
    assert len(firsts) == 1  # descriptions, which know no document, are shown the first


async def test_placement_examples_by_likeness_follow_response_and_captions() -> None:
    asked: list[Request] = []
    pool = [prompts.PlaceExample((), text, text) for text in ("# Kites\nOver the hill.", "# Rain\nIt rained.")]
    reply = model(lambda request: prompts.predictions([None, 1, 3]), asked)
    await place(captioned(), reply, prompts.load_pack("default-en"), GREEDY, prompts.by_likeness(pool, 1))
    assert [turn.parts for turn in asked[0].messages if turn.role == "assistant"] == [("# Rain\nIt rained.",)]


async def test_decode_is_one_request_and_returns_the_text_as_it_is() -> None:
    asked: list[Request] = []
    text, usage = await decode(SAMPLE, model(lambda request: "anything", asked), "Be brief.", GREEDY)
    assert (text, usage) == ("anything", COST)
    assert asked == [Request(prompts.answer(PACK, SAMPLE, "Be brief."), GREEDY)]
    assert asked[0].images == SAMPLE.images


def chooser(*choices: str) -> tuple[Generate, list[Request]]:
    """An engine that gives these replies in turn, each checked against the request's guide."""
    left, asked = list(choices), list[Request]()

    def answer(request: Request) -> str:
        reply = left.pop(0)
        assert request.guide is not None and re.fullmatch(request.guide.value, reply), reply
        return reply

    return model(answer, asked), asked


async def test_guided_decides_slot_by_slot_and_every_prompt_extends_the_last() -> None:
    generate, asked = chooser("IMAGE_2\n", "###", "", "IMAGE_1\n")
    with_images = markdown.insert(RESPONSE, {1: 3, 3: 1}, "after")
    text, chosen, usage = await guided(SAMPLE, with_images, generate)
    assert text == markdown.insert(RESPONSE, {1: 2, 4: 1}, "after")
    assert chosen == {1: "8/0.jpg", 4: "7/0.jpg"}
    assert usage == Usage(4, 40, 16, 8, 12)
    assert asked[0].prefix == "# Boats\nAll of it.\n"
    assert asked[1].prefix == "# Boats\nAll of it.\nIMAGE_2\n### Mara\nShe came.\n"
    for before, after in pairwise(asked):
        assert after.prefix.startswith(before.prefix) and after.messages == before.messages
    assert markdown.check(text, SAMPLE) == []


async def test_guided_asks_after_a_table_or_code_and_never_inside() -> None:
    response = "# Boats\n| Boat | Place |\n|---|---|\n| Mara | quay |\n## Run\n```\n# start\n```\nEnd."
    generate, asked = chooser("IMAGE_2\n", "IMAGE_1\n", "")
    text, chosen, _ = await guided(SAMPLE, response, generate)
    assert text == markdown.insert(response, {1: 2, 2: 1}, "after") and chosen == {1: "8/0.jpg", 2: "7/0.jpg"}
    assert asked[0].prefix == "# Boats\n| Boat | Place |\n|---|---|\n| Mara | quay |\n"
    assert all(after.prefix.startswith(before.prefix) for before, after in pairwise(asked))
    assert markdown.check(text, SAMPLE) == []


async def test_guided_removes_used_images_and_paper_mode_keeps_them() -> None:
    generate, asked = chooser("IMAGE_2\n", "", "", "")
    await guided(SAMPLE, RESPONSE, generate)
    assert [request.guide.value for request in asked if request.guide] == [
        r"((IMAGE_1|IMAGE_2|IMAGE_3)\n|###)?",
        r"((IMAGE_1|IMAGE_3)\n|###)?",
        r"((IMAGE_1|IMAGE_3)\n|A)?",
        r"((IMAGE_1|IMAGE_3)\n)?",
    ]
    generate, asked = chooser("IMAGE_2\n", "IMAGE_2\n", "\n", "###")
    text, chosen, _ = await guided(SAMPLE, RESPONSE, generate, paper=True)
    assert chosen == {1: "8/0.jpg", 2: "8/0.jpg"} and text.count("IMAGE_2") == 2
    assert {request.guide.value for request in asked if request.guide} == {r"((IMAGE_1|IMAGE_2|IMAGE_3)\n|###|\n)?"}


async def test_guided_writes_captions_where_the_variant_has_them() -> None:
    generate, _ = chooser("![Two (red) boats](IMAGE_1)\n", "", "", "")
    text, chosen, _ = await guided(SAMPLE, RESPONSE, generate, "caption")
    assert chosen == {1: "7/0.jpg"}
    assert markdown.references(text) == [markdown.Reference(2, 1, "Two (red) boats", 1)]


async def test_guided_asks_nothing_once_all_images_are_used_and_takes_no_reply_outside_the_guide() -> None:
    generate, asked = chooser("IMAGE_1\n", "IMAGE_2\n", "IMAGE_3\n")
    await guided(SAMPLE, RESPONSE, generate)
    assert len(asked) == 3
    text, chosen, _ = await guided(SAMPLE, RESPONSE, model(lambda request: "IMAGE_7 and more"))
    assert (text, chosen) == (RESPONSE, {})


@pytest.mark.parametrize("variant", ["plain", "caption"])
def test_the_guide_admits_one_image_line_or_nothing_and_nothing_else(variant: str) -> None:
    admits = re.compile(pattern([1, 12], ["###"], "caption" if variant == "caption" else "plain"))
    line = "![Boote, 红](IMAGE_12)\n" if variant == "caption" else "IMAGE_12\n"
    assert all(admits.fullmatch(text) for text in (line, "###", ""))
    assert not any(admits.fullmatch(text) for text in (line * 2, line.strip(), line.replace("12", "2"), "####", "x"))
