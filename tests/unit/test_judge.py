"""What a judge is asked about an answer, and what is read from its reply."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imageref_ray.core.records import Image
from imageref_ray.engines.base import Generate, Reply, Request, RequestError
from imageref_ray.stages import judge as stage
from imageref_ray.stages.judge import Item, Judgement, judge, read_values, unasked_response
from imageref_ray.stages.parsing import ParseError
from imageref_ray.stages.prompts.rubric import Rubric, load_rubric

SINGLE, PAIRWISE, RELATIVE = load_rubric("single"), load_rubric("pairwise"), load_rubric("relative")
IMAGES, CITATION = load_rubric("images"), load_rubric("citation")
PHOTOS = tuple(Image(f"7/{k}.jpg", f"7/{k}.jpg", str(k)) for k in range(2))
ANSWER = "# Fair\nMuch to see.\n### Boats\nTwo boats came.\n![Two red boats](IMAGE_2)\n### End\nIt ended.\nIMAGE_9"
ITEM = Item("mine/1", "What happened?", "# Fair\nBoats.\nIMAGE_1", ANSWER, "# Other\nNothing.", PHOTOS)


def replying(*replies: str | Callable[[str], str]) -> tuple[list[str], Generate]:
    """A judge that gives these replies in order, the last one for ever; and the prompts it saw."""
    prompts: list[str] = []

    async def generate(request: Request) -> Reply:
        assert request.sampling.temperature == 0 and request.sampling.max_tokens == 99
        parts = [part if isinstance(part, str) else f"<{part.id}>" for part in request.messages[-1].parts]
        prompts.append("".join(parts))
        reply = replies[min(len(prompts), len(replies)) - 1]
        return Reply((reply if isinstance(reply, str) else reply(prompts[-1]),))

    return prompts, generate


async def judged(rubric: Rubric, item: Item, *replies: str | Callable[[str], str]) -> tuple[list[str], list[Judgement]]:
    prompts, generate = replying(*replies)
    return prompts, list(await judge(item, generate, rubric, 99))


def test_the_samples_are_read() -> None:
    assert read_values(stage.RATING_SAMPLE, SINGLE) == {"rating": 6.5}
    assert read_values(stage.CRITERIA_SAMPLE, IMAGES) == {"coherence": 9, "helpfulness": 7, "reference": 8}
    assert read_values(stage.VERDICT_SAMPLE, PAIRWISE) == {"win": 0}


@pytest.mark.parametrize("reply", ["", "Rating: 7", "[7]", "[[seven]]", "[[0]]", "[[10.5]]", "[[-3]]", "[[7] ]"])
def test_a_reply_without_a_rating_in_range_is_no_rating(reply: str) -> None:
    with pytest.raises(ParseError):
        read_values(reply, SINGLE)


def test_every_criterion_needs_its_own_rating() -> None:
    with pytest.raises(ParseError, match=r"no rating .* of reference"):
        read_values("coherence: [[9]]\nhelpfulness: [[7]]\nreferences are fine [[8]]", IMAGES)
    assert read_values("reference: [[8]], answer: [[4]]", RELATIVE) == {"reference": 8, "answer": 4}


async def test_an_answer_is_rated_once_and_without_its_images() -> None:
    (prompt,), (said,) = await judged(SINGLE, ITEM, "Good. [[7]]")
    assert said == Judgement({"rating": 7}, said.prompt, "Good. [[7]]")
    assert prompt in said.prompt and "impartial judge" in said.prompt
    assert "IMAGE_" not in prompt and "Two red boats" not in prompt
    assert "<example>\n# Fair\nBoats.\n</example>" in prompt


async def test_a_reply_without_a_rating_is_asked_for_once_more_and_then_unrated() -> None:
    prompts, (said,) = await judged(SINGLE, ITEM, "Fine!", "[[8]]")
    assert said.values == {"rating": 8} and len(prompts) == 2 and prompts[1].endswith(SINGLE.again)
    prompts, (said,) = await judged(SINGLE, ITEM, "Fine!", "Very fine!", "[[8]]")
    assert (said.values, said.response, len(prompts)) == ({}, "Very fine!", 2)


async def test_an_empty_answer_has_the_lowest_ratings_and_nobody_is_asked() -> None:
    for answer in ("", " \n", "IMAGE_1"):
        item = Item("mine/1", "What?", "# Fair", answer)
        assert await judged(SINGLE, item, "[[9]]") == ([], [Judgement({"rating": 1})])
        assert await judged(RELATIVE, item, "[[9]]") == ([], [Judgement({"reference": 10, "answer": 1})])


async def test_a_pair_is_judged_in_both_orders() -> None:
    better = lambda prompt: "[[A]]" if prompt.index("Two boats came.") < prompt.index("Nothing.") else "[[B]]"  # noqa: E731
    prompts, said = await judged(PAIRWISE, ITEM, better)
    assert [(one.about, one.values) for one in said] == [("answer", {"win": 1}), ("baseline", {"win": 1})]
    assert len(prompts) == 2
    _, said = await judged(PAIRWISE, ITEM, "[[A]]")
    assert [one.values for one in said] == [{"win": 1}, {"win": 0}]  # whoever is first
    _, said = await judged(PAIRWISE, ITEM, "[[C]]")
    assert [one.values for one in said] == [{"win": 0.5}, {"win": 0.5}]


@pytest.mark.parametrize(("answer", "baseline", "win"), [("", "Text.", 0), ("Text.", "IMAGE_1", 1), ("", "", 0.5)])
async def test_an_empty_answer_loses_without_a_judge(answer: str, baseline: str, win: float) -> None:
    item = Item("mine/1", "What?", "", answer, baseline)
    assert await judged(PAIRWISE, item, "[[A]]") == (
        [],
        [Judgement({"win": win}, about="answer"), Judgement({"win": win}, about="baseline")],
    )


async def test_every_image_is_shown_at_its_place_without_the_others() -> None:
    prompts, (boats, invented) = await judged(IMAGES, ITEM, stage.CRITERIA_SAMPLE)
    shown = "### Boats\nTwo boats came.\n<7/1.jpg>\nTwo red boats\n### End\nIt ended.\n</answer>"
    assert len(prompts) == 1 and shown in prompts[0] and "IMAGE_" not in prompts[0]
    assert (boats.about, boats.values["coherence"]) == ("7/1.jpg", 9)
    assert invented == Judgement({"coherence": 1, "helpfulness": 1, "reference": 1}, about="IMAGE_9")
    assert "<image 7/1.jpg>" in boats.prompt


async def test_captions_are_judged_where_there_are_any() -> None:
    prompts, (said,) = await judged(CITATION, ITEM, "[[3]]")
    assert "<caption>\nTwo red boats\n</caption>" in prompts[0] and said.values == {"faithfulness": 3}
    assert await judged(CITATION, Item("mine/1", "What?", "", "Text.\nIMAGE_1", images=PHOTOS)) == ([], [])


async def test_a_refused_request_is_the_records_failure() -> None:
    async def refuse(request: Request) -> Reply:
        raise RequestError("too long")

    with pytest.raises(RequestError, match="too long"):
        await judge(ITEM, refuse, PAIRWISE, 99)


@pytest.mark.parametrize("rubric", [SINGLE, RELATIVE, IMAGES, CITATION], ids=lambda rubric: rubric.name)
def test_what_no_judge_was_asked_reads_as_if_one_had_been(rubric: Rubric) -> None:
    assert read_values(unasked_response(Judgement(stage.lowest(rubric)), rubric), rubric) == stage.lowest(rubric)


def test_a_verdict_that_no_judge_gave_names_the_answer_at_its_place() -> None:
    said = [Judgement({"win": win}, about=first) for win in (1, 0, 0.5) for first in ("answer", "baseline")]
    assert [unasked_response(one, PAIRWISE) for one in said] == [f"[[{v}]]" for v in "ABBACC"]
