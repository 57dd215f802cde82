"""The dialects of Markdown → CommonMark with HTML, line by line; code stays as it is.

    MyST         ```{figure} path, :::{image}, {code-block}, options, (targets)=
    Quarto       ::: {.callout-note}, ::: {#fig-a}, ```{python}
    Docusaurus   :::note Title;  MDX is mdx.py's
    MkDocs       === "Tab", /// caption, attribute lists; `!!!` and `???` are a plugin's (markdown_page.py)
    others       Hugo's and Liquid's tags, Microsoft's :::image:::, [TOC]

What stands inside a line (links, images, roles) is markdown_page.py's.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<quote>(?:>[ \t]?)*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
COLONS = re.compile(r"(?P<indent>[ \t]*)(?P<marks>:{3,}|/{3,})[ \t]*(?P<info>.*?)[ \t]*:*$")
DIRECTIVE = re.compile(r"\{(?P<name>[a-zA-Z][\w:+-]*)\}[ \t]*(?P<argument>.*)$")
CLASSES = re.compile(r"\{(?P<attributes>[^}]*)\}[ \t]*(?P<title>.*)$")
NAMED = re.compile(r"(?P<name>[a-zA-Z][\w+-]*)[ \t]*(?:\[(?P<label>.*)\]|\|[ \t]*(?P<bar>.*)|(?P<title>.*))$")
OPTION = re.compile(r"[ \t]*:(?P<key>[\w-]+):[ \t]*(?P<value>.*)$")
ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'}]+))""")
TAB = re.compile(r'([ \t]*)===[+!]*[ \t]+(["\'].*["\'])[ \t]*$')
DROPPED = re.compile(
    r"[ \t]*(?:\[TOC\]|\[\[_?TOC_?\]\]|-{1,}8<-{1,}.*|\([\w .:-]+\)=|\{:?[ \t]*[.#:][^{}]*\}|\{:[^{}]*\})[ \t]*$", re.I
)
"""Lines that are no text: tables of contents, included files, link targets, attribute lists."""

SHORTCODE = re.compile(r"\{\{[<%][ \t]*(/?[\w./-]*)([^\n{]{0,1000}?)[>%]\}\}|\{%[^\n{]{0,1000}?%\}")
LEARN_IMAGE = re.compile(r":::image[ \t]+([^\n]{0,1000}?)/?:::")
ICON = re.compile(r":(?:material|fontawesome|octicons|simple)-[\w-]+:")

FIGURES = ("figure", "image")
CODE = frozenset(
    ("code", "code-block", "sourcecode", "code-cell", "literalinclude", "parsed-literal", "prompt", "math")
)
LEFT_OUT = frozenset(("toctree", "contents", "tableofcontents", "index", "include", "bibliography", "eval-rst", "raw"))
PROSE = frozenset((
    "admonition", "attention", "caution", "danger", "error", "hint", "important", "note", "seealso", "tip", "warning",
    "todo", "versionadded", "versionchanged", "deprecated", "dropdown", "details", "grid", "grid-item", "card",
    "grid-item-card", "tab-set", "tab-item", "sidebar", "topic", "figure-md", "list-table", "table", "margin",
    "epigraph", "rubric", "container", "div", "aside", "exercise", "solution", "proof", "theorem", "glossary",
))  # fmt: skip
LAYOUT = frozenset(("grid", "tab-set", "container", "div", "figure-md"))
"""Boxes whose argument is no title."""

KINDS = frozenset(("attention", "caution", "danger", "error", "hint", "important", "info", "note", "tip", "warning"))
"""Boxes that show their kind where they have no title of their own."""

Mode = Literal["text", "code", "dropped"]


@dataclass
class _Open:
    """An open fence or container: its marker, what its lines are, and what its end becomes."""

    mark: str
    length: int
    mode: Mode
    end: str
    indent: int
    options: bool = False


