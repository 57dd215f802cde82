"""What of a page is its content: articles without teasers, documentation whole, navigation of every generator gone."""

import pytest

from imageref_ray.sources.pages import html_page

WORDS = "The lighthouse keeper walked down to the harbour every evening and counted the boats that had come home. "
PARAGRAPHS = "".join(f"<p>{n}. {WORDS * 2}</p>" for n in range(6))
MORE = "".join(
    f"<p>In year {n} the ferry sank, and {n} fishermen swam to the pier where their families waited.</p>"
    for n in range(6)
)
PUBLISHED = '<meta property="og:type" content="article"><script type="application/ld+json">{}</script>'


def lines(page: str) -> list[str]:
    return html_page.parse_html(page.encode()).text.split("\n")


def test_an_article_loses_teasers_and_their_pictures_and_keeps_its_own() -> None:
    teasers = "".join(
        f"<div class='card'><a href='/{n}'><img src='t{n}.jpg'><h3>Another story about town {n}</h3></a></div>"
        for n in range(8)
    )
    menu = "".join(f"<div><a href='/s{n}'>Section {n}</a></div>" for n in range(30))
    page = html_page.parse_html(
        f"""<html><head><title>Boats</title>{PUBLISHED}</head><body><div>{menu}</div><div><h1>Boats</h1>
        <figure><img src="hero.jpg" alt="A boat"><figcaption>A boat at dawn</figcaption></figure>{PARAGRAPHS}
        <div><img src="chart.png"></div>{MORE}</div><div>{teasers}</div></body></html>""".encode()
    )
    assert [picture.addresses for picture in page.images] == [("hero.jpg",), ("chart.png",)]
    assert (page.images[0].alt, page.images[0].caption) == ("A boat", "A boat at dawn")
    assert "Another story" not in page.text and "Section 3" not in page.text
    assert page.text.count("counted the boats") == 12 and page.text.count("the ferry sank") == 6
    assert {picture.addresses[0] for picture, _ in page.left_out} == {f"t{n}.jpg" for n in range(8)}
    assert {reason for _, reason in page.left_out} == {"outside the article"}


NAVIGATION = {
    "Sphinx": """<script id="documentation_options"></script><div class="related" role="navigation"><ul><li>
        <a href="n">next</a>
        </ul></div><div class="document"><div class="documentwrapper"><div class="body" role="main">{}</div></div>
        <div class="sphinxsidebar" role="navigation"><h3>Previous topic</h3><a href="p">Gone</a></div></div>""",
    "MkDocs": """<meta name="generator" content="mkdocs-1.6"><nav><a href="/">Gone</a></nav><main>
        <div class="md-sidebar"><nav>
        <a href="a">Gone</a></nav></div><div class="md-content"><article class="md-content__inner"><a href="e"
        class="md-content__button" title="Edit this page">Gone</a>{}</article></div></main><footer>Gone</footer>""",
    "Docusaurus": """<meta name="generator" content="Docusaurus v3"><nav class="navbar"><a href="/">Gone</a>
        </nav><main><nav
        class="theme-doc-breadcrumbs"><a href="/">Gone</a></nav><article>
        <div class="theme-doc-markdown markdown">{}</div>
        <footer class="theme-doc-footer"><a href="e" class="theme-edit-this-page">Edit this page</a></footer></article>
        <nav class="pagination-nav"><a href="n">Next Gone</a></nav></main>""",
    "DocBook": """<meta name="generator" content="DocBook XSL Stylesheets V1.79"><div class="navheader"><table>
        <tr><td><a
        accesskey="p" href="p"><img src="prev.png" alt="Prev"></a></td><th>Gone</th></tr></table></div>
        <div class="sect1">{}
        </div><div class="navfooter"><a href="p">Gone</a></div>""",
    "Publican": """<meta name="generator" content="publican v4"><p id="title"><a href="h"><strong>Gone</strong>
        </a></p><ul
        class="docnav"><li class="previous"><a href="p"><strong>Prev</strong>Gone</a></li></ul>
        <div class="section">{}</div>
        <ul class="docnav"><li class="next"><a href="p"><strong>Next</strong></a></li></ul>""",
    "Texinfo": """<meta name="Generator" content="makeinfo"><div class="section"><div class="header">
        <p>Next: <a href="n"
        rel="next">Gone</a>, Up: <a href="u" rel="up">Gone</a> [<a href="i">Index</a>]</p></div><hr>{}</div>""",
    "Yelp": """<div class="yelp-data"></div><div class="trails"><div class="trail">
        <a href="i">Gone</a> » </div></div><main>{}
        </main><div class="links prevnext"><a href="p">Previous</a></div>""",
    "MediaWiki": """<meta name="generator" content="MediaWiki 1.39"><div id="content"><div id="siteSub">Gone</div><div
        id="jump-to-nav"></div><div id="mw-content-text"><div class="mw-parser-output">{}</div></div><div id="catlinks"
        class="catlinks"><a href="c">Gone</a></div></div><div id="mw-navigation"><a href="m">Gone</a></div>""",
    "hand-made": """<div id="container"><a href="index.html">Gone</a><hr>{}<hr><p>
        <a href="i">Gone index</a> | <a href="f">Gone full
        index</a></p><p>&copy; 2003 Gone</p></div>""",
}
BODY = """<h2 id="the-toolbar">The toolbar<a class="headerlink" href="#the-toolbar" title="Link">¶</a></h2>
        <p>Few words.</p>
<div class="sidebar"><p>A box of content with words of its own.</p><img src="box.png"></div><div class="note"><img
src="images/note.png">Mind it.</div><section id="sharing-menu" class="menu"><h3>Menu</h3><p>
        <a href="x">All a link</a></p>
<img src="menu.png"></section><aside class="topic"><p>An aside that belongs to the text.</p></aside><pre>$ run</pre>
<p>See the <a href="y">other page</a> too.</p>"""


