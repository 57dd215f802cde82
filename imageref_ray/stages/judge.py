"""An answer beside its question → what a judge makes of it: ratings of the answer, of a pair, or of each of its images.

    item ─fields─▶ request ─▶ "… [[7]]" ─read_values─▶ {"rating": 7.0}
                      ▲            │ no rating: asked once more, for the rating alone
                      └────────────┘

What needs no judge is not asked: an empty answer has the lowest ratings and loses to any other, and so has a reference
to an image that does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imageref_ray.core import markdown
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Generate, Message, Request, Sampling
from imageref_ray.stages.ask import ended
from imageref_ray.stages.parsing import ParseError
from imageref_ray.stages.prompts.builders import Part
from imageref_ray.stages.prompts.rubric import Rubric, ask

Values = dict[str, float]
"""Measure → value, within the rubric's range; of a pair, `win`: 1 (better than the baseline), 0.5 (as good) or 0."""

RATING = r"\[\[\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:/\s*[0-9]+\s*)?\]\]"
RATING_SAMPLE = "The answer covers the festival, but not the market (a [[5]] at best).\n**Rating: [[6.5]]**"
CRITERIA_SAMPLE = "Two red boats, as told.\n- **Coherence**: [[9]]\n- **Helpfulness**: [[7/10]]\nreference: [[8]]"
VERDICT = re.compile(r"\[\[\s*([ABC])\s*\]\]")
VERDICT_SAMPLE = "A is longer, but B answers the question.\n[[B]]"
WINS = {"A": 1.0, "B": 0.0, "C": 0.5}
"""Verdict → how far the answer that is shown first wins."""


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to judge. `answer` and `baseline` (of a pair) are as the systems wrote them, with image references.

    `question` is without images; `images[k - 1]` is `IMAGE_k`, needed only where images are judged.
    """

    id: str
    question: str
    reference: str
    answer: str
    baseline: str = ""
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judgement: its `values`, empty where the judge gave none, and what was asked (empty: nobody had to be).

    `about` is the image that was judged (its id, or `IMAGE_k` where there is none), or of a pair the answer that was
    shown first: `answer` or `baseline`.
    """

    values: Values
    prompt: str = ""
    response: str = ""
    about: str = ""


async def judge(item: Item, generate: Generate, rubric: Rubric, max_tokens: int) -> tuple[Judgement, ...]:
    """Every judgement of the item: one of an answer, two of a pair (in both orders), one of each image reference."""
    if rubric.unit == "image":
        asked = [_judge_image(item, ref, generate, rubric, max_tokens) for ref in references(item.answer, rubric)]
    elif rubric.unit == "pair":
        asked = [_judge_pair(item, first, generate, rubric, max_tokens) for first in ("answer", "baseline")]
    else:
        asked = [_judge_answer(item, generate, rubric, max_tokens)]
    return tuple(await ended(asked))


def references(answer: str, rubric: Rubric) -> list[markdown.Reference]:
    """The image references of an answer that the rubric judges."""
    return [ref for ref in markdown.references(answer) if ref.caption.strip() or not rubric.captioned]


def read_values(reply: str, rubric: Rubric) -> Values:
    """The last rating of each criterion, or the last verdict; raises ParseError where one is missing or out of range.

    A rating is `[[n]]`, decimals allowed; of several criteria each has its name before it on the same line.
    """
    if rubric.unit == "pair":
        verdicts = VERDICT.findall(reply)
        if not verdicts:
            raise ParseError(f"the reply has no verdict [[A]], [[B]] or [[C]]: {reply[-80:]!r}")
        return {"win": WINS[verdicts[-1]]}
    return {criterion: _rating(reply, criterion, rubric) for criterion in rubric.criteria}


def lowest(rubric: Rubric) -> Values:
    """The worst values: the lowest ratings; of a ratio, the reference's is the highest."""
    if rubric.unit == "pair":
        return {"win": 0.0}
    values = dict.fromkeys(rubric.criteria, rubric.least)
    return {**values, rubric.criteria[0]: rubric.most} if rubric.ratio else values


