"""Fenced code in Markdown: where it stands in a text, and a text without the fence that a model put around all of it.

Here is the response:     ─┐
```markdown                │
# Install the pump         │               # Install the pump
```bash                    ├─ unfenced ─▶  ```bash
npm install pump           │               npm install pump
```                        │               ```
```                       ─┘
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

MARKDOWN = frozenset({"markdown", "md"})
"""Languages of a fence whose content is Markdown, for sure."""

TEXT = MARKDOWN | {"", "text", "txt", "plaintext", "plain"}
"""Languages of a fence whose content may be prose."""

_FENCE = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([^`\n]*)")
_WORD_END = re.compile(r"[\s{:,;]")
_LEAD = re.compile(r"[^#\n].*[:：.。!！]")
"""A line that a model writes before what was asked for."""

_MOST_LINES = 3
"""Lines before or after a fence with Markdown that may be no part of it."""


class _Fence(NamedTuple):
    """One line of backticks or tildes: an opening one has a language or none, a closing one has none."""

    line: int
    mark: str
    language: str

    def is_like(self, opening: _Fence) -> bool:
        """Whether this could close the other if it named no language."""
        return self.mark[0] == opening.mark[0] and len(self.mark) >= len(opening.mark)


def code_spans(text: str) -> list[tuple[int, int]]:
    """Begin and end of every fenced block that is closed, its fences with it, in order."""
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    spans, opening = [], None
    for fence in _fences(lines):
        if opening is None:
            opening = fence
        elif fence.is_like(opening) and not fence.language:
            spans.append((starts[opening.line], starts[fence.line + 1]))
            opening = None
    return spans


def unfenced(text: str, languages: Collection[str] | None = None) -> str:
    """The content of the fence around the whole text, or the text where there is none; fences inside it stay.

    A line before it, such as "Here it is:", and one after it are left out with it. `languages` are those that the fence
    may name (None: any). A fence that is not closed reaches to the end.
    """
    lines = text.strip().split("\n")
    fences = _fences(lines)
    if not fences:
        return text.strip()
    opening = fences[0]
    last = _last(fences, len(lines))
    around = lines[: opening.line], lines[last + 1 :]
    if (languages is None or opening.language in languages) and last > opening.line and _is_chatter(opening, *around):
        return "\n".join(lines[opening.line + 1 : last]).strip("\n")
    return text.strip()


def _last(fences: Sequence[_Fence], end: int) -> int:
    """The line that closes the first fence: `end` where nothing does, 0 where what it closes is not clear."""
    opening, *others = fences
    alike = [fence for fence in _outside(others, opening.mark[0]) if fence.is_like(opening)]
    # Models close a fence inside a fence with the same mark: they are counted like brackets.
    depth = 1
    closed = None
    for fence in alike:
        depth += 1 if fence.language else -1
        if not depth:
            closed = fence
            break
    if closed is None:
        return end
    if closed is others[-1]:
        return closed.line
    bare = sum(not fence.language for fence in alike) - 1
    pairs = bare - (len(alike) - 1 - bare)  # blocks inside that name no language
    is_last = alike[-1] is others[-1] and not alike[-1].language
    return alike[-1].line if opening.language in MARKDOWN and is_last and pairs > 0 and pairs % 2 == 0 else 0


def _outside(fences: Sequence[_Fence], mark: str) -> list[_Fence]:
    """Those that are in no block of the other mark: backticks between tildes close nothing around these."""
    longest, reach = 0, [0]
    for fence in reversed(fences):
        if fence.mark[0] != mark and not fence.language:
            longest = max(longest, len(fence.mark))
        reach.append(longest)
    kept: list[_Fence] = []
    inside: _Fence | None = None
    for fence, closing in zip(fences, reach[-2::-1], strict=True):
        if inside:
            inside = None if fence.is_like(inside) and not fence.language else inside
        elif fence.mark[0] != mark and closing >= len(fence.mark):
            inside = fence
        else:
            kept.append(fence)
    return kept


def _is_chatter(opening: _Fence, before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether what stands around a fence is no part of the text that is asked for."""
    before, after = [line for line in before if line.strip()], [line for line in after if line.strip()]
    if opening.language in MARKDOWN:
        return max(len(before), len(after)) <= _MOST_LINES and not any(line.startswith("#") for line in before + after)
    leads = len(before) <= 1 and all(_LEAD.fullmatch(line.strip()) for line in before)
    return leads and len(after) <= 1 and not any(line.startswith("#") for line in after)


def _fences(lines: Sequence[str]) -> list[_Fence]:
    found = ((number, _FENCE.fullmatch(line.rstrip())) for number, line in enumerate(lines))
    return [_Fence(number, match[1], _language(match[2].strip().lower())) for number, match in found if match]


def _language(info: str) -> str:
    """The language at the beginning of what a fence says (`markdown title="a.md"`), or all of that."""
    return _WORD_END.split(info, maxsplit=1)[0] or info
