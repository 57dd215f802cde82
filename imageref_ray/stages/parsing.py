"""Reply text → typed value, or ParseError and no other error, whatever the reply.

Models wrap, label and preface what they were asked for; each parser tolerates that and nothing more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Placement, json_text
from imageref_ray.engines.base import Reply, Sampling

POSITION = re.compile(r"<?\s*Position\s*([0-9]{1,6})\s*>?", re.IGNORECASE)
IMAGE = re.compile(r"[\[(<]?IMAGE_([0-9]{1,6})[\])>]?")
LABEL = re.compile(r"(?:caption|description|answer|图注|描述|标题)\s*[:：]\s*", re.IGNORECASE)
QUOTES = ('""', "''", "“”", "「」", "‘’", "**")


class ParseError(ValueError):
    """A reply does not say what was asked for; the message says what is missing and shows the reply's beginning."""


@dataclass(frozen=True, slots=True)
class QA:
    """A question about an image and its answer."""

    question: str
    answer: str


def whole(reply: Reply, what: str, sampling: Sampling) -> str:
    """The reply's text; raises ParseError where the token limit cut it off."""
    if reply.finish_reasons[0] == "length":
        raise ParseError(
            f"the {what} was cut off at {sampling.max_tokens} tokens; raise max_tokens: {reply.text[:80]!r}"
        )
    return reply.text


RESPONSE_SAMPLE = """\
Here is the response:
```markdown
# A harbour festival in Velmora
Boats, music and a new pier.
### The boats
Mara Holt showed two boats.
```"""


def response(reply: str) -> str:
    """The Markdown response: from its `# title` on, one line a line, without images or fences.

    Raises ParseError where there is no title or nothing under it.
    """
    lines = markdown.lines(markdown.strip_images(markdown.unfenced(reply)))
    start = next((i for i, line in enumerate(lines) if line.startswith("# ")), None)
    if start is None:
        raise ParseError(f"the response has no title line `# …`: {_beginning(reply)}")
    lines = lines[start:]
    if all(markdown.is_header(line) for line in lines):
        raise ParseError(f"the response has headers but no text: {_beginning(reply)}")
    return "\n".join(lines)


CAPTION_SAMPLE = '**Caption:** "Two red boats at the harbour in Velmora, painted by Mara Holt."'


def caption(reply: str) -> str:
    """One line of text: label, quotes and fences taken off. Raises ParseError where nothing is left."""
    text = " ".join(markdown.strip_images(markdown.unfenced(reply)).replace("**", "").split())
    text = LABEL.sub("", text, count=1) if LABEL.match(text) else text
    if len(text) > 1 and text[0] + text[-1] in QUOTES:
        text = text[1:-1].strip()
    if not any(char.isalnum() for char in text):
        raise ParseError(f"the caption is empty: {_beginning(reply)}")
    return text


PLACEMENT_SAMPLE = """\
```json
{"predictions": [
  {"position": "<Position 1>", "analysis": "the overview", "image": "Not Insert", "explanation": "nothing fits"},
  {"position": "<Position 2>", "analysis": "the boats", "image": "IMAGE_1", "explanation": "shows them"}
]}
```"""


def placement(reply: str, images: Sequence[str], slots: int) -> tuple[Placement, ...]:
    """One Placement per slot 1..`slots`, in order; `images[k - 1]` is the id of `IMAGE_k`.

    Entries for unknown slots or with numbers outside 1..n are rejected, a repeated slot keeps the first entry,
    an image that was placed before (also under another number) is not placed again. A slot without an
    entry stays empty. Raises ParseError where the reply is no such JSON or names none of the slots.
    """
    data = _json(reply)
    entries = data.get("predictions") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise ParseError(f'the placement has no list "predictions": {_beginning(reply)}')
    chosen: dict[int, Placement] = {}
    used: set[str] = set()
    for entry in entries:
        read = _prediction(entry, images)
        if read is None or not 1 <= read.slot <= slots or read.slot in chosen:
            continue
        if read.image_id in used:
            read = Placement(read.slot, None, read.analysis, read.explanation)
        chosen[read.slot] = read
        used |= {read.image_id} if read.image_id is not None else set()
    if slots and not chosen:
        raise ParseError(f"the placement names none of the {slots} slots: {_beginning(reply)}")
    return tuple(chosen.get(slot, Placement(slot)) for slot in range(1, slots + 1))


def _prediction(entry: Any, images: Sequence[str]) -> Placement | None:
    if not isinstance(entry, dict):
        return None
    position = POSITION.fullmatch(str(entry.get("position", "")).strip())
    image = entry.get("image")
    if position is None or not isinstance(image, str | None):
        return None
    number = IMAGE.fullmatch(image.strip()) if image else None
    if number and not 1 <= int(number[1]) <= len(images):
        return None
    notes = [value if isinstance(value, str) else "" for value in map(entry.get, ("analysis", "explanation"))]
    return Placement(int(position[1]), images[int(number[1]) - 1] if number else None, *notes)


QA_SAMPLE = "Question: What colour are the boats?\nAnswer: Red."
QUESTION = re.compile(r"(?:\bquestion|问题|^\s*问)\s*[:：]", re.IGNORECASE | re.MULTILINE)
ANSWER = re.compile(r"(?:\banswer|答案|回答|^\s*答)\s*[:：]", re.IGNORECASE | re.MULTILINE)


def qa(reply: str) -> QA:
    """A question with its answer: what follows the last `Question:`, in two parts around one `Answer:`; or as JSON.

    Labels may be Chinese, their colons full-width. Raises ParseError where a part is missing, empty, or one too many.
    """
    text = markdown.unfenced(reply).replace("**", "")
    labelled = QUESTION.split(text)
    if len(labelled) > 1:
        parts: list[Any] = ANSWER.split(labelled[-1])
    else:
        data = _json(reply)
        parts = [data.get("question"), data.get("answer")] if isinstance(data, dict) else []
    if len(parts) != 2 or not all(isinstance(part, str) and part.strip() for part in parts):
        raise ParseError(f"the reply is not one question and its answer: {_beginning(reply)}")
    return QA(parts[0].strip(), parts[1].strip())


def _json(reply: str) -> Any:
    """The first JSON object or list in the reply."""
    text = markdown.unfenced(reply)
    start = min((at for at in map(text.find, "{[") if at >= 0), default=None)
    if start is None:
        raise ParseError(f"the reply holds no JSON: {_beginning(reply)}")
    try:
        value = json.JSONDecoder().raw_decode(text, start)[0]
        return json.loads(json_text(value))  # an escape may hold half a character
    except (ValueError, RecursionError) as error:
        raise ParseError(f"the reply's JSON is broken ({error}): {_beginning(reply)}") from None


def _beginning(reply: str) -> str:
    return repr(reply if len(reply) <= 80 else reply[:80] + "…")