def unasked_response(judgement: Judgement, rubric: Rubric) -> str:
    """What a judge would have replied where none was asked: the values as `read_values` reads them."""
    if rubric.unit == "pair":
        win = judgement.values["win"] if judgement.about == "answer" else 1 - judgement.values["win"]
        return next(f"[[{verdict}]]" for verdict, value in WINS.items() if value == win)
    if len(rubric.criteria) == 1:
        return f"[[{judgement.values[rubric.criteria[0]]:g}]]"
    return "\n".join(f"{criterion}: [[{judgement.values[criterion]:g}]]" for criterion in rubric.criteria)


def _rating(reply: str, criterion: str, rubric: Rubric) -> float:
    name = rf"(?<!\w){re.escape(criterion)}(?!\w)[^\[\]\n]{{0,40}}" if len(rubric.criteria) > 1 else ""
    found = re.findall(name + RATING, reply, re.IGNORECASE)
    if not found:
        raise ParseError(f"the reply has no rating [[n]] of {criterion}: {reply[-80:]!r}")
    value = float(found[-1])
    if not rubric.least <= value <= rubric.most:
        raise ParseError(f"the {criterion} {value:g} is not between {rubric.least:g} and {rubric.most:g}")
    return value


async def _judge_answer(item: Item, generate: Generate, rubric: Rubric, max_tokens: int) -> Judgement:
    answer = markdown.strip_images(item.answer)
    if not answer:
        return _unasked(lowest(rubric))
    return await _judgement(rubric, {**_context(item), "answer": (answer,)}, generate, max_tokens)


async def _judge_pair(item: Item, first: str, generate: Generate, rubric: Rubric, max_tokens: int) -> Judgement:
    """One order of a pair; the values are those of the item's answer, wherever it is shown."""
    answer, baseline = markdown.strip_images(item.answer), markdown.strip_images(item.baseline)
    if not (answer and baseline):
        return _unasked({"win": 0.5 + (bool(answer) - bool(baseline)) / 2}, about=first)
    shown = (answer, baseline) if first == "answer" else (baseline, answer)
    fields = {**_context(item), "first": (shown[0],), "second": (shown[1],)}
    said = await _judgement(rubric, fields, generate, max_tokens)
    turned = first == "baseline" and bool(said.values)
    return Judgement({"win": 1 - said.values["win"]} if turned else said.values, said.prompt, said.response, first)


async def _judge_image(
    item: Item, ref: markdown.Reference, generate: Generate, rubric: Rubric, max_tokens: int
) -> Judgement:
    """One image at its place in the answer, from which all other images are taken out."""
    if not 1 <= ref.k <= len(item.images):
        return _unasked(lowest(rubric), about=f"IMAGE_{ref.k}")
    image, lines = item.images[ref.k - 1], markdown.lines(item.answer)
    fields: dict[str, tuple[Part, ...]] = {
        **_context(item),
        "before": (markdown.strip_images("\n".join(lines[: ref.line + 1])),),
        "image": (image,),
        "caption": (ref.caption.strip(),),
        "after": (markdown.strip_images("\n".join(lines[ref.line + 1 :])),),
    }
    said = await _judgement(rubric, fields, generate, max_tokens)
    return Judgement(said.values, said.prompt, said.response, image.id)


def _context(item: Item) -> dict[str, tuple[Part, ...]]:
    return {"question": (item.question,), "reference": (markdown.strip_images(item.reference),)}


async def _judgement(
    rubric: Rubric, fields: dict[str, tuple[Part, ...]], generate: Generate, max_tokens: int
) -> Judgement:
    """Ask, and where the reply has no rating once more; then the judgement has no values."""
    prompt = response = ""
    for again in (False, True):
        messages = ask(rubric, fields, again=again)
        prompt = _text(messages)
        response = (await generate(Request(messages, Sampling(max_tokens=max_tokens)))).text
        try:
            return Judgement(read_values(response, rubric), prompt, response)
        except ParseError:
            continue
    return Judgement({}, prompt, response)


def _unasked(values: Values, about: str = "") -> Judgement:
    return Judgement(values, about=about)


def _text(messages: tuple[Message, ...]) -> str:
    """A prompt as text, with the ids of its images."""
    return "\n\n".join(
        "".join(part if isinstance(part, str) else f"<image {part.id}>" for part in message.parts)
        for message in messages
    )
