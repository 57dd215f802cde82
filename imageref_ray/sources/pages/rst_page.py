"""One reStructuredText page (docutils, Sphinx) → its title, text and images.

    source ─docutils─▶ HTML ─page_text.py─▶ lines and images

Nothing is included or executed. Sphinx's roles are their text, its boxes and unknown directives what they hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import docutils.core
import docutils.nodes
import docutils.utils
from docutils.parsers.rst import Directive, directives, roles, states
from docutils.parsers.rst.directives.images import Figure, Image
from selectolax.lexbor import LexborHTMLParser, LexborNode

from imageref_ray.core.files import shown
from imageref_ray.core.images import Problem
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages.encodings import decode
from imageref_ray.sources.pages.image_addresses import addresses
from imageref_ray.sources.pages.page import Page, one_line, untitled
from imageref_ray.sources.pages.page_text import extract
from imageref_ray.sources.pages.rst_bounds import bounded

SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 3,
    "warning_stream": False,
    "halt_level": 5,
    "_disable_config": True,
    "embed_stylesheet": False,
    "doctitle_xform": True,
    "sectsubtitle_xform": False,
    "syntax_highlight": "none",
    "math_output": "LaTeX",
    "smart_quotes": False,
}
LEFT_OUT = frozenset(
    ("toctree", "contents", "index", "tabularcolumns", "highlight", "currentmodule", "module", "include", "only", "raw")
)
CODE = frozenset(
    ("code-block", "sourcecode", "literalinclude", "prompt", "doctest", "testcode", "ipython", "jupyter-execute")
)
HARMLESS = re.compile(r"Unknown target name|Duplicate|Undefined substitution|is not referenced|Anonymous hyperlink")
DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+([\w:+-]+)::", re.MULTILINE)
ROLE = re.compile(r":([\w+-]+(?::[\w+-]+)*):`")
TITLED = re.compile(r"(?P<title>.*?)\s*<(?P<target>[^<>]*)>\Z", re.DOTALL)


class _AnyOptions(dict[str, Callable[[str], Any]]):
    """Options that docutils does not know are known, too, and are text."""

    def __missing__(self, key: str) -> Callable[[str], str]:
        return str


class _Image(Image):  # type: ignore[misc]
    option_spec = _AnyOptions(Image.option_spec)


class _Figure(Figure):  # type: ignore[misc]
    option_spec = _AnyOptions(Figure.option_spec)


class _Contents(Directive):  # type: ignore[misc]
    """Any directive that docutils does not know: its argument is a line, its content is read on."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = _AnyOptions(name=directives.unchanged)

    def run(self) -> Sequence[docutils.nodes.Node]:
        if self.name in LEFT_OUT:
            return []
        title = self.arguments[0] if self.arguments else ""
        if self.name in CODE:
            text = "\n".join(self.content)
            return (
                [docutils.nodes.literal_block(text, text, classes=[f"language-{title}"] if title else [])]
                if text
                else []
            )
        box = docutils.nodes.container()
        if title:
            box += docutils.nodes.paragraph(title, title)
        self.state.nested_parse(self.content, self.content_offset, box)
        return [box]


def parse_rst(data: bytes) -> Page:
    """A reStructuredText page. Raises Unusable if docutils cannot read it, or not in sensible time."""
    source = decode(data)
    _know(source)
    try:
        with bounded(source):
            parts = docutils.core.publish_parts(source, writer="html5", settings_overrides=SETTINGS)
    except Unusable:
        raise
    except (
        docutils.utils.SystemMessage,
        ValueError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise Unusable("BrokenDocument", f"is not reStructuredText that docutils reads: {error}") from None
    body = LexborHTMLParser(parts["html_body"]).body
    if body is None:
        return Page("", "")
    for image in body.css("img"):
        if image.attributes.get("alt") == image.attributes.get("src"):  # docutils' own, where the page has none
            del image.attrs["alt"]
    problems = _problems(body)
    heading = body.css_first("h1")
    title = one_line(heading.text()) if heading else ""
    text, images = extract(body, (), addresses)
    return Page(title, untitled(text, title), images, problems=problems)


def _problems(body: LexborNode) -> tuple[Problem, ...]:
    """What docutils could not read, taken out of the page; names that only Sphinx knows are no problem."""
    messages = []
    for message in body.css(".system-message"):
        messages.append(one_line(message.text()))
        message.decompose()
    for section in body.css(".system-messages"):
        section.decompose()
    for problematic in body.css(".problematic"):
        problematic.unwrap()
    lost = [message for message in messages if not HARMLESS.search(message)]
    if not lost:
        return ()
    return (
        Problem("BrokenMarkup", f"{len(lost)} parts are not reStructuredText that docutils reads ({shown(lost[0])})"),
    )


def _know(source: str) -> None:
    """Make the directives and roles of this page known that docutils has no own of."""
    directives.register_directive("image", _Image)
    directives.register_directive("figure", _Figure)
    for name in set(DIRECTIVE.findall(source)):
        if not _is_known_directive(name):
            directives.register_directive(name, _Contents)
    for name in set(ROLE.findall(source)):
        if not _is_known_role(name):
            roles.register_local_role(name, _role)


@cache
def _is_known_directive(name: str) -> bool:
    from docutils.parsers.rst.languages import en

    return name in en.directives and name not in LEFT_OUT | CODE


@cache
def _is_known_role(name: str) -> bool:
    from docutils.parsers.rst.languages import en

    return name in en.roles and name != "raw"


def _role(
    name: str, rawtext: str, text: str, lineno: int, inliner: states.Inliner, options: Any = None, content: Any = None
) -> tuple[Sequence[docutils.nodes.Node], Sequence[docutils.nodes.system_message]]:
    """Sphinx's `:role:`Title <target>``: the title, else the text without the marks of a reference."""
    titled = TITLED.match(text)
    words = titled["title"] if titled else text.lstrip("~!").replace("\0", "")
    return [docutils.nodes.inline(rawtext, words)], []
