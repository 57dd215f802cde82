"""Reply text → typed value, or ParseError and no other error, whatever the reply.

Models wrap, label and preface what they were asked for; each parser tolerates that and nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from imageref_ray.core import fences, lenient_json, markdown
from imageref_ray.core.json_files import BrokenJson
from imageref_ray.core.loose_references import FULL_WIDTH, tidy
from imageref_ray.core.records import Placement
from imageref_ray.core.text import repaired
from imageref_ray.engines.base import Reply, Sampling

POSITION = re.compile(r"<?\s*Position\s*([0-9]{1,6})\s*>?", re.IGNORECASE)
NOTHING = frozenset({"not insert", "none", "null"})
"""What a reply writes where no image belongs, letters only."""
LAST_SLOT = 999_999
"""The largest number of a slot that is read."""
LABEL = re.compile(r"(?:caption|description|answer|图注|描述|标题)\s*[:：]\s*", re.IGNORECASE)
QUOTES = ('""', "''", "“”", "「」", "‘’", "**")
INVISIBLE = " \t\r\n\ufeff\u200b\u2060"
"""What may stand around a reply without being seen."""


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
TITLE = re.compile(r" {0,3}# ")
WRAPPED = re.compile(r"\s*<(response|answer|output|result|markdown)>(.*)</\1>\s*", re.IGNORECASE | re.DOTALL)
"""A tag around the whole response."""


def response(reply: str) -> str:
    """The Markdown response: from its `# title` on, without images or a fence or tag around it; code in it stays.

    Raises ParseError where there is no title or nothing under it.
    """
    text = _cleaned(reply)
    wrapped = WRAPPED.fullmatch(text)
    lines = markdown.lines(markdown.strip_images(fences.unfenced(wrapped[2] if wrapped else text, fences.TEXT)))
    start = next((i for i, line in enumerate(lines) if TITLE.match(line.lstrip("\n"))), None)
    if start is None:
        raise ParseError(f"the response has no title line `# …`: {_beginning(reply)}")
    lines = [lines[start].lstrip("\n"), *lines[start + 1 :]]
    if all(markdown.is_header(line) for line in lines):
        raise ParseError(f"the response has headers but no text: {_beginning(reply)}")
    return "\n".join(lines)


CAPTION_SAMPLE = '**Caption:** "Two red boats at the harbour in Velmora, painted by Mara Holt."'


def caption(reply: str) -> str:
    """One line of text: label, quotes and fences taken off. Raises ParseError where nothing is left."""
    text = fences.unfenced(_cleaned(reply))
    text = " ".join(markdown.strip_images(text).replace("**", "").split())
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
    """One Placement per slot 1..`slots`, in order; read as `predictions`, a slot without an entry stays empty.

    Raises ParseError where the reply is no such JSON, or none of its entries can be used.
    """
    return placements(predictions(reply, images, slots), slots, reply)


def placements(read: Predictions, slots: int, reply: str) -> tuple[Placement, ...]:
    """The same of what was read of the reply."""
    if slots and not read.by_slot:
        raise ParseError(f"the placement names none of the {slots} slots: {_beginning(reply)}")
    return tuple(read.by_slot.get(slot, Placement(slot)) for slot in range(1, slots + 1))


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a placement says: the first entry of every slot, how many entries name an image that does not exist
    (`unknown`), and how many have no such slot or neither an image nor none (`unread`)."""

    by_slot: dict[int, Placement]
    unknown: int
    unread: int

    @property
    def told(self) -> str:
        """What of it is not used, as a sentence; "" for nothing."""
        count = self.unknown + self.unread
        what = f"{count} predictions name no position, no image that is listed, or neither image nor none"
        return what if count else ""


def predictions(reply: str, images: Sequence[str], slots: int = LAST_SLOT) -> Predictions:
    """The entries of the reply for slots 1..`slots`; `images[k - 1]` is the id of `IMAGE_k`.

    An image is `IMAGE_k` in any case, width, marks, brackets or link; `Not Insert`, none and null are no image. An
    image that was placed before (also under another number) is not placed again. An empty list places nothing. Raises
    ParseError where the reply is no such JSON, or has entries of which none can be read.
    """
    data = _json(reply, _is_placement)
    entries = _entries(data)
    if entries is None:
        raise ParseError(f'the placement has no list "predictions": {_beginning(reply)}')
    chosen: dict[int, Placement] = {}
    used: set[str] = set()
    unknown = unread = 0
    for entry in entries:
        slot, named = _slot(entry), _named(entry)
        if not 1 <= slot <= slots or named is None:
            unread += 1
        elif slot not in chosen and any(not 1 <= k <= len(images) for k in named):
            unknown += 1
        elif slot not in chosen:
            image = next((images[k - 1] for k in named if images[k - 1] not in used), None)
            notes = [value if isinstance(value, str) else "" for value in map(entry.get, ("analysis", "explanation"))]
            chosen[slot] = Placement(slot, image, *notes)
            used |= {image} if image is not None else set()
    if entries and unread == len(entries):
        raise ParseError(f"the placement has no entry with a slot and an image or none: {_beginning(reply)}")
    return Predictions(chosen, unknown, unread)


