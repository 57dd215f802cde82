"""MMDocRAG (github.com/MMDocRAG/MMDocRAG): a row of dev or evaluation → a case; an answer → a row for its script.

    {"q_id", "doc_name", "question", "text_quotes": [{"text", …}], "img_quotes": [{"img_path", …}],
     "answer_interleaved", …}

A case is one document: the text quotes, numbered `[1]` …, then the images. Answers have `![…](image3)`, the third of
`img_quotes`. Image paths are relative to the folder in which images.zip was unpacked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Document, Image, Sample
from imageref_ray.dataset.paper_formats import image_id
from imageref_ray.dataset.public_benchmarks.case import Case, Read, id_of, list_of, make_case, text_of

MARK = re.compile(r"!\[[^\]\n]*\]\(image(?P<name>\d+)\)")


def reader(data: Path, images: Path) -> Read:
    """Reads the rows of `data`; `images` as above."""
    return lambda number, row: read(row, images)


def read(row: Mapping[str, Any], images: Path) -> Case:
    """The case of a row. Raises Unusable."""
    quotes = [" ".join(text_of(quote, "text").split()) for quote in list_of(row, "text_quotes", dict)]
    paths = [text_of(quote, "img_path") for quote in list_of(row, "img_quotes", dict)]
    document = Document(
        text_of(row, "doc_name"),
        text_of(row, "doc_name"),
        "\n".join(f"[{i}] {quote}" for i, quote in enumerate(quotes, start=1)),
        tuple(Image(image_id(path), str(images / path)) for path in paths),
    )
    sample = Sample(id_of(row, "q_id"), text_of(row, "question"), (document,))
    return make_case(sample, text_of(row, "answer_interleaved"), MARK, {str(k): k for k in range(1, len(paths) + 1)})


def answer(row: Mapping[str, Any], text: str) -> dict[str, Any]:
    """`{"q_id", "model", "in_tok", "out_tok", "total_tok", "response"}`; the token counts, which the script averages
    and an answer file does not have, are 0, as the benchmark's own for a request that failed."""
    response = markdown.REFERENCE.sub(lambda m: f"![{m['caption'] or ''}](image{m['shown'] or m['bare']})", text)
    return {"q_id": row["q_id"], "model": "imageref", "in_tok": 0, "out_tok": 0, "total_tok": 0, "response": response}
