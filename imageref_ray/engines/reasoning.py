"""A model's reply → its answer: what it thinks before it answers is cut off, whatever marks its family writes.

    <think>two boats</think>Two red boats.                         ┐
    two boats</think>Two red boats.   (the prompt has begun it)    ├─▶ Two red boats.
    <|channel|>analysis<|message|>two boats<|end|>…                │
    …<|channel|>final<|message|>Two red boats.                     ┘

What it costs stays in the usage. A reply of nothing but reasoning is `NoAnswer`: mostly the token limit came too early.
"""

from __future__ import annotations

import dataclasses
import json
import re
from bisect import bisect_left
from dataclasses import dataclass

from imageref_ray.core.fences import code_spans
from imageref_ray.engines.base import Generate, Guide, Reply, Request, RequestError

MARK = re.compile(
    r"(?P<tag></?(?:\w{1,20}[:_])?(?:think(?:ing)?|thoughts?|thought_process|reasoning|reflection|思考(?:过程)?) ?>)"
    r"|(?P<kimi>◁/?think▷)"
    r"|(?P<mistral>(?-i:\[/?THINK\]))"
    r"|(?P<cohere><\|(?:START|END)_THINKING\|>)"
    r"|(?P<thinker><\|(?:begin|end)_of_thought\|>)"
    r"|(?P<gemma><\|channel>thought\b|<channel\|>)"
    r"|(?P<medical><unused94>(?:thought\b)?|<unused95>)",
    re.IGNORECASE,
)
"""Where reasoning begins or ends."""

_ENDS = ("</", "◁/", "[/", "<|end", "<channel", "<unused95")
"""How the marks of its end begin."""

LEADS = (
    r"Here(?:['’]s| is) my thought process:|Here are my reasoning steps:|(?-i:<SUMMARY>)"
    r"|<(?:analysis|scratchpad|reason|cot)>|<details type=\"reasoning\""
)
"""What opens reasoning only at the beginning of a reply."""

_SENTENCE = re.compile(r"\s*Here(?:['’]s| is) my thought process:")
_SENTENCE_END = re.compile(r"Here(?:['’]s| is) my response:")
_STEPS, _CONCLUSION = "Here are my reasoning steps:", "<CONCLUSION>"
_FINAL = re.compile(r"^[ \t]*\[BEGIN FINAL RESPONSE\](.*?)(?:\[END FINAL RESPONSE\].*)?\Z", re.MULTILINE | re.DOTALL)
"""Granite's, Apriel's and LLaVA-CoT's marks."""

_BLOCK = re.compile(
    r"\s*(?:<(analysis|scratchpad|reason|cot)>.*?</\1>|<details type=\"reasoning\"[^>]*>.*?</details>)(?=\s*\S)",
    re.IGNORECASE | re.DOTALL,
)
"""Reasoning under a name that other texts have, too: read as such where it opens a reply, and more follows."""

