"""Work of docutils that grows with the square of a page or faster, counted: a page that would take minutes is refused.

    source ─written─▶ steps that its paragraphs and transitions take, known before docutils begins
    tables ─docutils─▶ steps of tracing grids and filling up short rows, counted while they are read

A step is what docutils does 200 million times in some 15 seconds: it looks at one character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from docutils.parsers.rst import directives, tableparser
from docutils.parsers.rst.directives.tables import CSVTable

from imageref_ray.sources.entries import Unusable

MOST_WORK = 200_000_000
FILLED = 1_000
"""Steps for a cell that stands in no text: short rows are filled up with them."""
MARKS = "*`|_"
"""From each of these marks docutils searches for its end to the end of the paragraph."""
BLANK = re.compile(r"\n[ \t]*\n")
ITEM = re.compile(r"[ \t]*(?:[-*+•‣⁃] |\| |\.\. |#\. )")
"""What a line begins with if each that begins so is read on its own: items, lines of verse, explicit markup."""
GRID = re.compile(r"[ \t]*\+-[-+]+-\+[ \t]*(?:\n|\Z)")
BORDER = re.compile(r"^[ \t]*\+[-=+]+\+[ \t]*$", re.MULTILINE)
"""The first line of a grid table, and lines at which all its cells end."""
TRANSITION = re.compile(r"\s*([!-/:-@\[-`{-~])\1{3,}\s*")

_steps: ContextVar[list[int]] = ContextVar("_steps")


@contextmanager
def bounded(source: str) -> Iterator[None]:
    """Read a page in this block. Raises Unusable, before it or within, where docutils would need minutes."""
    token = _steps.set([0])
    try:
        _count(_paragraphs(source), f"paragraphs with so many marks ({MARKS})", "put blank lines between them")
        _count(_transitions(source), "so many transitions", "take some of these lines out")
        yield
    finally:
        _steps.reset(token)


def _count(steps: int, what: str, cure: str) -> None:
    taken = _steps.get([0])
    taken[0] += steps
    if taken[0] > MOST_WORK:
        problem = f"has {what} that docutils needs minutes ({taken[0]:,} steps of {MOST_WORK:,})"
        raise Unusable("PageTooLarge", f"{problem}; {cure}, or leave it out of source.pages")


def _paragraphs(source: str) -> int:
    """Characters through which docutils searches for the ends of marks."""
    work = 0
    for part in BLANK.split(source):
        part = part.lstrip("\n")
        if grid := GRID.match(part):
            columns = grid[0].count("+")
            work += sum(len(row) * (_marks(row) - _borders(row, columns)) for row in BORDER.split(part))
        else:
            item = ITEM.match(part)
            work += sum(len(one) * _marks(one) for one in (part.split(f"\n{item[0]}") if item else [part]))
    return work


def _marks(text: str) -> int:
    return sum(map(text.count, MARKS))


def _borders(row: str, columns: int) -> int:
    """Marks of a grid's row that are the borders of its cells."""
    return min(columns * (row.count("\n") + 1), row.count("|"))


def _transitions(source: str) -> int:
    """Of each transition docutils looks at all that stands before and after it."""
    parts = BLANK.split(source)
    return 2 * len(parts) * sum(TRANSITION.fullmatch(part) is not None for part in parts)


class _Grid(tableparser.GridTableParser):  # type: ignore[misc]
    """Traces the borders of cells; where they lead nowhere, from each corner along every other one."""

    def scan_right(self, top: int, left: int) -> Any:
        found = super().scan_right(top, left)
        self._walked((found[1] if found else self.right) - left + len(self.colseps))  # corners are sorted for each
        return found

    def scan_down(self, top: int, left: int, right: int) -> Any:
        found = super().scan_down(top, left, right)
        if found:
            end = found[0]
        else:
            lines = range(top + 1, self.bottom + 1)
            end = next((line for line in lines if self.stripped_block[line][right] not in "+|"), self.bottom)
        self._walked(end - top)
        return found

    def scan_left(self, top: int, left: int, bottom: int, right: int) -> Any:
        self._walked(right - left)
        return super().scan_left(top, left, bottom, right)

    def scan_up(self, top: int, left: int, bottom: int, right: int) -> Any:
        self._walked(bottom - top)
        return super().scan_up(top, left, bottom, right)

    def _walked(self, steps: int) -> None:
        _count(steps, "a grid table of so many borders", "write it as a list-table")


class _Simple(tableparser.SimpleTableParser):  # type: ignore[misc]
    def parse_row(self, lines: Sequence[str], start: int, spanline: Any = None) -> None:
        written = sum(map(len, lines)) + (len(spanline[0]) if spanline else 0)
        _filled(len(self.columns) * max(1, len(lines)) - written)
        super().parse_row(lines, start, spanline)


class _Csv(CSVTable):  # type: ignore[misc]
    def extend_short_rows_with_empty_cells(self, columns: int, parts: Sequence[Sequence[Sequence[Any]]]) -> None:
        _filled(sum(columns - len(row) for part in parts for row in part))
        super().extend_short_rows_with_empty_cells(columns, parts)


def _filled(cells: int) -> None:
    _count(FILLED * max(0, cells), "tables with so many empty cells", "write a row for every line")


# docutils takes the parsers of tables from its module, and the directive from its registry
tableparser.GridTableParser, tableparser.SimpleTableParser = _Grid, _Simple
directives.register_directive("csv-table", _Csv)