def _entries(value: Any) -> list[Any] | None:
    """The predictions in a reply's JSON; None where it has none."""
    entries = value.get("predictions") if isinstance(value, dict) else value
    return entries if isinstance(entries, list) else None


def _is_placement(value: Any) -> bool:
    """Whether this is no other list or object of a reply."""
    return any(map(_slot, value)) if isinstance(value, list) else _entries(value) is not None


def _slot(entry: Any) -> int:
    """The slot of an entry, 0 where it has none."""
    position = entry.get("position") if isinstance(entry, dict) else None
    match = POSITION.fullmatch(str(position).translate(FULL_WIDTH).strip(" `*\t\n"))
    return int(match[1]) if match else 0


def _named(entry: Any) -> list[int] | None:
    """The k of an entry's image; empty where there shall be none, None where that cannot be told."""
    image = entry.get("image", "") if isinstance(entry, dict) else ""
    if image is None or (isinstance(image, str) and _letters(image) in NOTHING):
        return []
    text = tidy(image).strip(" \t\n.,;:。") if isinstance(image, str) else ""
    match = markdown.REFERENCE.fullmatch(text)
    return [int(match["shown"] or match["bare"])] if match else None


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.translate(FULL_WIDTH)).strip().casefold()


QA_SAMPLE = "Question: What colour are the boats?\nAnswer: Red."
QUESTION = re.compile(r"(?:\bquestion|问题|^\s*问)\s*[:：]", re.IGNORECASE | re.MULTILINE)
ANSWER = re.compile(r"(?:\banswer|答案|回答|^\s*答)\s*[:：]", re.IGNORECASE | re.MULTILINE)


def qa(reply: str, question: str = "Question:", answer: str = "Answer:") -> QA:
    """A question with its answer: what follows the last `Question:`, in two parts around one `Answer:`; or as JSON.

    The labels are the given ones, the English or the Chinese ones; their colons may be full-width. Raises ParseError
    where a part is missing, empty, or one too many.
    """
    asked, whole_reply = _label(question, QUESTION), _cleaned(reply).replace("**", "")
    text = fences.unfenced(whole_reply)
    text = text if asked.search(text) else whole_reply.strip()
    labelled = asked.split(text)
    if len(labelled) > 1 and not text.startswith("{"):
        parts: list[Any] = _label(answer, ANSWER).split(labelled[-1])
    else:
        data = _json(reply, lambda value: isinstance(value, dict) and {"question", "answer"} <= value.keys())
        parts = [data.get("question"), data.get("answer")] if isinstance(data, dict) else []
    if len(parts) != 2 or not all(isinstance(part, str) and part.strip() for part in parts):
        raise ParseError(f"the reply is not one question and its answer: {_beginning(reply)}")
    return QA(parts[0].strip(), parts[1].strip())


def qa_begun(text: str, question: str = "Question:", answer: str = "Answer:") -> QA | None:
    """What `qa` will make of a growing text, as far as it goes: the question, and its answer's beginning.

    None as long as the question may go on. More text can still make another pair of it, or none.
    """
    asked = list(_label(question, QUESTION).finditer(text))
    parts = _label(answer, ANSWER).split(text[asked[-1].end() :].replace("**", "")) if asked else []
    # A lone star at the end may be half of a mark that is taken out.
    return QA(*(part.rstrip("*").strip() for part in parts)) if len(parts) == 2 and parts[0].strip() else None


def _label(own: str, known: re.Pattern[str]) -> re.Pattern[str]:
    """The known labels, and one of the pack's own."""
    return known if known.fullmatch(own) else re.compile(f"{known.pattern}|{re.escape(own)}", known.flags)


def _json(reply: str, wanted: Callable[[Any], bool]) -> Any:
    """The first JSON object or list in the reply that is wanted, else the first one."""
    try:
        return lenient_json.find(reply, wanted)
    except BrokenJson as error:
        raise ParseError(f"the reply holds no JSON that can be read ({error}): {_beginning(reply)}") from None


def _cleaned(reply: str) -> str:
    """The reply as text, without what nobody sees around it."""
    text: str = repaired(reply)
    return text.strip(INVISIBLE)


def _beginning(reply: str) -> str:
    return repr(reply if len(reply) <= 80 else reply[:80] + "…")
