"""Long pages become sections: within the limits, in order, nothing lost, nothing cut that belongs together."""

from hypothesis import given, settings
from hypothesis import strategies as st

from imageref_ray.core.records import MARKER
from imageref_ray.core.tokens import estimate
from imageref_ray.sources.pages import sections
from imageref_ray.sources.pages.sections import Limits
from tests.sweeps import sweep

WORDS = "some words about boats and harbours"
CODE = "```c\nint x;\n\n# no heading\n  y\n```"
LIST = "1. one\n   more\n   ```\n   # code\n   ```\n2. two\n   - in"
TABLE = "a | b\nc | d"
HEADINGS = ("## ", "###")
PARTS = st.sampled_from(
    ["## A", "### B", "## C", "#### D", WORDS, CODE, LIST, TABLE, f"{WORDS}\nPIC", "PIC\nFigure 2: x"]
)


@settings(max_examples=sweep(80))
@given(st.lists(PARTS, max_size=30), st.integers(5, 200), st.integers(1, 5))
def test_sections_hold_every_line_in_order_and_cut_nothing_that_belongs_together(
    parts: list[str], tokens: int, pictures: int
) -> None:
    numbers = iter(range(100))
    text = "\n".join(part.replace("PIC", f"[Image {next(numbers)}]") for part in parts)
    limits = Limits(tokens, pictures)
    found = sections.split("T", text, limits)
    joined = [line for section in found for line in section.text.split("\n")] or [""]
    assert [line for line in joined if line[:3] not in HEADINGS] == [
        line for line in text.split("\n") if line[:3] not in HEADINGS
    ]
    assert MARKER.findall("\n".join(joined)) == MARKER.findall(text)
    for section in found:
        assert section.path[0] == "T"
        assert section.text.count("```") % 2 == 0
        assert section.text.count("1. one") == section.text.count("   - in")
        assert section.text.count("a | b") == section.text.count("c | d")
        assert not section.text.startswith("Figure 2: x")
        fits = estimate(section.text) <= tokens and len(set(MARKER.findall(section.text))) <= pictures
        assert fits or not section.fits or len(found) == 1


def test_a_chapter_is_cut_at_its_headings_and_keeps_their_path() -> None:
    text = f"{WORDS}\n## Open\n{WORDS}\n[Image 0]\n## Save\n{WORDS}"
    text += f"\n### As\n{WORDS}\n[Image 1]\n### To\n{WORDS}\n[Image 2]"
    assert [(" > ".join(s.path), s.text.split("\n")) for s in sections.split("Files", text, Limits(30, 1))] == [
        ("Files > Open", [WORDS, "## Open", WORDS, "[Image 0]"]),
        ("Files > Save > As", [WORDS, "### As", WORDS, "[Image 1]"]),
        ("Files > Save > To", [WORDS, "[Image 2]"]),
    ]
    assert [s.path for s in sections.split("Files", text, Limits(None, 3))] == [("Files",)]


def test_what_cannot_be_cut_is_said_and_a_long_paragraph_is_cut_at_sentences() -> None:
    (whole,) = sections.split("T", "\n".join(["a | b"] * 60), Limits(20, 5))
    assert not whole.fits
    found = sections.split("T", "One sentence about boats. " * 20, Limits(30, 5))
    assert len(found) == 5 and all(section.fits for section in found)
