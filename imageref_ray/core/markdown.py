"""The reference grammar: documents and answers as lines, slots between the lines, images at the slots.

In: documents, responses, model answers. Out: the same texts with images named, numbered, inserted,
removed and checked. An answer's image line is `IMAGE_k` or `![caption](IMAGE_k)`, after its paragraph.

A line of the grammar is a block of Markdown (`markdown_blocks`): of a paragraph each line, of a list each item, of
code, tables, quotes and HTML the whole. Slots count from 1. Policy `"before"`: one slot after every header (the place
before a section's content). Policy `"after"`: one slot after every other line. They are never the same by index.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from imageref_ray.core import markdown_blocks
from imageref_ray.core.markdown_blocks import REFERENCE as REFERENCE
from imageref_ray.core.markdown_blocks import blocks as blocks
from imageref_ray.core.markdown_blocks import woven as woven
from imageref_ray.core.markdown_dangers import dangers, disarmed
from imageref_ray.core.markdown_images import PASSES, cut
from imageref_ray.core.markdown_images import Reference as Reference
from imageref_ray.core.markdown_images import image_line as image_line
from imageref_ray.core.markdown_images import references as references
from imageref_ray.core.markdown_images import strip_images as strip_images
from imageref_ray.core.records import MARKER, Document, Image, Sample

Policy = Literal["before", "after"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Breach:
    """One way in which an answer breaks the reference contract; `message` is a sentence for the user.

    `exists`, `slot`, `once`, `source`: of an image reference (`source` also of a picture that is not the sample's).
    `html`: a tag that may show, load or run something. `link`: a link that may run something or opens a local file.
    """

    kind: Literal["exists", "slot", "once", "source", "html", "link"]
    message: str
    k: int = 0


def lines(text: str) -> list[str]:
    """The text's lines of the grammar, each as written and without spaces around it where it is plain.

    Joined with line breaks they are the text; one that needs a blank line before it begins with a line break.
    """
    return markdown_blocks.lines(blocks(text))


def spaced(text: str) -> str:
    """The text with a blank line before every plain line that stays one after it."""
    written = zip(lines(text), blocks(text), strict=True)
    free = ("\n" + line.strip("\n") if block.plain and not block.bound else line for line, block in written)
    return "\n".join(free).lstrip("\n")


def is_header(line: str) -> bool:
    """Whether a line of `lines` is a header, `# …` or underlined."""
    bare = line.lstrip("\n")
    return bare.startswith("#") or ("\n" in bare and blocks(bare)[0].kind == "header")


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
    return [i for i, block in enumerate(blocks(text)) if (block.kind == "header") == (policy == "before")]


def with_slots(text: str, policy: Policy) -> str:
    """The text with a line `<Position p>` at every slot p."""
    marks = {line: f"<Position {p}>" for p, line in enumerate(slots(text, policy), start=1)}
    return woven(blocks(text), marks)


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


def insert(text: str, chosen: Mapping[int, int], policy: Policy, captions: Mapping[int, str] | None = None) -> str:
    """The text with an image line for every slot → k in `chosen`, after the slot's paragraph or other block.

    Lines read `IMAGE_k`, or `![caption](IMAGE_k)` where `captions` holds k. Raises ValueError for an unknown slot.
    """
    after = convert(chosen, text, policy, "after")
    at = {line: after[p] for p, line in enumerate(slots(text, "after"), start=1) if p in after}
    shown = {line: image_line(k, (captions or {}).get(k)) for line, k in at.items()}
    return woven(blocks(text), shown)


def check(answer: str, sample: Sample, used: Collection[str] = ()) -> list[Breach]:
    """The reference contract: every image of an answer exists in its sample, is at a legal slot, is used at most once,
    and traces back to its document, uri and sha256; no other picture, no HTML that may load or run something and no
    dangerous link is in it. An empty list means that all of it holds. `used` are the ids of images that stand before
    the answer, where it is a part of one."""
    breaches = check_references(answer, [image.id for image in sample.images], used)
    for ref in references(answer):
        if fault := _untraceable(ref.k, sample):
            where = f"IMAGE_{ref.k} on line {ref.row} ({sample.images[ref.k - 1].id})"
            breaches.append(Breach("source", f"{where} cannot be traced back: {fault}.", ref.k))
    return breaches


def check_references(answer: str, images: Sequence[str], before: Collection[str] = ()) -> list[Breach]:
    """The contract as far as an annotation file allows: of `IMAGE_k` only the name `images[k - 1]` is known. `before`
    are the names of images that are used already."""
    breaches: list[Breach] = []
    used = set(before)
    for ref in references(answer):
        where = f"IMAGE_{ref.k} on line {ref.row}"
        if not 1 <= ref.k <= len(images):
            breaches.append(Breach("exists", f"{where} does not exist: the sample has {len(images)} images.", ref.k))
            continue
        if not ref.slot:
            inside = f" (it is inside a block: {ref.inside})" if ref.inside else ""
            message = f"{where} must be the only image line right after a paragraph{inside}."
            breaches.append(Breach("slot", message, ref.k))
        name = images[ref.k - 1]
        if name in used:
            breaches.append(Breach("once", f"{where} ({name}) was used before; use every image at most once.", ref.k))
        used.add(name)
    return breaches + [Breach(danger.kind, danger.message) for danger in dangers(answer)]


def repair(answer: str, sample: Sample, before: Collection[str] = ()) -> tuple[str, list[Reference]]:
    """The answer as the contract wants it, and its references at their slots; `before` as `used` of `check`.

    A reference inside a block (a table, code, …) moves to the slot after it where that is free; every other one that
    breaks the contract is removed. Other pictures are removed, or shown as text as are HTML and links that break it.
    """
    bare = strip_images(answer)
    text = _harmless(bare)
    if len(blocks(text)) != len(blocks(bare)):  # HTML became lines of text, which have slots of their own
        answer = _harmless(answer)
        text = _harmless(strip_images(answer))
    found = references(answer)
    valid: dict[int, Reference] = {}
    used = set(before)
    for ref in sorted(found, key=lambda ref: not ref.slot):  # those at legal slots first
        slot = ref.slot or ref.near
        slot = slot if slot <= len(slots(text, "after")) else 0
        name = sample.images[ref.k - 1].id if 1 <= ref.k <= len(sample.images) else ""
        if slot and name and slot not in valid and name not in used and not _untraceable(ref.k, sample):
            used.add(name)
            valid[slot] = replace(ref, slot=slot)
    captions = {ref.k: ref.caption for ref in valid.values() if ref.caption}
    repaired = insert(text, {slot: ref.k for slot, ref in valid.items()}, "after", captions)
    return repaired, [valid[slot] for slot in sorted(valid)]


def _harmless(text: str) -> str:
    """The text without dangers, its lines joined: paragraphs that come together may make a link of two halves."""
    for _ in range(PASSES):
        text, before = "\n".join(lines(disarmed(text))), text
        if text == before:
            break
    return text


def _untraceable(k: int, sample: Sample) -> str:
    """Why image k cannot be traced back to its document, uri and sha256; empty where it can, or does not exist."""
    sources = [(document.id, image) for document in sample.documents for image in document.images]
    document, image = sources[k - 1] if 1 <= k <= len(sources) else ("", None)
    if image is None:
        return ""
    missing = [key for key in ("uri", "sha256") if not getattr(image, key)]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    return "" if image.id.rsplit("/", 1)[0] == document else f"its id is not one of document {document}"


def extract_placements(reference_text: str, decoded: str) -> dict[int, int]:
    """Slot → k (policy `"after"` of the reference text) in a freely decoded text; the first image at a slot counts.

    The lines of both texts are aligned in order. All images between two aligned neighbouring lines belong to the
    slot between them; if the next line is missing from the decoded text, only those before any other text; the last
    slot reaches to the end. A slot whose own paragraph is missing has no image.
    """
    text = strip_images(reference_text)
    written: dict[int, list[int]] = {}
    for ref in references(decoded):
        written.setdefault(ref.line, []).append(ref.k)
    texts: list[str] = []
    images: list[list[int]] = [[]]
    for i, block in enumerate(blocks(decoded)):
        rest = "" if block.kind == "image" else " ".join(cut(block).split())
        if rest:
            texts.append(rest)
            images.append([])
        images[-1] += written.get(i, [])
    anchor = _aligned([" ".join(line.split()) for line in lines(text)], texts)
    slot_lines = slots(text, "after")
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
