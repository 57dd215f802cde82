"""Generation and correction with scripted models: what is asked, what it costs, what is kept of the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from imageref_ray import engines
from imageref_ray.core.config import CorrectConfig, ScriptedConfig
from imageref_ray.core.records import Answer, Image, Instruction, Unit, Usage, from_row, to_row
from imageref_ray.core.sentences import split
from imageref_ray.engines.base import Generate, Guide, Reply, Request, RequestError, Sampling
from imageref_ray.stages.ask import SHORT, ask, candidates
from imageref_ray.stages.best_of import best_of
from imageref_ray.stages.correct import correct, probability, repeats
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import load_instruct
from tests.scripted import STORY

PACK, EN = load_instruct("compact"), load_instruct("en")
BOATS = Image("7", "7.jpg", "aa")
GREEDY, WARM = Sampling(), Sampling(temperature=0.7)
ITEM = Instruction("7:detail:0", BOATS, "detail", PACK.ask["detail"][0], "What is it?", "A draft.", usage=Usage(1, 9))
COST = Usage(1, 10, 4, 2, 3)


def model(answer: Callable[[Request], Reply], asked: list[Request] | None = None) -> Generate:
    async def generate(request: Request) -> Reply:
        if asked is not None:
            asked.append(request)
        return answer(request)

    return generate


def storyteller(asked: list[Request] | None = None) -> Generate:
    engine = engines.make(ScriptedConfig(script="tests.scripted:storyteller"))

    async def generate(request: Request) -> Reply:
        if asked is not None:
            asked.append(request)
        return await engine.generate(request)

    return generate


def always(*texts: str, reason: str = "stop") -> Generate:
    return model(lambda request: Reply(texts, (reason,) * len(texts), COST))


async def told(**how: object) -> Instruction:
    return await correct(ITEM, storyteller(), PACK, GREEDY, CorrectConfig.model_validate(how))


def words(text: str) -> int:
    return len(text.split())


async def test_questions_come_in_one_request_and_repeats_and_nonsense_are_kept_as_problems() -> None:
    asked: list[Request] = []
    texts = ("Question: What is it? Answer: A boat.", "Nonsense.", "Question: WHAT is it?! Answer: A ship.")
    told = model(lambda request: Reply(texts, ("stop",) * 3, COST), asked)
    first, second, third = await ask(BOATS, told, PACK, "conversation", WARM, count=3)
    assert (first.id, first.question, first.draft, first.usage) == ("7:conversation:0", "What is it?", "A boat.", COST)
    assert first.instruction == PACK.ask["conversation"][0] and first.problem == ""
    assert "not one question" in second.problem or "no JSON" in second.problem
    assert (second.draft, second.usage) == ("Nonsense.", Usage())
    assert third.problem == "asks what 7:conversation:0 asks"
    assert [(request.n, request.images) for request in asked] == [(3, (BOATS,))]


async def test_a_reply_that_was_cut_off_is_a_problem() -> None:
    (only,) = await ask(BOATS, always("Question: Why? Answer: Be", reason="length"), PACK, "detail", GREEDY)
    assert only.problem == "the reply was cut off at 1024 tokens; raise max_tokens"


async def test_several_greedy_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 questions at temperature 0 are all the same; raise the temperature"):
        await ask(BOATS, always("x"), PACK, "detail", GREEDY, count=3)


async def test_knowledge_questions_begin_with_drawn_words_the_same_for_the_same_seed() -> None:
    async def openings(seed: int) -> list[str]:
        asked: list[Request] = []
        told = model(lambda request: Reply((f" is {request.prefix}? Answer: Two.",), usage=COST), asked)
        items = await ask(BOATS, told, EN, "okvqa", GREEDY, count=6, seed=seed)
        assert all(item.usage == COST and item.draft == "Two." for item in items)
        return [request.prefix for request in asked]

    once = await openings(1)
    assert once == await openings(1) != await openings(2)
    assert all(prefix.removeprefix("Question: ").lower() in EN.first_words["okvqa"] for prefix in once)


async def test_candidates_are_weighed_merged_and_ordered() -> None:
    asked: list[Request] = []
    logprobs = ((-0.1, -0.3), (-2.0,), (-0.2,), (-9.0,), (-1.0,))
    texts = ("Boat.", "ship", "boat", " \n", "Ship")
    reply = Reply(texts, ("stop",) * 5, COST, logprobs)
    item = await candidates(replace(ITEM, task="okvqa"), model(lambda request: reply, asked), EN)
    assert [answer.text for answer in item.candidates] == ["Boat", "ship"]
    assert item.candidates[0].weight == pytest.approx(2 * 100 * math.exp(-0.6))
    assert item.candidates[1].weight == pytest.approx(100 * (math.exp(-6) + math.exp(-3)))
    assert (item.answer, item.corrected, item.usage) == ("Boat", "Boat", ITEM.usage + COST)
    assert [(request.n, request.logprobs, request.sampling) for request in asked] == [(5, 1, SHORT)]
    assert "What is it? Answer in a few words." in "".join(map(str, asked[0].messages[-1].parts))


async def test_candidates_without_log_probabilities_count_and_none_at_all_are_a_problem() -> None:
    item = await candidates(ITEM, always("boat", "boat", "ship"), EN, count=3)
    assert item.candidates == (Answer("boat", 2.0), Answer("ship", 1.0))
    assert "none of 2 answers" in (await candidates(ITEM, always(".", ""), EN, count=2)).problem


async def test_a_problem_costs_nothing_more() -> None:
    asked: list[Request] = []
    bad = replace(ITEM, problem="no question")
    silent = model(lambda request: Reply(("",)), asked)
    assert await correct(bad, silent, PACK, GREEDY, CorrectConfig()) == bad
    assert await candidates(bad, silent, PACK) == bad and asked == []


@pytest.mark.parametrize("style", ["vig", "vic"])
async def test_plain_continuation_is_the_one_pass_answer_at_its_price(style: str) -> None:
    item = await told(reread="continue", style=style, steps=9)
    assert item.corrected == item.answer == STORY.strip()
    assert [unit.text for unit in item.units] == split(STORY)
    assert item.ended == "end" and {unit.action for unit in item.units} == {"kept"}
    assert item.usage.generated_tokens == words(STORY) and item.usage.requests == ITEM.usage.requests + 1


async def test_steps_bound_the_answer_and_the_last_may_keep_all() -> None:
    two = await told(reread="continue", steps=2)
    assert (two.corrected, two.ended) == ("Two red boats lie here. They cost 3.5 dollars each.", "steps")
    assert two.answer == STORY.strip()
    everything = await told(reread="continue", steps=2, last_all=True)
    assert everything.corrected == STORY.strip() and len(everything.units) == 2


async def test_sections_are_paragraphs() -> None:
    item = await told(reread="continue", unit="section", steps=1)
    assert item.corrected == STORY.split("\n\n")[0].strip()


async def test_styles_ask_by_the_instruction_or_by_the_bare_question() -> None:
    asked: list[Request] = []
    for style in ("vig", "vic"):
        await correct(ITEM, storyteller(asked), PACK, GREEDY, CorrectConfig(style=style, reread="continue"))
    assert asked[0].messages == instruct.turn(PACK, BOATS, ITEM.instruction)
    assert asked[0].prefix == "Question: What is it? Answer:"
    assert (asked[1].messages, asked[1].prefix) == (instruct.turn(PACK, BOATS, "What is it?"), "")
    assert all("draft" not in str(request) for request in asked)


async def test_rereading_puts_the_text_so_far_before_the_image_and_stops_at_the_units_end() -> None:
    asked: list[Request] = []
    item = await correct(ITEM, storyteller(asked), PACK, GREEDY, CorrectConfig(reread="after", steps=4))
    assert [unit.text for unit in item.units] == split(STORY)[:4] and item.ended == "steps"
    first, second, *_ = asked
    assert first.messages[-1].parts[0] == BOATS
    assert second.messages[-1].parts[:2] == ("Two red boats lie here.\n", BOATS)
    assert second.prefix.endswith("Answer: Two red boats lie here.")
    rest = item.usage.generated_tokens - words(STORY)
    assert rest == words("".join(split(STORY)[1:4])) + 3  # one word a step, by which its end is known


async def test_rereading_ends_where_nothing_more_comes_and_may_keep_all_in_the_last_step() -> None:
    assert (await told(reread="after", steps=9)).ended == "end"
    last = await told(reread="after", steps=3, last_all=True)
    assert last.corrected == STORY.strip() and len(last.units) == 3 and last.ended == "end"


async def test_an_engine_that_cannot_stop_early_gives_the_same_answer() -> None:
    def whole(request: Request) -> Reply:
        told = request.prefix.rpartition("Answer:")[2]
        return Reply((STORY.removeprefix(told),), usage=COST)

    item = await correct(ITEM, model(whole), PACK, GREEDY, CorrectConfig(reread="after", steps=3))
    assert item.units == (await told(reread="after", steps=3)).units


async def test_a_unit_that_the_image_does_not_bear_out_is_changed_and_the_rest_written_anew() -> None:
    item = await told(reread="verify", steps=9)
    assert [unit.action for unit in item.units] == ["kept", "kept", "kept", "changed", "kept"]
    changed = item.units[3]
    assert (changed.text, changed.replacement) == ("\n\nA dog sleeps on the pier.", "\n\nA cat sleeps on the pier.")
    assert (changed.before, changed.after) == (None, None), "this engine gives no log-probabilities: its word counts"
    assert item.corrected.endswith("paints one of them.\n\nA cat sleeps on the pier. That is all.")
    assert item.answer == STORY.strip() and item.ended == "end"


async def test_a_unit_that_fails_twice_is_dropped_and_the_answer_goes_on_behind_it() -> None:
    def denies(request: Request) -> Reply:
        asked = "".join(str(part) for part in request.messages[-1].parts)
        if "Is this in the picture?" in asked:
            return Reply(("no" if "3.5" in asked or "ten" in asked else "yes",), usage=COST)
        return Reply(("They cost ten. So it is.",) if "is not in the picture." in asked else (STORY,), usage=COST)

    item = await correct(ITEM, model(denies), PACK, GREEDY, CorrectConfig(reread="verify", last_all=True, steps=1))
    assert [unit.action for unit in item.units] == ["kept", "dropped", "kept", "kept", "kept"]
    assert item.units[1].replacement == " They cost ten."
    assert item.corrected == STORY.replace(" They cost 3.5 dollars each.", "").strip()
    assert item.usage == sum([COST] * 8, ITEM.usage)


async def test_a_replacement_that_says_the_same_again_is_not_asked_about() -> None:
    def stubborn(request: Request) -> Reply:
        asked = "".join(str(part) for part in request.messages[-1].parts)
        return Reply(("no",) if "Is this" in asked else ("A boat.",))

    item = await correct(ITEM, model(stubborn), PACK, GREEDY, CorrectConfig(reread="verify"))
    assert item.units == (Unit("A boat.", "dropped", "A boat."),) and item.corrected == ""


async def test_a_units_probabilities_are_the_engines_and_decide_by_the_threshold() -> None:
    engine = engines.make(ScriptedConfig(script="tests.scripted:witness"))
    decided: list[Unit] = []
    how = CorrectConfig(reread="verify", steps=9, threshold=0.7)
    item = await correct(ITEM, engine.generate, PACK, GREEDY, how, decided.append)
    assert tuple(decided) == item.units
    assert [unit.action for unit in item.units] == ["kept", "kept", "kept", "changed", "kept"]
    assert item.units[0].before == pytest.approx(0.75) and item.units[0].after is None
    assert item.units[3].before == pytest.approx(0.25) and item.units[3].after == pytest.approx(0.75)
    sure = await correct(ITEM, engine.generate, PACK, GREEDY, how.model_copy(update={"threshold": 0.8}))
    assert {unit.action for unit in sure.units} == {"dropped"}, "though the model says yes"


async def test_the_best_of_several_texts_is_the_likeliest_by_token() -> None:
    asked: list[Request] = []
    reply = Reply(
        ("A long true text.", "No.", "Yes."), ("stop", "stop", "length"), COST, ((-0.1,) * 9, (-0.5,), (-0.2,))
    )
    best = best_of(model(lambda request: reply, asked), 3)
    chosen = await best(Request((), WARM, until=bool))
    assert (chosen.texts, chosen.finish_reasons, chosen.logprobs) == ((reply.texts[0],), ("stop",), ((-0.1,) * 9,))
    assert [(request.n, request.logprobs, request.until) for request in asked] == [
        (3, 0, None)
    ] and chosen.usage == COST
    for other in (Request((), WARM, Guide("choice", ("yes", "no"))), Request((), WARM, n=5)):
        assert await best(other) is reply and asked[-1] is other
    with pytest.raises(RequestError, match="best of 2 texts is unknown; ask for one"):
        await best_of(always("a", "b"), 2)(Request((), WARM))


async def test_an_answer_that_repeats_itself_ends_there_and_the_record_says_so() -> None:
    item = await correct(ITEM, always(" A boat. A dog. A BOAT! A cat."), PACK, GREEDY, CorrectConfig(reread="continue"))
    assert (item.corrected, item.ended) == ("A boat. A dog.", "repeats")
    assert item.units[-1] == Unit(" A BOAT!", "dropped")
    assert repeats("the red the red the red the red the red", [])
    assert not repeats("They have 3 boats, 3 tents, 3 dogs and 3 cats.", [Unit("They have 3.")])


async def test_a_sentence_cut_by_the_token_limit_is_left_out() -> None:
    cut = always(" A boat. A dog sleeps on", reason="length")
    item = await correct(ITEM, cut, PACK, GREEDY, CorrectConfig(reread="continue"))
    assert (item.corrected, item.ended, item.answer) == ("A boat.", "length", "A boat. A dog sleeps on")
    ended = await correct(ITEM, always(" A boat.", reason="length"), PACK, GREEDY, CorrectConfig(reread="continue"))
    assert (ended.corrected, ended.ended) == ("A boat.", "length")


async def test_an_empty_answer_ends_at_once() -> None:
    item = await correct(ITEM, always(" \n"), PACK, GREEDY, CorrectConfig())
    assert (item.corrected, item.units, item.ended) == ("", (), "end")


def test_yes_is_weighed_against_no_in_all_their_spellings() -> None:
    opening = {"Yes": math.log(0.2), " yes": math.log(0.1), "no": math.log(0.1), "maybe": math.log(0.6)}
    assert probability(Reply(("no",), openings=(opening,)), "yes", "no") == pytest.approx(0.75)
    assert probability(Reply(("yes",), openings=({"maybe": 0.0},)), "yes", "no") is None
    assert probability(Reply(("No.",)), "yes", "no") is None


async def test_a_corrected_instruction_survives_its_row() -> None:
    item = await told(reread="verify", steps=9)
    item = replace(item, candidates=(Answer("boat", 61.5),))
    assert from_row(Instruction, to_row(item)) == item
    assert type(to_row(item)["ended"]) is str
