"""The reference grammar: documents and answers as lines, slots between the lines, images at the slots.

In: documents, responses, model answers. Out: the same texts with images named, numbered, put in, taken
out and checked. An answer's image line is `IMAGE_k` or `![caption](IMAGE_k)`, after its paragraph.

Slots count from 1. Policy `"before"`: one slot after every header line (the place before a section's
content). Policy `"after"`: one slot after every line that is not a header. They are never the same by index.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from imageref_ray.core.records import MARKER, Document, Image, Sample

Policy = Literal["before", "after"]
T = TypeVar("T")

REFERENCE = re.compile(
    r"!\[(?P<caption>(?:(?!\]\(|!\[)[^\n])*)\]\(IMAGE_(?P<shown>[0-9]{1,4000})\)"
    r"|(?<![A-Za-z0-9_])IMAGE_(?P<bare>[0-9]{1,4000})(?![A-Za-z0-9_])"
)
"""One reference to an image, with or without a caption."""

FOREIGN = re.compile(r"!\[[^\]\n]*\]\((?!IMAGE_[0-9]+\))[^)\n]*\)")
"""A Markdown image whose target is not one of the sample's images."""

FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """`IMAGE_k` as found in an answer: on which of its `lines` (from 0), with which caption, at which
    after-content slot of the answer without images (0: at no legal slot)."""

    line: int
    k: int
    caption: str
    slot: int


@dataclass(frozen=True, slots=True)
class Breach:
    """One way in which an answer breaks the reference contract; `message` is a sentence for people."""

    kind: Literal["exists", "slot", "once", "source"]
    message: str
    k: int = 0


def lines(text: str) -> list[str]:
    """The stripped lines of a text that are not empty."""
    return [line for line in (raw.strip() for raw in text.split("\n")) if line]


def is_header(line: str) -> bool:
    return line.startswith("#")


def render(document: Document, name: Callable[[Image], str] | None = None) -> str:
    """`# title` and the document's lines; a marker becomes `name(image)`, or nothing without `name` or image."""
    images = {image.index: image for image in reversed(document.images)}

    def named(marker: re.Match[str]) -> str:
        image = images.get(int(marker[1]))
        return name(image) if name and image else ""

    title = " ".join(MARKER.sub("", document.title).split())
    return "\n".join(([f"# {title}"] if title else []) + lines(MARKER.sub(named, document.text)))


def pieces(document: Document, keep: Callable[[Image], bool] = lambda image: True) -> tuple[str | Image, ...]:
    """The rendered text in reading order, cut at the first marker of every image that `keep` admits.

    An admitted image without a marker in the text stands on a line of its own at the end.
    """
    left = [image for image in document.images if keep(image)]
    cut: list[Image] = []

    def marked(image: Image) -> str:
        if image not in left:
            return ""
        left.remove(image)
        cut.append(image)
        return f"[Image {image.index}]"

    text = render(document, marked)
    texts = MARKER.split(text)[::2]
    parts: list[str | Image] = [texts[0]]
    for image, following in zip(cut, texts[1:], strict=True):
        parts += [image, following]
    for image in left:
        parts += ["\n", image]
    return tuple(part for part in parts if part != "")


def image_numbers(sample: Sample) -> dict[str, int]:
    """Image id → k of `IMAGE_k`, counted from 1 over the sample's documents in order."""
    numbers: dict[str, int] = {}
    for k, image in enumerate(sample.images, start=1):
        numbers.setdefault(image.id, k)
    return numbers


def slots(text: str, policy: Policy) -> list[int]:
    """`slots(...)[p - 1]` is the index in `lines(text)` of the line after which slot p stands."""
    return [i for i, line in enumerate(lines(text)) if is_header(line) == (policy == "before")]


def with_slots(text: str, policy: Policy) -> str:
    """The text with a line `<Position p>` at every slot p."""
    number = {line: p for p, line in enumerate(slots(text, policy), start=1)}
    return "\n".join(f"{line}\n<Position {number[i]}>" if i in number else line for i, line in enumerate(lines(text)))


def convert(placements: Mapping[int, T], text: str, from_policy: Policy, to_policy: Policy) -> dict[int, T]:
    """Placements by slot under another policy.

    A header's slot answers to the slot after the first content line that follows it; a content line's slot
    answers to its section's header. Where two slots meet, the nearer keeps the place: a section's own image
    before that of an empty section above it, a section's first paragraph before its later ones.
    Raises ValueError for a slot that the text does not have.
    """
    count = len(slots(text, from_policy))
    for p in placements:
        if not 1 <= p <= count:
            raise ValueError(f"slot {p} does not exist: the text has {count} slots under policy {from_policy!r}")
    if from_policy == to_policy:
        return dict(sorted(placements.items()))
    befores, afters = slots(text, "before"), slots(text, "after")
    if from_policy == "before":
        target = [sum(line < header for line in afters) + 1 for header in befores]
        target = [q if q <= len(afters) else 0 for q in target]
        order = sorted(placements, reverse=True)
    else:
        target = [sum(header < line for header in befores) for line in afters]
        order = sorted(placements)
    moved: dict[int, T] = {}
    for p in order:
        if target[p - 1]:
            moved.setdefault(target[p - 1], placements[p])
    return dict(sorted(moved.items()))


def strip_images(answer: str) -> str:
    """The answer without its images: image lines vanish, references inside a line are cut out of it."""
    kept: list[str] = []
    for line in lines(answer):
        cut = FOREIGN.sub(" ", REFERENCE.sub(" ", line))
        kept.append(line if cut == line else " ".join(cut.split()))
    return "\n".join(line for line in kept if line)


