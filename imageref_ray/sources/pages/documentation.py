"""Whether a page is documentation, all of whose text is kept, and the element that holds it.

Signs are the generator that the page names, and what generators leave in every page. A page that people or small
scripts write is known by what it lacks: it tells social networks and feed readers nothing, and it is more text than
markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborHTMLParser
from selectolax.lexbor import LexborNode as Node

from imageref_ray.sources.pages.tree import Weight

GENERATORS = re.compile(
    r"sphinx|docutils|mkdocs|docusaurus|docbook|publican|asciidoc|antora|doxygen|makeinfo|texi2|texinfo|yelp|mediawiki|"
    r"rustdoc|javadoc|mdbook|vitepress|vuepress|gitbook|docsify|latex2html|latexml|hevea|pandoc|quarto|bookdown|"
    r"starlight|nextra|dita|tidy|jsdoc|typedoc|honkit|help ?ndoc|robohelp|groff|man2html|pkgdown|documenter|zensical",
    re.IGNORECASE,
)
"""Words in `<meta name="generator">` of programs that write documentation."""

SIGNS = (
    "script#documentation_options, script[src*='_static/documentation_options.js'], "
    "script[src*='_static/doctools.js'], .rst-content, .md-content, .theme-doc-markdown, "
    ".mw-parser-output, .navheader, .docnav, .titlepage, .sectionbody, .td-content, .vp-doc, .sl-markdown-content, "
    ".markdown-section, .mdbook-content, .bd-article, .admonition, "
    "div.refsect1, div.chapter-level-extent, div.section-level-extent, .copiable-anchor, .nav-panel, .yelp-data, "
    "body.mediawiki, body[class*=docbook], #doc-content, .doxygen, .memitem"
)
"""What generators leave in their pages: Sphinx, MkDocs, Docusaurus, MediaWiki, DocBook, Publican, AsciiDoc, Docsy,
VitePress, Starlight, GitBook, Texinfo, Yelp, Doxygen."""

ROOTS = (
    "[itemprop=articleBody]",
    ".theme-doc-markdown",
    ".mw-parser-output",
    ".md-content article",
    ".bd-article",
    "[role=main]",
    "main",
    "article",
    "div.body",
    ".vp-doc",
    ".markdown-section",
    "#content",
)
"""Elements with the text, the most exact first."""

HALF = 0.5

PUBLISHED = (
    "meta[property^='og:'], meta[name^='og:'], meta[name^='twitter:'], script[type='application/ld+json'], "
    "link[type='application/rss+xml'], link[type='application/atom+xml'], link[rel=amphtml]"
)
"""What publishing systems tell social networks, search engines and feed readers: 178 of the 181 pages of scrapinghub's
benchmark do, and no hand-made manual."""

PROSE = 0.15
"""A page without `PUBLISHED` is kept whole if more than this fraction of its source is text outside links."""


def is_published(tree: LexborHTMLParser) -> bool:
    """Whether a page (with its scripts) comes from a publishing system."""
    return tree.css_first(PUBLISHED) is not None


def is_documentation(tree: LexborHTMLParser, html: str) -> bool:
    """Whether a generator of documentation wrote a page (with its scripts); `html` is its source."""
    named = " ".join(node.attributes.get("content") or "" for node in tree.css("meta[name=generator i]"))
    return bool(GENERATORS.search(named)) or "GNU Texinfo" in html[:2000] or tree.css_first(SIGNS) is not None


def find_root(tree: LexborHTMLParser, weights: Mapping[int, Weight]) -> Node:
    """The element with the text of a page, apart from what `weights` leaves out."""
    body = tree.body
    assert body is not None
    whole = weights.get(body.mem_id, Weight())
    for selector in ROOTS:
        root = max(tree.css(selector), key=lambda node: weights.get(node.mem_id, Weight()).text, default=None)
        if root is not None and weights.get(root.mem_id, Weight()).prose >= HALF * whole.prose > 0:
            return root
    return body
