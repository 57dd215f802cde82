"""References in all the ways that models write them, and texts that name no image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core import markdown
from imageref_ray.core.loose_references import tidy


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("IMAGE_1", "IMAGE_1"),
        ("**image_2**", "IMAGE_2"),
        ("_Image_2_", "IMAGE_2"),
        (r"`IMAGE\_2`", "IMAGE_2"),
        ("［ＩＭＡＧＥ＿２］", "IMAGE_2"),
        (r"\[IMAGE_2\]", "IMAGE_2"),
        ("**[IMAGE_2](pier.jpg)**", "IMAGE_2"),
        ("![IMAGE_2](https://example.org/x.png)", "IMAGE_2"),
        ("<figure><img alt='x' src='image_2'/></figure>", "IMAGE_2"),
        ("![IMAGE_1](IMAGE_2)", "![IMAGE_1](IMAGE_2)"),
        ("[the pier](IMAGE_2)", "![the pier](IMAGE_2)"),
        ("![the **pier**](`image_2`)", "![the **pier**](IMAGE_2)"),
        ('![the pier](<IMAGE_2>) ![it](IMAGE_1 "It")', "![the pier](IMAGE_2) ![it](IMAGE_1)"),
        ("The boats (IMAGE_1) came，见Image_2。", "The boats IMAGE_1 came，见IMAGE_2。"),
    ],
)
def test_a_reference_is_read_however_it_is_written(written: str, meant: str) -> None:
    assert tidy(written) == meant


@pytest.mark.parametrize(
    "text",
    [
        "Image 1",
        "MY_IMAGE_1",
        "IMAGE_1_2",
        "IMAGE_x",
        "**Boats** IMAGE_1 **Kites**",
        "(see IMAGE_1)",
        "![a [b]](IMAGE_1)",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert tidy(text) == text


@given(st.text(st.sampled_from('IMAGE_12[]()!*`<> \n\\"img/'), max_size=40))
def test_tidy_text_stays_tidy_and_loses_no_reference(text: str) -> None:
    tidied = tidy(text)
    assert tidy(tidied) == tidied
    assert {ref.k for ref in markdown.references(tidied)} >= {ref.k for ref in markdown.references(text)}
