"""One Markdown page of any dialect → its title, text, images and address (from YAML front matter).

    source ─mdx.py, markdown_dialects.py─▶ CommonMark + HTML ─markdown-it─▶ HTML ─page_text.py─▶ lines and images

GitHub's tables, alerts, footnotes and strikethrough, MkDocs' boxes, definition lists and formulas are markdown-it's
and its plugins'; what they do not know inside a line (`![[wiki.png|300]]`, `![](a b.png =300x)`, `{width=50%}`, roles)
is here.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin
from selectolax.lexbor import LexborHTMLParser

from imageref_ray.core.images import Problem
from imageref_ray.core.markdown_bounds import bound_search, bound_tables
from imageref_ray.core.yaml_files import parse_yaml
from imageref_ray.sources.pages import markdown_dialects, mdx
from imageref_ray.sources.pages.encodings import decode
from imageref_ray.sources.pages.html_page import web
from imageref_ray.sources.pages.image_addresses import addresses
from imageref_ray.sources.pages.page import Page, one_line, untitled
from imageref_ray.sources.pages.page_text import extract

TOML = re.compile(r"\A\ufeff?\+\+\+[ \t]*\n(.*?)\n\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL)
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
PICTURE = re.compile(r"\.(?:png|jpe?g|gif|webp|bmp|tiff?|svg|avif)(?:[?#].*)?$", re.IGNORECASE)
DARK = "source[media*='dark'], img[src$='#gh-dark-mode-only'], img[src$='#only-dark']"
"""The version of a picture for dark pages, beside the one that is read."""

WIKI = re.compile(r"(?P<embed>!?)\[\[(?P<target>[^\[\]|\n]+?)(?P<rest>(?:\\?\|[^\[\]\n]*)?)\]\]")
FILE = re.compile(r"(?:File|Image|Media|Datei|Bild|Fichier|Archivo|Файл|文件|ファイル)\s*:\s*", re.IGNORECASE)
"""What MediaWiki's links to pictures begin with, in some languages."""
LAYOUT = re.compile(r"[\dx\s]+(?:px)?|thumb(?:nail)?|frame(?:d|less)?|left|right|center|none|border|upright.*|alt=.*")
"""What is said about a picture in a link and is no words about it."""
LOOSE = re.compile(
    r"""!\[(?P<alt>(?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]\([ ]*<?(?P<src>(?:[^()\n"]|\([^()\n]*\))+?)>?"""
    r"""(?P<size>[ ]+=[\d.]*(?:%|px)?x?[\d.]*(?:%|px)?)?"""
    r"""(?:[ ]+"(?P<title>[^"\n]*)"(?P<last>[ ]+=[\d.]*(?:%|px)?x?[\d.]*(?:%|px)?)?)?[ ]*\)"""
)
ATTRIBUTES = re.compile(r"""\{:?[ \t]*(?:(?:[.#][\w:-]+|-|[\w:-]+=(?:"[^"\n]*"|'[^'\n]*'|[^\s{}"']+))[ \t]*)+\}""")
MARKDOWN_INSIDE = re.compile(r"\A(\s*<[^>\n]*\smarkdown(?:=[\"']?\w+[\"']?)?[^>\n]*>)(.*)\Z", re.DOTALL)
ROLE = re.compile(r"\{(?P<name>[a-zA-Z][\w:+-]*)\}`(?P<text>[^`\n]+)`")
CROSS_REFERENCE = re.compile(r"(?<![\w@])-?\[?-?@(?P<name>fig-[\w-]+)\]?")
CALLOUT = re.compile(r"\[!(?P<kind>[\w-]+)(?:\|[^\]\n]*)?\][+-]?[ \t]*")
FORMULA_END = re.compile(r"\$\$(?:\s*\([^)$\n]+\))?\s*\Z")
DEEPEST = 10
"""HTML elements with Markdown inside each other that are read; deeper ones are HTML."""
EMBEDDED = re.compile(
    r"(?<=\]\()\s*data:image/[\w.+-]{1,40}(?:;[^;,()\s]{1,200}){0,8};base64,\s*[a-z0-9+/=%]+(?:\s+[a-z0-9+/=%]+)*",
    re.ASCII | re.IGNORECASE,
)
"""A picture in the page itself, whose data may be over several lines, which Markdown's own grammar does not allow."""
ATTACHED = frozenset(("image", "link_close", "code_inline", "strong_close", "em_close", "html_inline"))
"""After these inline elements a list of attributes may follow directly."""


