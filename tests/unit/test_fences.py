"""A fence around a whole text is taken off, whatever stands in it; a text that only has code in it stays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.fences import TEXT, code_spans, unfenced

CODE = "# Install\nRun this:\n```bash\n# update\nnpm install pump\n```\nDone."
BARE = "# Install\nRun this:\n```\nnpm install pump\n```\nDone."
TILDES = "# Install\n~~~~\n```\nno fence\n~~~~\nDone."


@pytest.mark.parametrize("inner", ["# T\nText.", CODE, TILDES, f"{CODE}\n\n{CODE}", "# T\n```bash\nx\n```"])
@pytest.mark.parametrize(
    "around",
    [
        "```markdown\n{}\n```",
        "```\n{}\n```",
        "````md\n{}\n````",
        "~~~~~\n{}\n~~~~~",
        '```Markdown title="a.md"\n{}\n```',
        "```markdown:a.md\n{}\n```",
    ],
)
@pytest.mark.parametrize("before", ["", "Here is the response:\n", "Sure! Here it is:\n\n"])
@pytest.mark.parametrize("after", ["", "\n", "\n\nLet me know if it helps."])
def test_a_fence_around_everything_is_taken_off_and_those_inside_stay(
    inner: str, around: str, before: str, after: str
) -> None:
    assert unfenced(before + around.format(inner) + after, TEXT) == inner


def test_blocks_without_a_language_inside_a_fence_of_markdown_stay() -> None:
    assert unfenced(f"```markdown\n{BARE}\n{BARE}\n```") == f"{BARE}\n{BARE}"


def test_a_fence_that_is_never_closed_reaches_to_the_end() -> None:
    assert unfenced("```markdown\n# T\nText.") == "# T\nText."
    assert unfenced("```markdown\n# T\n```bash\nx\n```\nText.") == "# T\n```bash\nx\n```\nText."


@pytest.mark.parametrize(
    "text",
    [
        CODE,
        BARE,
        "Text.\n```\nx\n```\nText.\n```\ny\n```",
        "```\nx\n```\nText between.\n```\ny\n```",
        "```\nx\n```\nOne line.\nAnother line.",
        "```\nx\n```\n# Title",
        "# Title\n```\nx\n```",
        "One line\nand another:\n```\nx\n```",
        "`inline` and ```inline```",
        "",
    ],
)
def test_a_text_that_has_code_in_it_is_the_whole_text(text: str) -> None:
    assert unfenced(text) == text


def test_a_fence_of_another_language_is_no_prose() -> None:
    assert unfenced("```bash\n# update\nnpm i\n```", TEXT) == "```bash\n# update\nnpm i\n```"
    assert unfenced("```bash\n# update\nnpm i\n```") == "# update\nnpm i"


def test_code_is_what_stands_between_a_fence_and_the_one_that_closes_it() -> None:
    text = "a\n~~~~\n```\n~~~\n~~~~\nb\n```js\nc\n```\n```\nopen"
    assert [text[begin:end] for begin, end in code_spans(text)] == ["~~~~\n```\n~~~\n~~~~\n", "```js\nc\n```\n"]


@given(st.lists(st.sampled_from(["```", "````", "~~~", "```md", "```bash", "# T", "text", "", "text:"])).map("\n".join))
def test_nothing_but_whole_lines_at_the_ends_is_taken_off(text: str) -> None:
    inner = unfenced(text)
    assert inner in text
    spans = code_spans(text)
    assert all(begin < end <= len(text) + 1 for begin, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


@pytest.mark.parametrize("unit", ["```\n", "`", "~", "~~~x`", "```a\n", "~~~\n```\n", "\n", "# \n"])
def test_a_long_row_of_fences_ends_at_once(unit: str) -> None:
    text = unit * (2**16 // len(unit))
    assert len(unfenced(text)) <= len(text)
    assert len(code_spans(text)) <= len(text)
