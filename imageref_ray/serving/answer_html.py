"""A checked answer → HTML: its pictures are the sample's, its tags and addresses are harmless (nh3).

The answer keeps the contract, so that little is left to take out; what a page shows rests on the sanitiser alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from imageref_ray.core.markdown import REFERENCE

_IMAGE = re.compile(r'<img src="IMAGE_([1-9][0-9]{0,9})"')
"""A picture in sanitised HTML; in text and in values of attributes one of the two signs is escaped."""

_TAGS = nh3.ALLOWED_TAGS - {"area", "map"}
_ATTRIBUTES = {**nh3.ALLOWED_ATTRIBUTES, "img": {"src", "alt"}}


def to_html(text: str, pictures: Mapping[int, tuple[str, str]]) -> str:
    """The answer as HTML; `pictures[k]` is the address and the alternative text of `IMAGE_k`, no others are shown."""
    tokens = _parser().parse(text)
    for opened, inline, closed in zip(tokens, tokens[1:], tokens[2:], strict=False):
        found = REFERENCE.fullmatch(inline.content.strip()) if opened.type == "paragraph_open" else None
        if found:
            k = int(found["shown"] or found["bare"])
            opened.hidden = closed.hidden = True
            inline.children = [_figure(k, found["caption"] or "", pictures[k][1])] if k in pictures else []
    rendered = _parser().renderer.render(tokens, _parser().options, {})
    clean = nh3.clean(rendered, tags=_TAGS, attributes=_ATTRIBUTES, attribute_filter=_only_named)
    addresses = {str(k): html.escape(address) for k, (address, _) in pictures.items()}
    return _IMAGE.sub(lambda image: f'<img src="{addresses.get(image[1], "")}"', clean)


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _figure(k: int, caption: str, alt: str) -> Token:
    words = html.escape(html.unescape(caption))
    shown = f"<figcaption>{words}</figcaption>" if words else ""
    image = f'<img src="IMAGE_{k}" alt="{html.escape(alt) or words}">'
    return Token("html_inline", "", 0, content=f"<figure>{image}{shown}</figure>")


def _only_named(tag: str, attribute: str, value: str) -> str | None:
    """The value of an attribute, None for a picture that is not the sample's."""
    return None if (tag, attribute) == ("img", "src") and not re.fullmatch("IMAGE_[0-9]+", value) else value
