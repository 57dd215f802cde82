"""References as models write them → `IMAGE_k` as the grammar has them.

    **image_2** · `IMAGE\\_2` · ［ＩＭＡＧＥ_２］ · <img src="IMAGE_2"> ─▶ IMAGE_2
    [the pier](image_2) ──────────────────────────────────────────▶ ![the pier](IMAGE_2)

Only what names one image is read; every other text stays as it is.
"""

from __future__ import annotations

import re

FULL_WIDTH = {code + 0xFEE0: code for code in range(0x21, 0x7F)}
"""Full-width letter, digit or mark → the ASCII one, for `str.translate`; texts keep their length."""

_WRITTEN = re.compile(
    r"(?<![a-z0-9])(?<![a-z0-9]_)IMAGE\\?_([0-9]{1,4000})(?![a-z0-9]|\\?_[a-z0-9])", re.IGNORECASE | re.ASCII
)
_NAME = r"(\x02IMAGE_[0-9]+\x03)"
"""A name while what stands around it is taken off: its ends are marked, for two may come to stand side by side."""

_OPEN, _CLOSE = r"[`*_~\"'“‘(\[{<（［｛＜【〔「『《\\]{1,8}", r"[`*_~\"'”’)\]}>）］｝＞】〕」』》\\]{1,8}"
_AROUND = (
    (re.compile(rf"<img\b[^<>\x02]*{_NAME}(?:[^<>\x02]|\1)*>", re.IGNORECASE), r"\1"),
    (re.compile(rf"\]\({_OPEN}{_NAME}{_CLOSE}\)"), r"](\1)"),
    (re.compile(rf"\]\({_NAME} +[\"'][^\"'\n\x02]*[\"']\)"), r"](\1)"),
    (re.compile(rf"!?\[{_NAME}\]\([^()\n\x02]*\)"), r"\1"),
    (re.compile(rf"(?<!!)\[([^\[\]\n]*)\]\({_NAME}\)"), r"![\1](\2)"),
    (re.compile(rf"(?<!\])(?<!\]\(){_OPEN}{_NAME}{_CLOSE}(?!\()"), r"\1"),
    (re.compile(rf"(?<!\])[\[({{<（［｛＜【] +{_NAME} +[\])}}>）］｝＞】](?!\()"), r"\1"),
    (re.compile(rf"<(\w+)\b[^<>\x02]*>\s*{_NAME}\s*</\1>", re.IGNORECASE), r"\2"),
)
"""What stands around a name → what is left of it."""
DEPTH = 8
"""Wrappings inside one another that are taken off."""


def tidy(text: str) -> str:
    """The text with every reference, whatever its case, width, marks, brackets or link, as `IMAGE_k` or
    `![caption](IMAGE_k)`."""
    folded, pieces, end = text.translate(FULL_WIDTH), [], 0
    for match in _WRITTEN.finditer(folded):
        pieces += [text[end : match.start()], f"\x02IMAGE_{match[1]}\x03"]
        end = match.end()
    if not pieces:
        return text
    text = "".join([*pieces, text[end:]])
    for _ in range(DEPTH):
        for wrapped, left in _AROUND:
            text = wrapped.sub(left, text)
    return _without_marks(text)


def _without_marks(text: str) -> str:
    """Names as they are, with a space where a letter, a digit or another name would join them."""
    text = re.sub(r"(?<=[A-Za-z0-9_\x03])\x02(?=IMAGE_[0-9]+\x03)", " \x02", text)
    text = re.sub(r"(\x02IMAGE_[0-9]+\x03)(?=[A-Za-z0-9_])", r"\1 ", text)
    return re.sub(r"\x02(IMAGE_[0-9]+)\x03", r"\1", text)