_CHANNEL = re.compile(r"<\|channel\|>\s*+(\w++)[^<]*+(?:<\|constrain\|>[^<]*+)?<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_CHANNEL, _BARE_FINAL = "analysis", "assistantfinal"
"""gpt-oss's channels, and what is left of them where a server leaves special tokens out."""

_NAMES = r"(?:answer|response|output|solution|conclusion|final(?:_answer|_response)?)"
ANSWER = re.compile(rf"<{_NAMES}>|<\|START_RESPONSE\|>|<\|begin_of_(?:solution|box)\|>", re.IGNORECASE)
_ANSWER_END = re.compile(rf"</{_NAMES}>|<\|END_RESPONSE\|>|<\|end_of_(?:solution|box)\|>", re.IGNORECASE)
"""What some families write around the answer, after their reasoning."""

_LONGEST_MARK = 40
_VISIBLE = re.compile(r"\S")
_QUOTES = "`\"'“”‘’"


class NoAnswer(RequestError):
    """The model reasoned and wrote no answer: this request's record is quarantined."""


@dataclass(frozen=True, slots=True)
class _Mark:
    begin: int
    end: int
    family: str
    closes: bool


def answers(generate: Generate) -> Generate:
    """`generate` whose replies are answers, without reasoning, and whose `until` sees answers only.

    Log-probabilities are those of all tokens: where reasoning is cut off there are none. Raises NoAnswer where no text
    of a reply has an answer.
    """

    async def answered(request: Request) -> Reply:
        until = request.until
        if until is not None:
            request = dataclasses.replace(request, until=lambda text: until(answer(text)))
        reply = await generate(request)
        # Reasoning that the prompt has begun shows no mark where the token limit came before its end.
        marks = [reply.thinking if end == "length" and not request.guide else "" for end in reply.finish_reasons]
        texts = tuple(answer(mark + text, request.guide) for mark, text in zip(marks, reply.texts, strict=True))
        if texts == reply.texts:
            return reply
        if not any(text.strip() for text in texts):
            raise no_answer(reply, request)
        return dataclasses.replace(reply, texts=texts, logprobs=(), openings=())

    return answered


def answer(text: str, guide: Guide | None = None) -> str:
    """The text without its reasoning; as it is where there is none, or where it is what its guide asks for."""
    found = _after_channels(text)
    if found is None:
        found = _after_sentences(text)
    if found is None:
        found = _after_marks(text)
    if found is None or (guide and _fits(text, guide)):
        return text
    found = found.strip()
    while opening := ANSWER.match(found):
        closing = _ANSWER_END.search(found, opening.end())
        found = found[opening.end() : closing.start() if closing else len(found)].strip()
    return found


def opened(prompt: str | None) -> str:
    """The mark with which a prompt has begun the model's reasoning, empty for none."""
    end = (prompt or "")[-_LONGEST_MARK:].rstrip()
    if end.endswith(_STEPS):
        return _STEPS
    marks = _marks(end)
    return end[marks[-1].begin :] if marks and marks[-1].end == len(end) and not marks[-1].closes else ""


def begun(request: Request, mark: str) -> Request:
    """The request, whose `until` sees the mark with which its prompt ends before the text."""
    until = request.until
    if until is None or not mark:
        return request
    return dataclasses.replace(request, until=lambda text: until(mark + text))


def no_answer(reply: Reply, request: Request) -> NoAnswer:
    """The error of a reply without an answer, which says how to get one."""
    cut = "length" in reply.finish_reasons
    why = f"which was cut off at {request.sampling.max_tokens} tokens" if cut else "and the model ended there"
    return NoAnswer(
        f"the reply is nothing but reasoning, {why}; raise max_tokens, or turn the model's reasoning off "
        f"(engine.template_args, engine.args): {reply.text.strip()[:80]!r}",
        reply.usage,
    )


def _after_channels(text: str) -> str | None:
    """The last message of gpt-oss's final channel, empty where there is none; None for a text without channels."""
    channels = list(_CHANNEL.finditer(text))
    finals = [channel for channel in channels if channel[1].lower() == "final"]
    if finals:
        begin = finals[-1].end()
        end = _CHANNEL_END.search(text, begin)
        return text[begin : end.start() if end else len(text)]
    if text.lstrip().startswith(("<|channel|>", "<|start|>assistant<|channel|>")):
        return ""
    if text.startswith(_BARE_CHANNEL) and _BARE_FINAL in text:
        return text.partition(_BARE_FINAL)[2]
    return None


def _after_sentences(text: str) -> str | None:
    """The text after what a family writes before its answer, empty where that never comes; None where there is neither.

    Whole blocks of reasoning that open the text are cut off, and what is left is read as any other.
    """
    if opening := _SENTENCE.match(text):
        ending = _SENTENCE_END.search(text, opening.end())
        return text[ending.end() :] if ending else ""
    if final := _FINAL.search(text):
        return final[1]
    lead = text.lstrip()
    if lead.startswith(_STEPS):
        return ""
    if lead.startswith("<SUMMARY>") and _CONCLUSION in lead:
        return lead[lead.index(_CONCLUSION) :]
    at = 0
    while block := _BLOCK.match(text, at):
        at = block.end()
    if not at:
        return None
    rest = _after_marks(text[at:])
    return text[at:] if rest is None else rest


def _after_marks(text: str) -> str | None:
    """The text without what stands between marks, or before an end that nothing opened; None where there is neither.

    Reasoning that never ends is the whole reply, where it opens it. Marks in code and between quotes are text.
    """
    marks = _marks(text)
    if not marks:
        return None
    code, ends = code_spans(text), _ends(marks)
    last_end = max((mark.end for mark in marks if mark.closes), default=0)
    kept: list[str] = []
    at, cut, begins = 0, False, _first_visible(text, 0)
    for mark, end in zip(marks, ends, strict=True):
        leads = begins >= mark.begin
        if mark.begin < at or (not leads and _within(mark.begin, code)):
            continue
        if mark.closes and not cut:
            kept, at, cut = [], mark.end, True
            begins = _first_visible(text, at)
        elif end is not None:
            kept.append(text[at : mark.begin])
            at, cut = end, True
            begins = _first_visible(text, at) if leads else begins
        elif leads and last_end <= mark.begin:
            return ""
    return "".join([*kept, text[at:]]) if cut else None


def _first_visible(text: str, begin: int) -> int:
    match = _VISIBLE.search(text, begin)
    return match.start() if match else len(text)


def _marks(text: str) -> list[_Mark]:
    found: list[_Mark] = []
    if not any(sign in text for sign in ("<", "THINK]", "think▷")):  # the pattern is slow, and few texts have marks
        return found
    for match in MARK.finditer(text):
        begin, end = match.span()
        if all(around and around in _QUOTES for around in (text[begin - 1 : begin], text[end : end + 1])):
            continue
        written = match[0].lower()
        family = written.strip("</> ") if match.lastgroup == "tag" else str(match.lastgroup)
        closes = written.startswith(_ENDS)
        found.append(_Mark(begin, end, family, closes))
    return found


def _ends(marks: list[_Mark]) -> list[int | None]:
    """Where the reasoning that each mark opens ends: at its own end, else at the next one of its family."""
    ends: list[int | None] = [None] * len(marks)
    still_open: dict[str, list[int]] = {}
    closing: dict[str, list[int]] = {}
    for number, mark in enumerate(marks):
        if not mark.closes:
            still_open.setdefault(mark.family, []).append(number)
            continue
        closing.setdefault(mark.family, []).append(mark.end)
        if waiting := still_open.get(mark.family):
            ends[waiting.pop()] = mark.end
    for family, numbers in still_open.items():
        later = closing.get(family, [])
        for number in numbers:
            place = bisect_left(later, marks[number].end)
            ends[number] = later[place] if place < len(later) else None
    return ends


def _within(place: int, spans: list[tuple[int, int]]) -> bool:
    index = bisect_left(spans, (place + 1,)) - 1
    return index >= 0 and place < spans[index][1]


def _fits(text: str, guide: Guide) -> bool:
    """Whether the whole text is what the guide asks for: then marks in it are text."""
    if guide.kind == "choice":
        return text in guide.value
    if guide.kind == "regex":
        return re.fullmatch(guide.value, text) is not None
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
