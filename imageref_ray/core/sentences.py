"""Text → units (sentences or sections) whose concatenation is exactly the text; also for a text still growing.

    "He paid 3.5 dollars. Dr. Holt\n\nwent" ─sentence─▶ "He paid 3.5 dollars." " Dr. Holt" "\n\nwent"

White space belongs to the unit after it, so that a text cut after a unit ends as a model would end it. An end depends
only on the text before it and the next visible character, so an end in a growing text is an end in the finished one.
That is why no library is used: they segment a text as a whole, and their ends move as it grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

Kind = Literal["sentence", "section"]

_CLOSERS = r"""["'”’»」』）】》〉)\]}*_`]"""
_END = re.compile(
    rf"(?<![.?!。！？])(?P<marks>[.?!。！？]++)(?P<close>{_CLOSERS}*+)(?=(?P<space>\s*+)(?P<next>\S))"
    r"|(?<=\S)(?=(?P<gap>[^\S\n]*+\n\s*+)(?P<below>\S))"
)
_BLANK_LINE = re.compile(r"(?<=\S)(?=[^\S\n]*+\n[^\S\n]*+\n\s*+\S)")
_LIST_NUMBER = re.compile(r"\s*[(\[*_#>•-]*\s*(?:\d{1,3}|[A-Za-z]|[IVXivx]{1,4})[.)*_]*")
_WORD = re.compile(r"[^\W_]")
_LAST_WORD = re.compile(r"[\w.'’&-]+\Z")
_INITIAL = re.compile(r"(?:.*[.-])?[A-Z]")
_ENDED = re.compile(rf"[.?!。！？]{_CLOSERS}*\s*\Z")

_ABBREVIATIONS = {
    *("mr", "mrs", "ms", "dr", "prof", "st", "mt", "ft", "gen", "col", "capt", "lt", "sgt", "maj", "adm", "rev", "hon"),
    *("pres", "gov", "sen", "rep", "messrs", "mme", "mlle", "fr", "vs", "cf", "viz", "approx", "ca", "e.g", "i.e"),
    *("incl", "resp", "dept", "ph.d"),
}
"""Words that are written with a full stop and never end a sentence."""

_BEFORE_NUMBERS = {
    *("no", "nos", "nr", "fig", "figs", "eq", "vol", "vols", "ch", "sec", "p", "pp", "art"),
    *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
}
"""Words that are written with a full stop before a number."""

_LONGEST_WORD = 24
"""Characters before a full stop that are searched for the word in front of it."""


def split(text: str, kind: Kind = "sentence") -> list[str]:
    """The units of a finished text in order; `"".join(split(text)) == text`, and no unit is empty.

    A sentence ends at `. ? ! 。 ！ ？` with the closing quotes and brackets after it, at a blank line, or where a
    new line begins with anything but a small letter (a heading, a list item). Decimals, addresses, abbreviations,
    initials, list numbers and an ellipsis within a sentence are not ends. A section ends at a blank line.
    """
    cuts = [0, *_ends(text, kind), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


def first_unit(text: str, complete: bool, kind: Kind = "sentence") -> str | None:
    """The first complete unit of a text; None if more text could still belong to it, or if the text is empty.

    For any continuation, `first_unit(text, False)` is None or `split(text + continuation)[0]`. `complete` means that
    no more text follows: the last unit is then complete too.
    """
    end = next(_ends(text, kind), None)
    if end is not None:
        return text[:end]
    return text if complete and text.strip() else None


def has_end(text: str) -> bool:
    """Whether a text ends as a sentence does (one cut off by a token limit mostly does not)."""
    return bool(_ENDED.search(text))


def _ends(text: str, kind: Kind) -> Iterator[int]:
    """The ends of all units but the last, as indices."""
    begin, word = 0, _WORD.search(text)
    for match in (_END if kind == "sentence" else _BLANK_LINE).finditer(text):
        if not word or match.end() <= word.start():
            continue  # marks alone are not a unit
        if kind == "section" or (_ends_sentence if match["marks"] else _ends_line)(text, begin, match):
            begin = match.end()
            word = _WORD.search(text, begin)
            yield begin


def _ends_line(text: str, begin: int, match: re.Match[str]) -> bool:
    blank = match["gap"].count("\n") > 1
    return (blank or not match["below"].islower()) and not _LIST_NUMBER.fullmatch(text, begin, match.end())


def _ends_sentence(text: str, begin: int, match: re.Match[str]) -> bool:
    marks, space, following = match["marks"], match["space"], match["next"]
    if any(mark in "。！？" for mark in marks):
        return True
    if not space:  # 3.5, www.a.com/x?y, "…": an end only between two Chinese letters
        return len(marks) == 1 and _is_wide(text[match.start() - 1]) and _is_wide(following)
    if _LIST_NUMBER.fullmatch(text, begin, match.end()):
        return False
    if space.count("\n") > 1:
        return True
    if following.islower():
        return False
    return marks != "." or not _is_abbreviated(text, begin, match.start(), following)


def _is_abbreviated(text: str, begin: int, at: int, following: str) -> bool:
    """Whether the full stop at `at` belongs to the word before it."""
    match = _LAST_WORD.search(text, max(begin, at - _LONGEST_WORD), at)
    word = match[0] if match else ""
    if word.lower() in _ABBREVIATIONS or (word.lower() in _BEFORE_NUMBERS and following.isdigit()):
        return True
    return word != "I" and bool(_INITIAL.fullmatch(word)) and following.isalpha()


def _is_wide(char: str) -> bool:
    return "\u2e80" <= char <= "\ud7ff" or "\uf900" <= char <= "\ufaff"