def plain_markdown(source: str) -> str:
    """The source in CommonMark, with HTML where CommonMark has no word for it."""
    numbers = figure_numbers(source)
    open_blocks: list[_Open] = []
    done: list[str] = []
    lines = iter(source.split("\n"))
    for line in lines:
        block = open_blocks[-1] if open_blocks else None
        if block and _closes(block, line):
            open_blocks.pop()
            if block.mode == "code":
                done.append(line)
            elif block.mode == "text":
                _add(done, block.end.split("\n"))
        elif block and block.mode != "text":
            if block.options and OPTION.match(line):
                continue
            block.options = False
            done += [line] if block.mode == "code" else []
        else:
            _add(done, _line(line, lines, open_blocks, numbers))
    for block in reversed(open_blocks):
        done += block.end.split("\n") if block.mode == "text" else []
    return "\n".join(done)


def _add(done: list[str], lines: list[str]) -> None:
    """Add lines of text, never a second blank one: after two, indented text is no part of the box above it."""
    for line in lines:
        if line.strip() or not done or done[-1].strip():
            done.append(line)


def _closes(block: _Open, line: str) -> bool:
    marks = line.strip().lstrip("> \t")
    if len(line) - len(line.lstrip()) > block.indent + 3:
        return False  # deeper: a line of the code
    return bool(marks) and set(marks) == {block.mark} and len(marks) >= (block.length if block.mark in "`~" else 3)


DEEPEST = 100
"""Directives on the first lines of each other that are read."""


def _line(line: str, lines: Iterator[str], open_blocks: list[_Open], numbers: dict[str, int]) -> list[str]:
    """What a line outside code becomes; a container that it begins is added to `open_blocks`."""
    if opened := FENCE.match(line):
        directive = DIRECTIVE.match(opened["info"].strip())
        deep = len(open_blocks) > DEEPEST
        if directive and not deep and not opened["quote"] and directive["name"] in PROSE | CODE | LEFT_OUT | {*FIGURES}:
            return _directive(directive, opened, lines, open_blocks, numbers)
        open_blocks.append(_Open(opened["marks"][0], len(opened["marks"]), "code", line, len(opened["indent"])))
        language = re.match(r"\{+[ \t]*\.?([\w+#-]+)", opened["info"].strip())
        return [f"{line[: opened.end('marks')]}{language[1]}" if language else line]
    if LEARN_IMAGE.search(line):
        return [LEARN_IMAGE.sub(lambda found: _learn_image(found[1]), line)]
    if (opened := COLONS.match(line)) and opened["info"] and len(open_blocks) <= DEEPEST:
        return _container(opened, lines, open_blocks, numbers)
    if tab := TAB.match(line):
        return ["", f"{tab[1]}!!! tab {tab[2]}"]
    if DROPPED.match(line) or COLONS.match(line):
        return [""]
    return [_outside_code_spans(line)]


def _container(
    opened: re.Match[str], lines: Iterator[str], open_blocks: list[_Open], numbers: dict[str, int]
) -> list[str]:
    """A block between colons (or MkDocs' slashes) that may have a title."""
    info, indent = opened["info"], opened["indent"]
    directive = DIRECTIVE.match(info)
    if directive and opened["marks"][0] == ":":
        return _directive(directive, opened, lines, open_blocks, numbers)
    classes, named = CLASSES.match(info), NAMED.match(info)
    if not classes and not named:
        return [_outside_code_spans(opened[0])]
    if named and named["name"] in ("caption", "figure-caption"):
        end = f"\n{indent}</figcaption>\n"
        open_blocks.append(_Open(opened["marks"][0], len(opened["marks"]), "text", end, len(indent)))
        return ["", f"{indent}<figcaption>", ""]
    title = ""
    if classes:
        title = _attributes(classes["attributes"]).get("title", "") or classes["title"]
    elif named:
        kind = named["name"].capitalize() if named["name"] in KINDS else ""
        title = named["label"] or named["bar"] or CLASSES.sub("", named["title"] or "").strip() or kind
    open_blocks.append(_Open(opened["marks"][0], len(opened["marks"]), "text", "", len(indent)))
    return ["", f"{indent}{title}", ""]