def insert(text: str, chosen: Mapping[int, int], policy: Policy, captions: Mapping[int, str] | None = None) -> str:
    """The text with an image line for every slot → k in `chosen`, each after its paragraph.

    Lines read `IMAGE_k`, or `![caption](IMAGE_k)` where `captions` holds k. Raises ValueError for an unknown slot.
    """
    after = convert(chosen, text, policy, "after")
    at = {line: after[p] for p, line in enumerate(slots(text, "after"), start=1) if p in after}
    answer: list[str] = []
    for i, line in enumerate(lines(text)):
        answer.append(line)
        if i in at:
            answer.append(image_line(at[i], (captions or {}).get(at[i])))
    return "\n".join(answer)


def image_line(k: int, caption: str | None = None) -> str:
    """`IMAGE_k`, or `![caption](IMAGE_k)`; brackets in a caption become round, line breaks become spaces."""
    if caption is None:
        return f"IMAGE_{k}"
    plain = " ".join(caption.replace("[", "(").replace("]", ")").split())
    return f"![{plain}](IMAGE_{k})"


def references(answer: str) -> list[Reference]:
    """Every reference in reading order. Legal is an image line right after a content line, one at a slot."""
    found: list[Reference] = []
    slot, free = 0, False
    for i, line in enumerate(lines(answer)):
        rest = line
        if "IMAGE_" in line or "![" in line:  # few lines are worth the patterns' time
            alone = REFERENCE.fullmatch(line) is not None
            for match in REFERENCE.finditer(line):
                k = int(match["shown"] or match["bare"])
                found.append(Reference(i, k, match["caption"] or "", slot if alone and free else 0))
            rest = strip_images(line)
        slot += bool(rest) and not is_header(rest)
        free = bool(rest) and not is_header(rest)
    return found


def check(answer: str, sample: Sample) -> list[Breach]:
    """The reference contract: every image of an answer exists in its sample, stands at a legal slot, is used
    at most once, and traces back to its document, uri and sha256. An empty list means it holds."""
    sources = [(document.id, image) for document in sample.documents for image in document.images]
    breaches = check_references(answer, [image.id for _, image in sources])
    for ref in references(answer):
        if not 1 <= ref.k <= len(sources):
            continue
        document, image = sources[ref.k - 1]
        lacking = [key for key in ("uri", "sha256") if not getattr(image, key)]
        if lacking or image.id.rsplit("/", 1)[0] != document:
            why = f"it has no {' and no '.join(lacking)}" if lacking else f"its id is not of document {document}"
            where = f"IMAGE_{ref.k} on line {ref.line + 1} ({image.id})"
            breaches.append(Breach("source", f"{where} cannot be traced back: {why}.", ref.k))
    return breaches


def check_references(answer: str, images: Sequence[str]) -> list[Breach]:
    """The contract as far as an annotation file tells: `images[k - 1]` names `IMAGE_k`, and that is all we know."""
    breaches: list[Breach] = []
    used: set[str] = set()
    for ref in references(answer):
        where = f"IMAGE_{ref.k} on line {ref.line + 1}"
        if not 1 <= ref.k <= len(images):
            breaches.append(Breach("exists", f"{where} does not exist: the sample has {len(images)} images.", ref.k))
            continue
        if not ref.slot:
            breaches.append(Breach("slot", f"{where} must be the only image line right after a paragraph.", ref.k))
        name = images[ref.k - 1]
        if name in used:
            breaches.append(Breach("once", f"{where} ({name}) was used before; an image may stand once.", ref.k))
        used.add(name)
    for match in FOREIGN.finditer(answer):
        breaches.append(Breach("source", f"{match[0]} is not one of the sample's images; write IMAGE_k."))
    return breaches


def read_placements(reference_text: str, decoded: str) -> dict[int, int]:
    """Slot → k (policy `"after"` of the reference text) as read from a decoded text; the first image at a slot counts.

    The lines of both texts are aligned, moving forward only. Between two aligned neighbours everything
    belongs to the slot; where the next line was lost, only what stands before any other text; what follows
    the last slot runs to the end. A slot whose own paragraph was lost reads nothing.
    """
    wanted = [" ".join(line.split()) for line in lines(strip_images(reference_text))]
    texts: list[str] = []
    images: list[list[int]] = [[]]
    for line in lines(decoded):
        rest = " ".join(strip_images(line).split())
        if rest:
            texts.append(rest)
            images.append([])
        images[-1] += [int(match["shown"] or match["bare"]) for match in REFERENCE.finditer(line)]
    anchor = _aligned(wanted, texts)
    places = slots("\n".join(wanted), "after")
    found: dict[int, int] = {}
    for p, place in enumerate(places, start=1):
        if place not in anchor:
            continue
        start = anchor[place]
        end = len(texts) if p == len(places) else anchor.get(place + 1, start + 1)
        region = [k for group in images[start + 1 : end + 1] for k in group]
        if region:
            found[p] = region[0]
    return found


def _aligned(wanted: list[str], texts: list[str]) -> dict[int, int]:
    """Index in `wanted` → index in `texts` of equal lines, both only growing."""
    blocks = difflib.SequenceMatcher(None, wanted, texts, autojunk=False).get_matching_blocks()
    return {block.a + i: block.b + i for block in blocks for i in range(block.size)}


def unfenced(reply: str) -> str:
    """The content of the reply's first code fence, or the reply where it has none."""
    fence = FENCE.search(reply)
    return (fence[1] if fence else reply).strip()