def parse_markdown(data: bytes, jsx: bool = False) -> Page:
    """A Markdown page; title and address from its front matter, if it has any. `jsx`: the file is MDX."""
    source = decode(data).replace("\r\n", "\n").replace("\r", "\n")
    front = FRONT_MATTER.match(source) or TOML.match(source)
    fields, problems = _front_matter(front) if front else (None, ())
    body_source = source[front.end() :] if front and fields is not None else source
    body_source = EMBEDDED.sub(lambda url: "".join(url[0].split()), body_source)
    jsx = jsx or mdx.uses_jsx(body_source)
    body = LexborHTMLParser(render(mdx.plain_markdown(body_source) if jsx else body_source, jsx)).body
    if body is None:
        return Page("", "", problems=problems)
    for twin in body.css(DARK):
        twin.decompose()
    heading = body.css_first("h1")
    title = one_line(_word(fields, "title")) or (one_line(heading.text()) if heading else "")
    named = (_word(fields, key) for key in ("canonical_url", "canonical", "url", "permalink", "source"))
    url = next(filter(None, map(web, filter(None, named))), "")
    text, images = extract(body, (), addresses)
    return Page(title, untitled(text, title), images, url, url, problems)


def render(source: str, jsx: bool = False) -> str:
    """Markdown of any dialect as HTML."""
    env = {"figures": markdown_dialects.figure_numbers(source)}
    return str(_reader(jsx).render(markdown_dialects.plain_markdown(source), env))


@cache
def _reader(jsx: bool) -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": True, "alerts": True}).enable(["table", "strikethrough"])
    reader.use(admon_plugin).use(deflist_plugin).use(footnote_plugin)
    reader.use(dollarmath_plugin, allow_space=False, allow_digits=False, renderer=_formula)
    bound_tables(reader)
    bound_search(reader, "math_block", lambda line: FORMULA_END.search(line) is not None)
    if jsx:
        reader.disable("code")  # MDX has no indented code: components are indented
    reader.inline.ruler.before("link", "wiki", _wiki)
    reader.inline.ruler.after("image", "loose_image", _loose_image)
    reader.inline.ruler.before("backticks", "role", _role)
    reader.inline.ruler2.push("attributes", _without_attributes)
    reader.core.ruler.push("callouts", lambda state: _without_callouts(state.tokens))
    reader.add_render_rule("image", _image)
    reader.add_render_rule("html_block", _html_block)
    reader.add_render_rule("footnote_anchor", lambda *_: "")
    return reader


def _formula(content: str, options: dict[str, Any]) -> str:
    marks = "$$" if options.get("display_mode") else "$"
    return html.escape(f"{marks}{content.strip()}{marks}")


def _wiki(state: StateInline, silent: bool) -> bool:
    """`![[picture.png|300]]`, `[[page|words]]`: a picture is found by its name anywhere, a link is its words."""
    found = WIKI.match(state.src, state.pos) if state.src[state.pos] in "![" else None
    if not found:
        return False
    if not silent:
        target, words = found["target"].strip(), [word.strip("\\ ") for word in found["rest"].split("|")[1:]]
        if (found["embed"] or FILE.match(target)) and PICTURE.search(target):
            told = next((word for word in words if not LAYOUT.fullmatch(word)), "")
            image = _push_image(state, FILE.sub("", target, count=1), told)
            image.attrSet("data-anywhere", "")
        elif not found["embed"]:
            state.push("text", "", 0).content = words[-1] if words else target.lstrip("#")
    state.pos = found.end()
    return True


def _loose_image(state: StateInline, silent: bool) -> bool:
    """A picture that CommonMark does not see: with a size, or with spaces in its name."""
    found = LOOSE.match(state.src, state.pos) if state.src[state.pos] == "!" else None
    if not found or not (found["size"] or found["last"] or PICTURE.search(found["src"].strip())):
        return False
    if not silent:
        image = _push_image(state, found["src"].strip(), found["alt"])
        image.attrSet("title", found["title"] or "")
    state.pos = found.end()
    return True


def _push_image(state: StateInline, source: str, alt: str) -> Token:
    image = state.push("image", "img", 0)
    image.attrs = {"src": quote(source, safe="/:?&=%#+@,;()!~*'$"), "alt": ""}
    text = Token("text", "", 0)
    text.content = image.content = alt.strip()
    image.children = [text]
    return image


