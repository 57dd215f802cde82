"""Rules of markdown-it whose time grows with the square of the text, bounded: with them a flood is read in linear time.

What goes beyond a bound is text, as it is for every reader of Markdown that does not know the rule.
"""

from __future__ import annotations

from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock

Rule = Callable[[StateBlock, int, int, bool], bool]

CELLS = 65_536
"""Cells that all tables of a text may have beyond those that are written in it: short rows are filled up with them."""


def bound_tables(parser: MarkdownIt) -> None:
    """Let the tables of one text together be filled up with `CELLS` cells; tables after that are paragraphs."""
    real = _rule(parser, "table")

    def table(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
        if state.env.get("filled", 0) > CELLS:
            return False
        known = len(state.tokens)
        done = real(state, begin, end, silent)
        if done and not silent:
            cells = sum(token.type in ("th_open", "td_open") for token in state.tokens[known:])
            pipes = state.src.count("|", state.bMarks[begin], state.eMarks[state.line - 1])
            state.env["filled"] = state.env.get("filled", 0) + max(0, cells - pipes - (state.line - begin))
        return done

    parser.block.ruler.at("table", table, {"alt": ["paragraph", "reference"]})


def bound_search(parser: MarkdownIt, name: str, closes: Callable[[str], bool]) -> None:
    """Let the block rule `name`, which searches for a line that `closes` it, begin only where one follows."""
    real = _rule(parser, name)

    def search(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
        if name not in state.env:
            lines = enumerate(zip(state.bMarks, state.eMarks, strict=True))
            state.env[name] = max((i for i, (first, last) in lines if closes(state.src[first:last])), default=-1)
        return begin <= state.env[name] and real(state, begin, end, silent)

    parser.block.ruler.at(name, search, {"alt": ["paragraph", "reference", "blockquote", "list"]})


def _rule(parser: MarkdownIt, name: str) -> Rule:
    found: Rule = next(rule.fn for rule in parser.block.ruler.__rules__ if rule.name == name)
    return found
