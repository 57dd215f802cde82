"""Every dialect of Markdown: its pictures are found with their words, its markup leaves the text, code stays code."""

import pytest

from imageref_ray.sources.pages.markdown_page import parse_markdown

CASES = {
    "MkDocs box": (
        '!!! note "Look"\n    See\n\n    ![a](a.png)\n\nAfter',
        ["Look", "See", "[Image 0]", "After"],
        ["a.png"],
    ),
    "MkDocs folded box in a list": (
        "1. one\n\n    ??? tip\n        ![a](a.png)\n\n2. two",
        ["1. one", "   Tip", "   [Image 0]", "2. two"],
        ["a.png"],
    ),
    "MkDocs tabs in a box": (
        '??? example "X"\n\n    === "C"\n\n        ```c\n        int x;\n        ```\n',
        ["X", "C", "```c", "int x;", "```"],
        [],
    ),
    "MkDocs attributes": (
        "# T {#t .c}\n\n![a](a.png){ width=300 }{: .b } and `x`{.py}.\n\n{: .z }",
        ["[Image 0] and x."],
        ["a.png"],
    ),
    "MkDocs caption": ("![a](a.png)\n/// caption\nThe pier\n///", ["[Image 0]", "The pier"], ["a.png"]),
    "Markdown in HTML": (
        "<figure markdown>\n  ![a](a.png)\n  <figcaption>The pier</figcaption>\n</figure>",
        ["[Image 0]", "The pier"],
        ["a.png"],
    ),
    "MyST figure": (
        "```{figure} a.png\n:alt: x\n\nThe pier\n```\n\n:::{image} b.png\n:::",
        ["[Image 0]", "The pier", "[Image 1]"],
        ["a.png", "b.png"],
    ),
    "MyST boxes": (
        "::::{grid} 2\n:gutter: 2\n\n:::{card} Boats\nNew {kbd}`x` {doc}`that <y>`\n:::\n::::",
        ["Boats", "New x that"],
        [],
    ),
    "MyST code": (
        "(top)=\n\n```{code-block} python\n:linenos:\nx = {}\n```\n\n```{toctree}\na\n```",
        ["```python", "x = {}", "```"],
        [],
    ),
    "Quarto figure": (
        "See @fig-a.\n\n![The pier](a.png){#fig-a width=50%}",
        ["See Figure 1.", "[Image 0]", "Figure 1: The pier"],
        ["a.png"],
    ),
    "Quarto boxes": (
        '::: {.callout-note title="Look"}\n::: {.inner}\nText\n:::\n:::\n\n```{python}\n#| echo: false\n```',
        ["Look", "Text", "```python", "#| echo: false", "```"],
        [],
    ),
    "Docusaurus": (":::note[Look]\n![a](a.png)\n:::\n\n:::tip\nx\n:::", ["Look", "[Image 0]", "Tip", "x"], ["a.png"]),
    "GitHub alert": ("> [!NOTE]\n> Text ![a](a.png)", ["Note", "Text [Image 0]"], ["a.png"]),
    "Obsidian callout": ("> [!faq]- Why\n> So", ["Why", "So"], []),
    "Obsidian": (
        "a ![[a b.png|The pier|300]] [[Page|words]] [[Other]] ![[note]]",
        ["a [Image 0] words Other"],
        ["a%20b.png"],
    ),
    "size": ("![a](b.png =300x) ![c](c d.png =30%x)", ["[Image 0] [Image 1]"], ["b.png", "c%20d.png"]),
    "spaces": ('![a](my pic (1).jpg "T")', ["[Image 0]"], ["my%20pic%20(1).jpg"]),
    "reference": ('![a][r] ![r]\n\n[r]: <a b.png> "T"', ["[Image 0]"], ["a%20b.png"]),
    "Hugo, Liquid": (
        '{{< figure src="a.png" caption="The pier" >}}\n\nx {{< ref "y" >}}{% raw %}',
        ["[Image 0]", "The pier", "x"],
        ["a.png"],
    ),
    "Microsoft Learn": (':::image type="content" source="a.png" alt-text="x":::', ["[Image 0]"], ["a.png"]),
    "HTML": ('<p align="center"><img src="a.png" alt="x"></p>', ["[Image 0]"], ["a.png"]),
    "dark twin": (
        '<picture><source media="(prefers-color-scheme: dark)" srcset="d.png"><img src="a.png"></picture>',
        ["[Image 0]"],
        ["a.png"],
    ),
    "lists and tables": (
        "7. seven\n8. eight\n   - in\n\n| A | B |\n|---|---|\n| 1 | 2 |",
        ["7. seven", "8. eight", "   - in", "A | B", "1 | 2"],
        [],
    ),
    "formula": ("costs $5, $x_a + y_b$", ["costs $5, $x_a + y_b$"], []),
    "footnote": ("a[^1]\n\n[^1]: b", ["a[1]", "1. b"], []),
    "code": (
        "```\n![a](a.png)\n!!! no\n:::x\n```\n\n`![[b.png]]` `{{< x >}}`\n\n~~~md\n```\n~~~",
        ["```", "![a](a.png)", "!!! no", ":::x", "```", "![[b.png]] {{< x >}}", "````md", "```", "````"],
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_dialect_is_read(name: str) -> None:
    source, lines, addresses = CASES[name]
    page = parse_markdown(source.encode())
    assert page.text.split("\n") == lines
    assert [picture.addresses[0] for picture in page.images] == addresses


MDX = """import logo from './logo.png';
import { A,
  B } from "x";

export const Foo = () => (
  <b>no</b>
);

# Docs

<Tabs>
  <TabItem value="apple" label="Apple">
    An ![apple](apple.png)
  </TabItem>
</Tabs>

<Image src={logo} alt="Logo"/> and <img src={require('./r.png').default} style={{width: 2}} />

<ThemedImage
  sources={{
    light: useBaseUrl('/l.png'),
    dark: useBaseUrl('/d.png'),
  }}
/>

{/* gone */} Version {props.v} `{kept}`.

```jsx
import x from 'y'
<Image src={x}/>
```
"""


def test_mdx_is_read_and_its_code_stays() -> None:
    page = parse_markdown(MDX.encode())
    assert page.title == "Docs"
    assert page.text.split("\n") == [
        "Apple",
        "An [Image 0]",
        "[Image 1] and [Image 2]",
        "[Image 3]",
        "Version {kept}.",
        "```jsx",
        "import x from 'y'",
        "<Image src={x}/>",
        "```",
    ]
    assert [picture.addresses[0] for picture in page.images] == ["apple.png", "./logo.png", "./r.png", "/l.png"]


def test_a_pictures_own_words_are_kept() -> None:
    source = '![The *export* dialog](a.png "Export")\n\n'
    source += "```{figure} b.png\n:alt: a map\n:name: m\n\nWhere it is\n```\n\n{numref}`m`"
    first, second = parse_markdown(source.encode()).images
    assert (first.alt, first.title, first.caption) == ("The export dialog", "Export", "")
    assert (second.alt, second.caption) == ("a map", "Figure 1: Where it is")


def test_front_matter_may_hold_half_an_emoji_or_be_broken() -> None:
    assert parse_markdown(b'---\ntitle: "Boats \\uD83D\\uDE00 \\uD83D"\n---\nText').title == "Boats \U0001f600 \ufffd"
    page = parse_markdown(b"---\ntitle: [a\n---\nText ![x](a.png)")
    assert [problem.error for problem in page.problems] == ["BrokenFrontMatter"]
    assert page.text == "Text [Image 0]"


@pytest.mark.parametrize("piece", ["{% ", "{{< ", "<A ", "{.a ", "{a}`", ":::a\n", "{#fig-", "> [!a", "```{note}\n"])
def test_openings_that_nothing_closes_are_read_like_any_text(piece: str) -> None:
    """Expressions that look for an end from each of them would take minutes here."""
    page = parse_markdown(f"import a from 'b'\n\n# Boats\n\n`a`{piece * 3000}".encode())
    assert page.title == "Boats"


@pytest.mark.parametrize(
    ("source", "picture"),
    [
        ("![[a.png\\|300]]", ("a.png", "")),
        ("| t |\n|---|\n| ![[a.png\\|The pier]] |", ("a.png", "The pier")),
        ("[[File:a b.png|thumb|200px|The pier]]", ("a%20b.png", "The pier")),
        ("[[Datei: a.png]]", ("a.png", "")),
        ('![The pier](a.png "T" =300x)', ("a.png", "The pier")),
        ("![The pier|300x200](a.png)", ("a.png", "The pier")),
    ],
)
def test_wikis_pictures_are_found_with_their_words(source: str, picture: tuple[str, str]) -> None:
    page = parse_markdown(f"Text.\n\n{source}\n".encode())
    assert [(one.addresses[0], one.alt) for one in page.images] == [picture]
    assert page.text.splitlines()[-1] == "[Image 0]"


@pytest.mark.parametrize(
    ("front", "title", "problems"),
    [
        ('title = "Boats 😀"', "Boats 😀", []),
        ("[a]\nb = 1", "", []),
        ("title =", "", ["BrokenFrontMatter"]),
        ("a = " + "[" * 9999, "", ["BrokenFrontMatter"]),
    ],
    ids=["title", "table", "broken", "deep"],
)
def test_front_matter_may_be_toml(front: str, title: str, problems: list[str]) -> None:
    page = parse_markdown(f"+++\n{front}\n+++\nText.\n".encode())
    assert (page.title, page.text, [problem.error for problem in page.problems]) == (title, "Text.", problems)