def _role(state: StateInline, silent: bool) -> bool:
    """MyST's `{role}`text``: its text; of `Title <target>` the title, of a figure its number."""
    found = ROLE.match(state.src, state.pos) if state.src[state.pos] == "{" else None
    if not found:
        return False
    if not silent:
        title, target = re.match(r"(.*?)(?:\s*<([^<>]*)>)?\Z", found["text"], re.DOTALL).groups()  # type: ignore[union-attr]
        number = state.env.get("figures", {}).get((target or title).strip())
        text = title.strip() if target else f"Figure {number}" if number else title.strip()
        if number and "%s" in text:
            text = text.replace("%s", str(number))
        state.push("text", "", 0).content = text.replace("{number}", str(number or ""))
    state.pos = found.end()
    return True


def _without_attributes(state: StateInline) -> None:
    """Lists of attributes leave the text: after a picture, a link, code or emphasis, and at the end of a heading."""
    figures = state.env.get("figures", {})
    tokens = state.tokens
    for number, token in enumerate(tokens):
        if token.type != "text" or ("{" not in token.content and "@" not in token.content):
            continue
        before = tokens[number - 1] if number else None
        if before and before.type in ATTACHED and (found := re.match(rf"(?:\s?{ATTRIBUTES.pattern})+", token.content)):
            token.content = token.content[found.end() :]
            name = re.search(r"#([\w:-]+)", found[0])
            if before.type == "image" and name:
                before.meta = {"figure": figures.get(name[1])}
        if number == len(tokens) - 1:
            token.content = re.sub(rf"(?<!\s)\s*{ATTRIBUTES.pattern}\s*\Z", "", token.content)
        token.content = CROSS_REFERENCE.sub(lambda found: _cross_reference(found, figures), token.content)


def _cross_reference(found: re.Match[str], figures: dict[str, int]) -> str:
    return f"Figure {figures[found['name']]}" if found["name"] in figures else found[0]


def _without_callouts(tokens: Sequence[Token]) -> None:
    """`> [!tip]- Title` of Obsidian: the title or the kind, without its marks (GitHub's five are the parser's)."""
    for opened, _, inline in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opened.type != "blockquote_open" or inline.type != "inline" or not inline.children:
            continue
        first = inline.children[0]
        if found := CALLOUT.match(first.content):
            first.content = first.content[found.end() :] or found["kind"].capitalize()
            for token in inline.children:
                if token.type == "softbreak":  # the title is a line of its own
                    token.type, token.tag = "hardbreak", "br"
                    break


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """A picture; one with the name of a numbered figure (Quarto) is a figure, its words the caption."""
    token = tokens[index]
    alt = re.sub(r"\|\s*\d+(?:x\d+)?\s*\Z", "", self.renderInlineAsText(token.children or [], options, env))
    token.attrSet("alt", alt)  # Obsidian writes the size after it
    image = self.renderToken(tokens, index, options, env)
    if number := token.meta.get("figure"):
        return f"<figure>{image}<figcaption>Figure {number}: {html.escape(alt)}</figcaption></figure>"
    return image


def _html_block(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """HTML as it is; below an element with the attribute `markdown` (MkDocs) it is Markdown."""
    content = tokens[index].content
    inside, depth = MARKDOWN_INSIDE.match(content), env.get("depth", 0)
    if not inside or depth >= DEEPEST:
        return content
    source = "\n".join(line.strip() for line in inside[2].split("\n"))
    return f"{inside[1]}{_reader(False).render(source, {'figures': env.get('figures', {}), 'depth': depth + 1})}"


def _front_matter(found: re.Match[str]) -> tuple[dict[str, Any] | None, tuple[Problem, ...]]:
    """The fields, or why there are none; None for text between two rules."""
    kind = "TOML" if found.re is TOML else "YAML"
    try:  # its first line is the second of the page
        text = f"\n{found[1]}"
        values = tomllib.loads(text) if kind == "TOML" else parse_yaml(text, as_text=True)
    except (ValueError, RecursionError) as error:
        message = f"its front matter is not {kind}: {error}; the page was read without its title and address"
        return {}, (Problem("BrokenFrontMatter", message),)
    if values is None:
        return {}, ()
    if not isinstance(values, dict):
        return None, ()
    listed = isinstance(values.get("title"), list | dict)
    problem = Problem("BrokenFrontMatter", "the title in its front matter is no text; the page was read without it")
    return values, (problem,) if listed else ()


def _word(fields: Mapping[str, Any] | None, key: str) -> str:
    """A field's text, empty where it has none."""
    value = fields.get(key) if fields else None
    return "" if value is None or isinstance(value, list | dict | bytes) else str(value)
