"""What a model thinks before it answers is cut off, whatever marks its family writes; an answer about marks stays."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.records import Usage
from imageref_ray.engines.base import Generate, Guide, Message, Reply, Request, Sampling
from imageref_ray.engines.reasoning import NoAnswer, answer, answers, begun, opened

MARKS = {
    "<think>": "</think>",
    "<THINK>": "</THINK>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<mm:think>": "</mm:think>",
    "<longcat_think>": "</longcat_think>",
    "<chain_of_thought>": "</chain_of_thought>",
    "<thought_process>": "</thought_process>",
    "<think >": "</think >",
    "<思考>": "</思考>",
    "◁think▷": "◁/think▷",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought\n": "<channel|>",
    "<unused94>thought\n": "<unused95>",
    "Here is my thought process:": "Here is my response:",
    "Here are my reasoning steps:": "\n[BEGIN FINAL RESPONSE]",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|start|>assistant<|channel|>analysis<|message|>": "<|end|><|channel|>final <|constrain|>text<|message|>",
}
ANSWER = "# Boats\nTwo red boats.\n```html\n<think>\n```"


@pytest.mark.parametrize("opening", MARKS)
@pytest.mark.parametrize("space", ["", "\n", "\n\n"])
def test_the_reasoning_of_every_family_is_cut_off(opening: str, space: str) -> None:
    thought = f"{space}two boats, perhaps {{\n```\nhalf a draft{space}"
    assert answer(f"{space}{opening}{thought}{MARKS[opening]}{space}{ANSWER}{space}") == ANSWER
    assert answer(f"{opening}{thought}") == ""


@pytest.mark.parametrize("closing", [closing for closing in MARKS.values() if closing[:4] != "Here"])
def test_a_prompt_may_have_begun_it(closing: str) -> None:
    assert answer(f"two boats\n{closing}\n\n{ANSWER}") == ANSWER


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("<think>a</think><think>b</think>Two.", "Two."),
        ("<think>a <think>b</think> c</think>Two.", "Two."),
        ("<think>I write <think> here</think>Two.", "Two."),
        ("<think>a</thinking>Two.", "Two."),
        ("Sure!\n<think>a</think>\nTwo.", "Sure!\n\nTwo."),
        ("<think>\n\n</think>\n<answer>\nTwo.\n</answer>", "Two."),
        ("<think>a</think><answer>Two.", "Two."),
        ("a<|END_THINKING|><|START_RESPONSE|>Two.<|END_RESPONSE|>", "Two."),
        ("<|channel|>final<|message|>One.<|end|><|channel|>final<|message|>Two.<|return|>", "Two."),
        ("analysisTwo boats.assistantfinalTwo.", "Two."),
        ("two boats\n[BEGIN FINAL RESPONSE]\nTwo.\n[END FINAL RESPONSE]\n<|end|>", "Two."),
        ("<think>a</think><answer><|begin_of_box|>Two.<|end_of_box|></answer>", "Two."),
        ("<Thought>a</Thought>\n<Output>Two.</Output>", "Two."),
        ("<think>a</think><final_answer>Two.</final_answer>", "Two."),
        ("<SUMMARY> s </SUMMARY>\n<REASONING> r </REASONING>\n<CONCLUSION> Two. </CONCLUSION>", "Two."),
        ("<analysis>a</analysis><think>b</think><answer>Two.</answer>", "Two."),
        ("<analysis>easy</analysis>Two.", "Two."),
        ("\n<scratchpad>\na\n</scratchpad>\n\nTwo.", "Two."),
        ('<details type="reasoning" done="true">\n<summary>3 s</summary>\n> a\n</details>\nTwo.', "Two."),
    ],
)
def test_marks_in_odd_places(text: str, kept: str) -> None:
    assert answer(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "Two red boats.",
        "",
        " Two.\n",
        "End it with `</think>` as R1 does.",
        'It writes "<think>" first.',
        "The <think> tag opens it.",
        "# T\n```\n<think>\nx\n</think>\n```\nText.",
        "Here is my response: two.",
        "analysis of the boats",
        "<answer>Two.</answer>",
        "<analysis>Two.</analysis>",
        "# T\n<analysis>a</analysis>\nTwo.",
        "<SUMMARY>Two.</SUMMARY>",
        "<details>\n<summary>More</summary>\nTwo.\n</details>\nThree.",
        "It writes [BEGIN FINAL RESPONSE] first.",
        "if a < b and think: [think] ◁",
    ],
)
def test_an_answer_about_marks_is_an_answer(text: str) -> None:
    assert answer(text) == text


@pytest.mark.parametrize(
    ("guide", "text"),
    [
        (Guide("json", {}), '{"analysis": "so </think> and"}'),
        (Guide("regex", r"!\[.*\]\(IMAGE_1\)\n"), "![ </think> ](IMAGE_1)\n"),
        (Guide("choice", ("</think>yes", "no")), "</think>yes"),
    ],
)
def test_what_fits_its_guide_is_left_as_it_is(guide: Guide, text: str) -> None:
    assert answer(text, guide) == text
    assert answer(f"<think>hm</think>{text.replace('</think>', '')}", guide) == text.replace("</think>", "").strip()


@given(st.lists(st.sampled_from([*MARKS, *MARKS.values(), "a", "\n", "```\n", "`", "<answer>", '"'])).map("".join))
def test_any_text_has_an_answer_that_has_no_more_to_cut_at_its_beginning(text: str) -> None:
    found = answer(text)
    assert found == text or found in text or found.replace("\n", "") in text.replace("\n", "") or "<" in text


@pytest.mark.parametrize("unit", [*MARKS, *MARKS.values(), "x<think>", "<think></think>", "<think>\n```\n", " ", "<"])
def test_a_long_row_of_marks_ends_at_once(unit: str) -> None:
    text = unit * (2**16 // len(unit))
    assert len(answer(text)) <= len(text)


ASKED = Request((Message("user", ("What is shown?",)),), Sampling(max_tokens=7))


def says(*texts: str, reason: str = "stop", thinking: str = "") -> Generate:
    async def generate(request: Request) -> Reply:
        assert request.until is None or request.until(texts[0])
        numbers = tuple((-1.0,) for _ in texts)
        return Reply(texts, (reason,) * len(texts), Usage(1, 9, 0, 0, 7), numbers, thinking=thinking)

    return generate


def ask(generate: Generate, request: Request = ASKED) -> Reply:
    return asyncio.run(answers(generate)(request))


def test_a_reply_without_its_reasoning_costs_the_same_and_has_no_log_probabilities() -> None:
    reply = ask(says("<think>boats</think>Two.", "Three."))
    assert (reply.texts, reply.usage.generated_tokens, reply.logprobs) == (("Two.", "Three."), 7, ())
    assert ask(says("Two.")).logprobs == ((-1.0,),)


@pytest.mark.parametrize(
    ("generate", "why"),
    [
        (says("<think>boats and", reason="length"), "cut off at 7 tokens; raise max_tokens"),
        (says("boats and", reason="length", thinking="<think>"), "cut off at 7 tokens; raise max_tokens"),
        (says("<think>boats</think>\n"), "the model ended there; raise max_tokens, or turn the model's reasoning off"),
    ],
)
def test_nothing_but_reasoning_is_an_error_that_says_how_to_fix_it(generate: Generate, why: str) -> None:
    with pytest.raises(NoAnswer, match=why) as told:
        ask(generate)
    assert told.value.usage == Usage(1, 9, 0, 0, 7)


def test_one_of_several_texts_without_an_answer_is_empty() -> None:
    assert ask(says("<think>boats", "Two.", reason="length")).texts == ("", "Two.")


def test_until_sees_the_answer_only() -> None:
    seen: list[str] = []

    def until(text: str) -> bool:
        seen.append(text)
        return True

    request = Request(ASKED.messages, until=until)
    ask(says("<think>One. Two.</think>Three."), request)
    assert seen == ["Three."]
    inside = begun(Request(ASKED.messages, until=lambda text: bool(answer(text))), "<think>").until
    assert inside is not None and not inside("One. Two.") and inside("One.</think>Two.")


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("…◁think▷", "◁think▷"),
        ("<think>\n\n</think>\n\n", ""),
        ("<think> what?", ""),
        ("assistant\n", ""),
        (None, ""),
    ],
)
def test_a_prompt_that_begins_the_reasoning_is_seen(prompt: str | None, mark: str) -> None:
    assert opened(prompt) == mark
