"""References as models write them → `IMAGE_k` as the grammar has them.

    **image_2** · `IMAGE\\_2` · ［ＩＭＡＧＥ_２］ · <img src="IMAGE_2"> ─▶ IMAGE_2
    [the pier](image_2) ──────────────────────────────────────────▶ ![the pier](IMAGE_2)

Only what names one image is read; every other text stays as it is.
"""

from __future__ import annotations

import re

FULL_WIDTH = {code + 0xFEE0: code for code in range(0x21, 0x7F)}
"""Full-width letter, digit or mark → the ASCII one, for `str.translate`; texts keep their length."""

_NAME = re.compile(
    r"(?<![a-z0-9])(?<![a-z0-9]_)IMAGE\\?_([0-9]{1,4000})(?![a-z0-9]|\\?_[a-z0-9])", re.IGNORECASE | re.ASCII
)
_OPENING, _CLOSING = r"`*_~\"'“‘(\[{<（［｛＜【〔「『《\\", r"`*_~\"'”’)\]}>）］｝＞】〕」』》\\"
_REWRITTEN = (
    (re.compile(r"<img\b[^<>]*?\b(IMAGE_[0-9]+)\b[^<>]*>", re.IGNORECASE), r"\1"),
    (re.compile(rf"\]\([{_OPENING}]{{1,8}}(IMAGE_[0-9]+)[{_CLOSING}]{{1,8}}\)"), r"](\1)"),
    (re.compile(r"\]\((IMAGE_[0-9]+) +[\"'][^\"'\n]*[\"']\)"), r"](\1)"),
    (re.compile(r"!?\[(IMAGE_[0-9]+)\]\((?!IMAGE_[0-9]+\))[^()\n]*\)"), r"\1"),
    (re.compile(r"(?<!!)\[([^\[\]\n]*)\]\((IMAGE_[0-9]+)\)"), r"![\1](\2)"),
    (re.compile(rf"(?<!\])(?<!\]\()[{_OPENING}]{{1,8}}(IMAGE_[0-9]+)[{_CLOSING}]{{1,8}}(?!\()"), r"\1"),
    (re.compile(r"(?<!\])[\[({<（［｛＜【] +(IMAGE_[0-9]+) +[\])}>）］｝＞】](?!\()"), r"\1"),
    (re.compile(r"<(\w+)\b[^<>]*>\s*(IMAGE_[0-9]+)\s*</\1>", re.IGNORECASE), r"\2"),
)
"""What stands around a name → what is left of it, until nothing changes."""


def tidy(text: str) -> str:
    """The text with every reference, whatever its case, width, marks, brackets or link, as `IMAGE_k` or
    `![caption](IMAGE_k)`."""
    folded, pieces, end = text.translate(FULL_WIDTH), [], 0
    for match in _NAME.finditer(folded):
        pieces += [text[end : match.start()], f"IMAGE_{match[1]}"]
        end = match.end()
    text, before = "".join([*pieces, text[end:]]), ""
    while text != before:
        before = text
        for pattern, replacement in _REWRITTEN:
            text = pattern.sub(replacement, text)
    return text
