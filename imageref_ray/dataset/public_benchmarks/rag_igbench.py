"""RAG-IGBench (NeurIPS 2025, github.com/USTC-StarTeam/RAG-IGBench): a row → a case; an answer → a row for its script.

    {"id", "query", "documents": [text], "images": [[url of document 1], …], "gt_clean_answer", "split", …}

Images are numbered over all documents (`IMG#1` …) and lie where the benchmark's download_images.py puts them:
<images>/<number of the row>/<number of the document>/IMG#<k>.jpg. Answers are Markdown with `![…](IMG#k)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Document, Image, Sample
from imageref_ray.dataset.public_benchmarks.case import Case, Read, Unusable, id_of, list_of, make_case, text_of

MARK = re.compile(r"!\[[^\]\n]*\]\(IMG#(?P<name>\d+)\)")
CITATION = re.compile(r"<sup>\[.*?\]\(.*?\)</sup>")
"""A reference to a document, which the benchmark's script removes as well."""


def reader(data: Path, images: Path) -> Read:
    """Reads the rows of `data`; `images` as above."""
    return partial(read, images=images)


def read(number: int, row: Mapping[str, Any], images: Path) -> Case:
    """The case of row `number` (from 1). Raises Unusable."""
    texts, listed = list_of(row, "documents", str), list_of(row, "images", list)
    if len(texts) != len(listed):
        raise Unusable(f"{len(texts)} documents, but images of {len(listed)}")
    documents: list[Document] = []
    k = 0
    for place, (text, urls) in enumerate(zip(texts, listed, strict=True), start=1):
        names = [f"{place}/IMG#{k + i}.jpg" for i in range(1, len(urls) + 1)]
        k += len(urls)
        documents.append(
            Document(
                f"DOC#{place}",
                f"DOC#{place}",
                text,
                tuple(
                    Image(name, str(images / str(number) / name), origin=str(url))
                    for name, url in zip(names, urls, strict=True)
                ),
            )
        )
    sample = Sample(id_of(row, "id"), text_of(row, "query"), tuple(documents))
    answer = CITATION.sub("", text_of(row, _answer_key(row)))
    return make_case(sample, answer, MARK, {str(i): i for i in range(1, k + 1)})


def answer(row: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The row with `model_answer`, and `gt_answer`, which the script reads where the data have `gt_clean_answer`.

    An empty answer stays empty: the script counts it as one of invalid format.
    """
    theirs = markdown.REFERENCE.sub(lambda m: f"![{m['caption'] or ''}](IMG#{m['shown'] or m['bare']})", text)
    return {**row, "gt_answer": row.get(_answer_key(row)), "model_answer": _script_json(theirs) if text else ""}


def _answer_key(row: Mapping[str, Any]) -> str:
    return "gt_clean_answer" if "gt_clean_answer" in row else "gt_answer"


def _script_json(text: str) -> str:
    """`{"answer": "…"}` as the script reads it, which changes quotes and `\\n` before it parses: these are escaped."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace(r"\\", r"\u005c").replace(r"\"", r"\u0022")
    return f'{{"answer": "{escaped}"}}'
