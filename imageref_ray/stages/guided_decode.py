"""Sample + reference text → the same text with the images the model chose, slot by slot.

The text is fixed so that position labels apply; at each after-content slot the open assistant turn is
continued under a guide that allows one image reference or nothing. Each prompt extends the last one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from imageref_ray.core import markdown
from imageref_ray.core.records import Image, Sample, Usage
from imageref_ray.engines.base import Generate, Guide, Message, Request, Sampling
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import Pack

CAPTION_LENGTH = 200
"""Most characters of an alt text under the guide."""


async def guided(
    sample: Sample,
    reference: str,
    generate: Generate,
    variant: Literal["plain", "caption"] = "plain",
    *,
    system: str = "",
    sampling: Sampling | None = None,
    pack: Pack | None = None,
    paper: bool = False,
) -> tuple[str, dict[int, str], Usage]:
    """The reference text with the chosen images, slot (policy `"after"`) → image id, and the summed usage.

    By default a used image is removed from the guide, and "no image" is the beginning of the text that follows. With
    `paper`, used images stay in it and "no image" is `###` or a line break; metrics count an image's first use.
    """
    messages = prompts.answer(pack or prompts.load_pack("compact"), sample, system)
    return await fill(messages, sample.images, reference, generate, variant, sampling=sampling, paper=paper)


async def fill(
    messages: tuple[Message, ...],
    images: Sequence[Image],
    reference: str,
    generate: Generate,
    variant: Literal["plain", "caption"] = "plain",
    *,
    sampling: Sampling | None = None,
    paper: bool = False,
) -> tuple[str, dict[int, str], Usage]:
    """The same for a prompt that is already worded; `images[k - 1]` is its `IMAGE_k`."""
    limit = 32 if variant == "plain" else 32 + 3 * CAPTION_LENGTH
    sampling = replace(sampling or Sampling(), max_tokens=limit)
    whole = markdown.strip_images(reference)
    text, blocks = markdown.lines(whole), markdown.blocks(whole)
    slot_after = {line: slot for slot, line in enumerate(markdown.slots(whole, "after"), start=1)}
    usage = Usage()
    chosen: dict[int, str] = {}
    shown: dict[int, str] = {}
    for i in range(len(text)):
        prefix = markdown.woven(blocks[: i + 1], shown) + "\n"
        free = [k for k, image in enumerate(images, 1) if paper or image.id not in chosen.values()]
        if i not in slot_after or not free:
            continue
        nothing = ["###", r"\n"] if paper else _opening(text[i + 1 : i + 2])
        guide = Guide("regex", pattern(free, nothing, variant))
        reply = await generate(Request(messages, sampling, guide, prefix))
        usage += reply.usage
        k = _choice(reply.text, free)
        if k:
            chosen[slot_after[i]] = images[k - 1].id
            shown[i] = reply.text.strip()
    return markdown.woven(blocks, shown), chosen, usage


def pattern(ks: Sequence[int], nothing: Sequence[str], variant: Literal["plain", "caption"]) -> str:
    """A regular expression of exactly one image line, one of `nothing` (expressions), or the empty string."""
    names = "|".join(f"IMAGE_{k}" for k in ks)
    alt = rf"!\[[^\[\]\n]{{1,{CAPTION_LENGTH}}}\]\(({names})\)" if variant == "caption" else f"({names})"
    return f"({'|'.join([alt + chr(92) + 'n', *nothing])})?"


def _opening(following: list[str]) -> list[str]:
    """How the text continues: a header's marks, the first word of the next line or a blank one; nothing at the end."""
    firsts = [match[0] for line in following if (match := re.match(r"#+|\S{1,24}|\s", line))]
    return [r"\n" if first == "\n" else re.sub(r"[\\.^$|?*+()\[\]{}]", r"\\\g<0>", first) for first in firsts]


def _choice(text: str, free: Sequence[int]) -> int:
    """The k of a reply that is one image line of a free image, else 0."""
    match = markdown.REFERENCE.fullmatch(text.strip())
    k = int(match["shown"] or match["bare"]) if match else 0
    return k if k in free else 0
