"""A picture gets the caption beside it and the sentences that refer to it."""

import pytest

from imageref_ray.sources.pages.figures import with_words
from imageref_ray.sources.pages.page import Page, Picture


def words(text: str, *pictures: Picture) -> list[tuple[str, str]]:
    return [(p.caption, p.mention) for p in with_words(Page("T", text, pictures or (Picture(("a.png",)),))).images]


@pytest.mark.parametrize(
    ("text", "caption", "mention"),
    [
        (
            "As Figure 3 shows, it is red.\n[Image 0]\nFigure 3: The menu",
            "Figure 3: The menu",
            "As Figure 3 shows, it is red.",
        ),
        ("[Image 0]\nFig. 2.1 The menu\nSee Fig. 2.1. Not Fig. 2.10.", "Fig. 2.1 The menu", "See Fig. 2.1."),
        ("Abbildung 4: Hafen\n[Image 0]\nText", "Abbildung 4: Hafen", ""),
        ("[Image 0]\n图 5：港口\n如图 5 所示。", "图 5：港口", "如图 5 所示。"),
        ("[Image 0]\nFigure 3 shows the menu.", "", ""),
        ("[Image 0]\n```\nFigure 3: no\n```", "", ""),
    ],
)
def test_captions_and_mentions_are_found(text: str, caption: str, mention: str) -> None:
    assert words(text) == [(caption, mention)]


def test_pictures_side_by_side_share_a_caption_and_a_figures_own_stays() -> None:
    pair = Picture(("a.png",)), Picture(("b.png",))
    assert [caption for caption, _ in words("[Image 0]\n[Image 1]\nFigure 1: Both", *pair)] == ["Figure 1: Both"] * 2
    own = Picture(("a.png",), caption="Figure 7: Own")
    assert words("In Figure 7.\n[Image 0]\nFigure 8: Other", own) == [("Figure 7: Own", "In Figure 7.")]
