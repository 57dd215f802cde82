"""An answer checked while it is written: nothing is taken back, whatever comes, and however it is cut."""

import itertools
import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from imageref_ray.core import markdown
from imageref_ray.core.markdown_stream import AnswerStream, Piece
from imageref_ray.core.records import Document, Image, Sample

IMAGES = tuple(Image(f"d/{i}.png", f"d/{i}.png", "0" * 64, 9, 9) for i in range(3))
SAMPLE = Sample("s", "?", (Document("d", "", "", IMAGES),))

WRITTEN = r"""
# Boats|### The pier|Three boats came in.|a ; b|; a ; b ;|;---;---;|--;--|===|---|- one|- |1. two|2. |  more|    code
```|~~~|> quote|<div>|</div>|<!--|-->|<script>|<img src=x>|[x]|![x]|![x](http://a/b.png)|[x]: http://a/b.png|[a](javascript:b)
[x]: javascript:a|[|](|)|`|``|\|&lt;|!|IMAGE_1|IMAGE_2|IMAGE_3|IMAGE_9|![A boat](IMAGE_1)|![b|](IMAGE_2)|IMAG|E_1|I|*|**
<b>|<?php|<![CDATA[|]]>|::|#|#no|*** |_|two  spaces|see IMAGE_2 there|- see IMAGE_1 there|- ![c](IMAGE_3)|## IMAGE_1
a boat!|船|émile|'title'|"t"
"""
FRAGMENTS = [part.replace(";", "|") for line in WRITTEN.strip().split("\n") for part in line.split("|")]
FRAGMENTS += ["\0", "\t", "\u2028", "\u3000", "\x0c"]
GLUE = ["\n", "\n", "\n\n", "\n\n", " ", "  ", "", "\r\n", "\r", "\n \n", "\n  ", "\n    "]
TEXTS = st.lists(st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from(GLUE)), max_size=14).map(
    lambda pairs: "".join(text + glue for text, glue in pairs)
)


def streamed(deltas: Sequence[str]) -> tuple[AnswerStream, list[Piece]]:
    stream = AnswerStream(SAMPLE)
    pieces = [piece for delta in deltas for piece in stream.feed(delta)]
    return stream, [*pieces, *stream.end()]


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(ends)]


@given(st.one_of(TEXTS, st.text(max_size=60)), st.lists(st.integers(0, 10**6), max_size=12))
@example("- one\n- ![c](IMAGE_3)\n    more\n", [])  # what is left of the second item would go on the first
@example("- see IMAGE_1 there\n- ![c](IMAGE_3)\n    more\n\n```\nx", [7])
@example("- \n\n<![CDATA[](IMAGE_2)\n", [3])
@example("![x] is here.\n\nEnd.\n\n[x]: http://a/b.png\n", [])  # a picture once it is defined
@example("- a\n- ![c](IMAGE_3)\n\nsee IMAGE_2 there", [4, 28])
@example("Three boats IMAGE_1 came.", [6, 12])
def test_the_pieces_are_the_whole_answer_and_it_keeps_the_contract(text: str, places: list[int]) -> None:
    stream, pieces = streamed(cut(text, places))
    assert "".join(piece.text for piece in pieces) == stream.text
    assert markdown.check(stream.text, SAMPLE) == []
    found = [(ref.k, ref.slot, ref.caption) for ref in markdown.references(stream.text)]
    assert [(ref.k, ref.slot, ref.caption) for piece in pieces for ref in piece.references] == found
    for others in ([text], list(text), re.findall(r"\s*\S*", text)):
        again, others_pieces = streamed(others)
        assert again.text == stream.text
        assert [b for p in others_pieces for b in p.breaches] == [b for p in pieces for b in p.breaches]


def test_text_comes_as_it_is_written_and_references_when_the_next_block_begins() -> None:
    stream = AnswerStream(SAMPLE)
    given = [[piece.text for piece in stream.feed(delta)] for delta in ("# Boa", "ts\nThree", " boats", " came.\n")]
    assert given == [["# Boa"], ["ts", "\n\nThree"], [" boats"], [" came."]]
    assert list(stream.feed("IMAGE_")) == list(stream.feed("2\n")) == []
    (picture, text) = stream.feed("So")
    assert (picture.text, picture.references[0].k, text.text) == ("\n\nIMAGE_2", 2, "\n\nSo")
    assert [piece.text for piece in stream.feed(" [it](http")] == []
    assert [piece.text for piece in stream.end()] == [" [it](http"]


def test_a_long_answer_is_checked_in_time_that_grows_with_its_length() -> None:
    lines = ["- one\n", "Three boats came.\n", "    code\n", "| a | b |\n", "IMAGE_9\n", "[x]: http://a\n\n"]
    parsed = 0
    for line in lines:
        before = markdown.blocks.cache_info().misses
        stream, _ = streamed([line * 150])
        parsed = max(parsed, markdown.blocks.cache_info().misses - before)
        assert markdown.check(stream.text, SAMPLE) == []
    assert parsed < 150 * 12