def _directive(
    directive: re.Match[str],
    opened: re.Match[str],
    lines: Iterator[str],
    open_blocks: list[_Open],
    numbers: dict[str, int],
) -> list[str]:
    """A directive of MyST: a figure becomes HTML, a box its title and text, code a fence."""
    name, argument, indent = directive["name"], directive["argument"].strip(), opened["indent"]
    mark, length = opened["marks"][0], len(opened["marks"])
    if name in LEFT_OUT:
        open_blocks.append(_Open(mark, length, "dropped", "", len(indent)))
        return []
    if name in CODE:
        fence = "`" * max(length, 3) if mark == ":" else opened["marks"]
        open_blocks.append(_Open(mark, length, "code", "", len(indent), options=True))
        return [f"{indent}{fence}{'math' if name == 'math' else argument.split(' ')[0]}"]
    block = _Open(mark, length, "text", "", len(indent))
    open_blocks.append(block)
    options, rest = _options(lines, block)
    if rest is not None and _closes(block, rest):
        open_blocks.pop()
        rest = None
    number = numbers.get(options.get("name", "")) if name in FIGURES else None
    if number:
        text = (rest or "").lstrip()
        rest = f"{(rest or '')[: len(rest or '') - len(text)]}Figure {number}: {text}"
    following = [] if rest is None else _line(rest, lines, open_blocks, numbers)
    if name not in FIGURES:
        title = "" if name in LAYOUT else argument or (name.capitalize() if name in KINDS else "")
        return ["", f"{indent}{title}", "", *following]
    image = f'<img src="{html.escape(argument)}" alt="{html.escape(options.get("alt", ""))}">'
    block.end = f"\n{indent}</figcaption></figure>\n"
    ended = [] if block in open_blocks else block.end.split("\n")
    return ["", f"{indent}<figure>{image}<figcaption>", "", *following, *ended]


def _options(lines: Iterator[str], block: _Open) -> tuple[dict[str, str], str | None]:
    """The options of a directive (`:key: value`, or between `---`), and the line after them (None at the end)."""
    options: dict[str, str] = {}
    between = False
    for line in lines:
        if not options and line.strip() == "---" and not between:
            between = True
        elif between and line.strip() == "---":
            return options, next(lines, None)
        elif between and not _closes(block, line):
            key, _, value = line.partition(":")
            options[key.strip()] = value.strip().strip("\"'")
        elif (found := OPTION.match(line)) and not between:
            options[found["key"]] = found["value"].strip()
        else:
            return options, line
    return options, None


def figure_numbers(source: str) -> dict[str, int]:
    """Name of a figure → its number, for the figures that the text refers to by name."""
    named = re.findall(r"^[ \t]*:?name:[ \t]*([\w.-]+)[ \t]*$|\{[^{}\n]{0,500}?#(fig-[\w-]+)", source, re.MULTILINE)
    referred = re.findall(r"@(fig-[\w-]+)|\{(?:numref|ref)\}`(?:[^`<]*<)?([^`>]+)>?`", source)
    wanted = {one.strip() or other.strip() for one, other in referred}
    ordered = dict.fromkeys(one or other for one, other in named)
    return {name: number for number, name in enumerate((name for name in ordered if name in wanted), 1)}


def _outside_code_spans(line: str) -> str:
    """A line without the tags of site generators, code between backticks as it is."""
    if not any(mark in line for mark in ("{{", "{%", ":material", ":octicons", ":fontawesome", ":simple")):
        return line
    pieces = re.split(r"(`+[^`]*`+)", line)
    return "".join(
        piece if number % 2 else ICON.sub("", SHORTCODE.sub(_shortcode, piece)) for number, piece in enumerate(pieces)
    )


def _shortcode(found: re.Match[str]) -> str:
    """Hugo's figure as HTML; any other tag is left out."""
    own = _attributes(found[2] or "")
    if found[1] not in ("figure", "image", "img") or not own.get("src"):
        return ""
    image = f'<img src="{html.escape(own["src"])}" alt="{html.escape(own.get("alt", ""))}">'
    return f"<figure>{image}<figcaption>{html.escape(own.get('caption') or own.get('title', ''))}</figcaption></figure>"


def _learn_image(written: str) -> str:
    own = _attributes(written)
    return f'<img src="{html.escape(own.get("source", ""))}" alt="{html.escape(own.get("alt-text", ""))}">'


def _attributes(written: str) -> dict[str, str]:
    """`key="value"` pairs, whatever the quotes."""
    return {key: double or single or bare for key, double, single, bare in ATTRIBUTE.findall(written)}
