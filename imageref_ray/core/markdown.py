"""The reference grammar: documents and answers as lines, slots between the lines, images at the slots.

In: documents, responses, model answers. Out: the same texts with images named, numbered, inserted,
removed and checked. An answer's image line is `IMAGE_k` or `![caption](IMAGE_k)`, after its paragraph.

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
    """`IMAGE_k` in an answer: the index of its line in `lines(answer)` (from 0), its caption, and its
    after-content slot in the answer without images (0: not at a legal slot)."""

    line: int
    k: int
    caption: str
    slot: int


@dataclass(frozen=True, slots=True)
class Breach:
    """One way in which an answer breaks the reference contract; `message` is a sentence for the user."""

    kind: Literal["exists", "slot", "once", "source"]
    message: str
    k: int = 0


def lines(text: str) -> list[str]:
    """The non-empty lines of a text, stripped."""
    return [line for line in (raw.strip() for raw in text.split("\n")) if line]


def is_header(line: str) -> bool:
    return line.startswith("#")


def render(document: Document, name: Callable[[Image], str] | None = None) -> str:
    """`# title` and the document's lines; markers become `name(image)`, or vanish without `name` or image."""
    images = {image.index: image for image in reversed(document.images)}

    def named(marker: re.Match[str]) -> str:
        image = images.get(int(marker[1]))
        return name(image) if name and image else ""

    title = " ".join(MARKER.sub("", document.title).split())
    return "\n".join(([f"# {title}"] if title else []) + lines(MARKER.sub(named, document.text)))


def pieces(document: Document, keep: Callable[[Image], bool] = lambda image: True) -> tuple[str | Image, ...]:
    """The rendered text in reading order, split at the first marker of every image that `keep` accepts.

    An accepted image without a marker in the text comes on its own line at the end.
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
    """`slots(...)[p - 1]` is the index in `lines(text)` of the line before slot p."""
    return [i for i, line in enumerate(lines(text)) if is_header(line) == (policy == "before")]


def with_slots(text: str, policy: Policy) -> str:
    """The text with a line `<Position p>` at every slot p."""
    number = {line: p for p, line in enumerate(slots(text, policy), start=1)}
    return "\n".join(f"{line}\n<Position {number[i]}>" if i in number else line for i, line in enumerate(lines(text)))


def convert(placements: Mapping[int, T], text: str, from_policy: Policy, to_policy: Policy) -> dict[int, T]:
    """Placements by slot under another policy.

    A header's slot becomes the slot after the first content line that follows it; a content line's slot
    becomes its section header's. Where two slots become one, the nearer wins: a section's own image
    over that of an empty section above it, a section's first paragraph over its later ones.
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
    """The answer without its images: image lines are removed, references inside a line are cut out."""
    kept: list[str] = []
    for line in lines(answer):
        cut = FOREIGN.sub(" ", REFERENCE.sub(" ", line))
        kept.append(line if cut == line else " ".join(cut.split()))
    return "\n".join(line for line in kept if line)


def insert(text: str, chosen: Mapping[int, int], policy: Policy, captions: Mapping[int, str] | None = None) -> str:
    """The text with an image line for every slot → k in `chosen`, after the slot's paragraph.

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
    """`IMAGE_k`, or `![caption](IMAGE_k)`; square brackets in a caption become round, line breaks become spaces."""
    if caption is None:
        return f"IMAGE_{k}"
    plain = " ".join(caption.replace("[", "(").replace("]", ")").split())
    return f"![{plain}](IMAGE_{k})"


def references(answer: str) -> list[Reference]:
    """Every reference in reading order. A legal one is an image line right after a content line, the first there."""
    refs: list[Reference] = []
    slot, free = 0, False
    for i, line in enumerate(lines(answer)):
        rest = line
        if "IMAGE_" in line or "![" in line:  # the patterns are slow, and few lines have references
            alone = REFERENCE.fullmatch(line) is not None
            for match in REFERENCE.finditer(line):
                k = int(match["shown"] or match["bare"])
                refs.append(Reference(i, k, match["caption"] or "", slot if alone and free else 0))
            rest = strip_images(line)
        slot += bool(rest) and not is_header(rest)
        free = bool(rest) and not is_header(rest)
    return refs


def check(answer: str, sample: Sample) -> list[Breach]:
    """The reference contract: every image of an answer exists in its sample, is at a legal slot, is used
    at most once, and traces back to its document, uri and sha256. An empty list means that all of it holds."""
    sources = [(document.id, image) for document in sample.documents for image in document.images]
    breaches = check_references(answer, [image.id for _, image in sources])
    for ref in references(answer):
        if not 1 <= ref.k <= len(sources):
            continue
        document, image = sources[ref.k - 1]
        missing = [key for key in ("uri", "sha256") if not getattr(image, key)]
        if missing or image.id.rsplit("/", 1)[0] != document:
            why = f"it has no {' and no '.join(missing)}" if missing else f"its id is not one of document {document}"
            where = f"IMAGE_{ref.k} on line {ref.line + 1} ({image.id})"
            breaches.append(Breach("source", f"{where} cannot be traced back: {why}.", ref.k))
    return breaches


def check_references(answer: str, images: Sequence[str]) -> list[Breach]:
    """The contract as far as an annotation file allows: of `IMAGE_k` only the name `images[k - 1]` is known."""
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
            breaches.append(Breach("once", f"{where} ({name}) was used before; use every image at most once.", ref.k))
        used.add(name)
    for match in FOREIGN.finditer(answer):
        breaches.append(Breach("source", f"{match[0]} is not one of the sample's images; write IMAGE_k."))
    return breaches


def extract_placements(reference_text: str, decoded: str) -> dict[int, int]:
    """Slot → k (policy `"after"` of the reference text) in a freely decoded text; the first image at a slot counts.

    The lines of both texts are aligned in order. All images between two aligned neighbouring lines belong to the
    slot between them; if the next line is missing from the decoded text, only those before any other text; the last
    slot reaches to the end. A slot whose own paragraph is missing has no image.
    """
    expected = [" ".join(line.split()) for line in lines(strip_images(reference_text))]
    texts: list[str] = []
    images: list[list[int]] = [[]]
    for line in lines(decoded):
        rest = " ".join(strip_images(line).split())
        if rest:
            texts.append(rest)
            images.append([])
        images[-1] += [int(match["shown"] or match["bare"]) for match in REFERENCE.finditer(line)]
    anchor = _aligned(expected, texts)
    slot_lines = slots("\n".join(expected), "after")
    placements: dict[int, int] = {}
    for p, line_index in enumerate(slot_lines, start=1):
        if line_index not in anchor:
            continue
        start = anchor[line_index]
        end = len(texts) if p == len(slot_lines) else anchor.get(line_index + 1, start + 1)
        region = [k for group in images[start + 1 : end + 1] for k in group]
        if region:
            placements[p] = region[0]
    return placements


def _aligned(expected: list[str], texts: list[str]) -> dict[int, int]:
    """Index in `expected` → index in `texts` of equal lines, both increasing."""
    blocks = difflib.SequenceMatcher(None, expected, texts, autojunk=False).get_matching_blocks()
    return {block.a + i: block.b + i for block in blocks for i in range(block.size)}


def unfenced(reply: str) -> str:
    """The content of the reply's first code fence, or the reply where it has none."""
    fence = FENCE.search(reply)
    return (fence[1] if fence else reply).strip()