@pytest.mark.parametrize("generator", NAVIGATION)
def test_documentation_keeps_all_its_text_and_figures_and_loses_navigation(generator: str) -> None:
    head, body = "", NAVIGATION[generator]
    if body.startswith(("<meta", "<script")):
        cut = body.index("><") + 1 if body.startswith("<meta") else body.index("</script>") + 9
        head, body = body[:cut], body[cut:]
    page = html_page.parse_html(f"<html><head>{head}</head><body>{body.replace('{}', BODY)}</body></html>".encode())
    assert page.text.split("\n") == [
        "## The toolbar",
        "Few words.",
        "A box of content with words of its own.",
        "[Image 0]",
        "Mind it.",
        "### Menu",
        "All a link",
        "[Image 1]",
        "An aside that belongs to the text.",
        "```",
        "$ run",
        "```",
        "See the other page too.",
    ]
    assert [picture.addresses for picture in page.images] == [("box.png",), ("menu.png",)]
    assert ("images/note.png", "the icon of a note") in {(p.addresses[0], reason) for p, reason in page.left_out}
    assert page.problems == ()


def test_a_page_inside_a_form_is_a_page_and_its_controls_are_not() -> None:
    controls = "<button>Go</button><select><option>x</select>"
    form = f"<form><input type=hidden><h1>T</h1>{PARAGRAPHS}<img src=a.png>{controls}</form>"
    page = html_page.parse_html(f"<body>{form}<form action=/s><input> Search</form></body>".encode())
    assert len(page.images) == 1 and page.text.count("counted") == 12 and page.problems == ()
    assert not {"Go", "x", "Search"} & set(page.text.split())


def test_references_below_a_heading_stay_and_links_below_the_text_go() -> None:
    link = "<a href='x'>Further reading on boats</a>"
    assert lines(f"<body>{PARAGRAPHS}<h2>References</h2><ul><li>{link}<li>{link}</ul></body>")[-2:] == [
        "- Further reading on boats",
        "- Further reading on boats",
    ]
    assert "Further" not in lines(f"<body>{PARAGRAPHS}<div>{link}</div></body>")[-1]


def test_a_page_that_loses_most_of_its_text_says_so() -> None:
    page = html_page.parse_html(
        f"<body><nav>{PARAGRAPHS}</nav><main><h1>T</h1><p>Short. {WORDS}</p></main></body>".encode()
    )
    assert [problem.error for problem in page.problems] == ["MostTextLeftOut"]
    assert "92% of its text" in page.problems[0].message


def test_pictures_that_are_not_read_are_told() -> None:
    source = """<body><p>Words</p><div style="background-image: url('sea.jpg')">Sea</div><svg><text>A drawing</text>
    </svg><div style="background: url(data:image/gif;base64,AA)"></div><nav><div style="background:url(n.png)"></div>
    </nav></body>"""
    assert [p.error for p in html_page.parse_html(source.encode()).problems] == ["BackgroundImage", "InlineSvg"]


def test_what_is_left_out_of_a_page_is_told_part_by_part_with_its_reason() -> None:
    source = """<body><nav>Home</nav><main><h1>Title</h1><p>Many words of the text.</p>
    <p>More of it <a href="#x">\N{PILCROW SIGN}</a> here.</p></main><div>After all</div>
    <footer>Imprint</footer></body>"""
    assert html_page.left_out_of(source.encode()) == [
        ("navigation", "Home"),
        ("navigation", "\N{PILCROW SIGN}"),
        ("outside the text", "After all"),
        ("navigation", "Imprint"),
    ]
    assert html_page.left_out_of(b"") == []
