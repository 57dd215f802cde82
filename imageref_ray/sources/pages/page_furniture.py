"""The parts of a page that are never its content: navigation, search, hidden parts, links to edit it, marks behind
headings.

Sure are the element itself (`nav`, `dialog`, …), its role, that it is hidden, and names that only generators of
documentation use (`navheader`, `sphinxsidebar`). Any other word in a class or id (`toc`, `menu`, `share`) needs a
second sign: that most of the text is links. No word removes a `section` or a heading, and nothing with the page's
heading is removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborNode as Node

from imageref_ray.sources.pages.tree import BLOCKS, Weight, above, tokens

NO_TEXT = [
    *(
        "script",
        "style",
        "template",
        "iframe",
        "object",
        "embed",
        "canvas",
        "video",
        "audio",
        "map",
        "annotation",
        "rp",
    ),
    *("button", "select", "textarea", "datalist"),
]
"""Elements without text to read: taken out of the tree."""

HIDDEN = "[hidden], [aria-hidden=true], [style*='display:none'], [style*='display: none']"

NAVIGATION = (
    "svg, dialog, nav, [role=navigation], [role=search], [role=contentinfo], [role=dialog], [role=alertdialog], "
    "[role=menu], [role=menubar], [role=toolbar], .navheader, .navfooter, .docnav, .sphinxsidebar, "
    ".sphinxsidebarwrapper, .rst-footer-buttons, .wy-breadcrumbs, .wy-nav-side, .wy-nav-top, .prev-next-area, "
    ".prev-next-bottom, .pagination-nav, .theme-doc-breadcrumbs, .theme-doc-footer, .theme-edit-this-page, "
    ".md-content__button, .md-source-file, .mw-editsection, .mw-jump-link, .printfooter, .catlinks, .navbox, "
    ".nav-panel, .prevnext, .linktrail, .trails, .edit-this-page, .edit-page-link, .editthispage, .reportbug, "
    ".skip-link, .skip-to-content, .sr-only-focusable, .bs-sidebar, #mw-navigation, #mw-panel, #jump-to-nav, #siteSub, "
    "#contentSub, .cookie-banner, .cookie-consent, .cookie-notice, .cookieconsent, .cc-window, #cookieConsent, "
    "#cookie-law-info-bar, #onetrust-banner-sdk"
)
"""Navigation by role, and by the class names of Sphinx and its themes, MkDocs, Docusaurus, DocBook, Publican, Texinfo,
Yelp and MediaWiki; and notices of cookies."""

WORDS = frozenset((
    "ad", "ads", "advert", "advertisement", "advertising", "breadcrumb", "breadcrumbs", "comments", "consent",
    "contents", "cookie", "cookies", "disqus", "footer", "header", "lang", "languages", "links", "masthead", "menu",
    "nav", "navbar", "navigation", "newsletter", "outbrain", "pager", "pagination", "promo", "recommendations",
    "recommended", "related", "related-articles", "related-posts", "share", "sharing", "sidebar", "skip", "social",
    "sponsored", "subscribe", "taboola", "toc", "toctree-wrapper", "toolbar",
))  # fmt: skip
"""Class names and ids (whole ones) that mark navigation where most of the text is links; an id only where there is no
heading."""

HEADINGS = "h1, h2, h3, h4, h5, h6"

KEPT = frozenset(("main", "article", "section", "body", *HEADINGS.split(", ")))
"""Elements that no class or id removes."""

NOTES = frozenset((
    "note", "tip", "hint", "info", "important", "warning", "caution", "danger", "attention", "error", "seealso",
    "success", "alert",
))  # fmt: skip
"""Kinds of boxes in documentation, whose icons are named after them."""

LINKED, HALF = 0.6, 0.5
SMALL = 200
"""Characters; a form with less text is a search box or a sign-up."""

EDIT = re.compile(
    r"(edit|improve|view|show|report|suggest|fork|found)\b.{0,30}\b(page|source|github|gitlab|issue|bug|error|article|typo)s?",
    re.IGNORECASE,
)
"""The text of a link to work on the page."""


def find_furniture(body: Node, weights: Mapping[int, Weight]) -> list[Node]:
    """The parts of a page that are none of its content, whatever the page is; none is inside another."""
    parts = [node for node in body.css(f"{NAVIGATION}, {HIDDEN}") if not _holds_heading(node)]
    parts += [node for node in body.css("a[href]") if _is_mark(node)]
    parts += [_line_of(link, weights) for link in body.css("a[rel=next], a[rel=prev], a[rel=previous], a[rel=up]")]
    parts += [node for node in body.css("noscript") if not node.css_first("img")]
    whole = weights[body.mem_id]
    for node in body.css("header, footer, [role=banner], form"):
        own = weights[node.mem_id]
        if node.tag == "form":
            small = own.text < SMALL and not node.css_first("img, p")
        else:
            inside = any(parent.tag in ("article", "main", "blockquote", "figure") for parent in above(node))
            small = own.text < HALF * whole.text and not (inside and own.links < HALF * own.text)
        if small and not _holds_heading(node):
            parts.append(node)
    parts += _lists_of_links(body, weights)
    parts += [image for image in body.css("img") if _is_icon_of_a_note(image)]
    marked = {node.mem_id: node for node in parts}
    return [node for node in marked.values() if not any(parent.mem_id in marked for parent in above(node))]


def _lists_of_links(body: Node, weights: Mapping[int, Weight]) -> list[Node]:
    """Parts whose class or id says navigation, most of whose text is links, and that are not most of the page."""
    whole = weights[body.mem_id]
    parts = []
    for node in body.css("[class], [id]"):
        names = tokens(node)
        if node.tag in KEPT or "section" in names:
            continue
        if WORDS.isdisjoint(names) and ((node.id or "").lower() not in WORDS or node.css_first(HEADINGS)):
            continue
        own = weights[node.mem_id]
        if own.links >= LINKED * own.text and own.text < HALF * whole.text and not _holds_heading(node):
            parts.append(node)
    return parts


def _line_of(link: Node, weights: Mapping[int, Weight]) -> Node:
    """A link to the next page with what stands around it in its line ("Next: …, Up: …"), if that is all links too."""
    block = next((parent for parent in above(link) if parent.tag in BLOCKS), link)
    own = weights[block.mem_id]
    is_line = own.text <= SMALL and own.links >= 0.4 * own.text and not _holds_heading(block)
    return block if is_line else link


def _is_icon_of_a_note(image: Node) -> bool:
    """`note.png` (`admon-note.svg`, …) in a box of the class `note`, or in place of the word `[Note]`."""
    own = image.attributes
    stem = re.sub(r".*/|\.\w+$", "", own.get("src") or "").lower()
    named = set(re.split(r"[\W_\d]+", stem)) - {"", "icon", "icons", "admon", "admonition", "px"}
    alt = (own.get("alt") or "").strip().lower()
    if alt.startswith("[") and alt.strip("[]") in NOTES:
        return True
    return len(named) == 1 and named <= NOTES and any(not named.isdisjoint(tokens(parent)) for parent in above(image))


def _is_mark(link: Node) -> bool:
    """A permalink behind a heading (`¶`, `#`) or a link to edit the page."""
    text = link.text().strip()
    own = link.attributes
    if own.get("rel") == "edit" or EDIT.fullmatch(text):
        return True
    return (own.get("href") or "").startswith("#") and not re.search(r"\w", text) and not link.css_first("img")


def _holds_heading(node: Node) -> bool:
    return node.tag in KEPT or node.css_first("h1") is not None
