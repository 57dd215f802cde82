"""MRAMG-Bench (huggingface.co/datasets/MRAMG/MRAMG-Bench): the files of one of its six sets → cases.

    <set>_mqa.jsonl   {"id", "question", "ground_truth": text with <PIC>, "provenance": [document id],
                       "images_list": [image id]}
    doc_<set>.jsonl   [document id, text with <PIC>, [image id]]; the file is beside the other one
    <images>/images_info/<set>_imgs_collection.json   {image id: {"image_path", …}}
    <images>/images/<SET>/<image_path>

The n-th <PIC> of a text is the n-th of its images. A case has the documents that its answer comes from, without those
that a search would add. What a script of the benchmark reads is not published, so there is no way back.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.json_files import json_lines, read_json
from imageref_ray.core.records import Document, Image, Sample
from imageref_ray.dataset.check.read import values
from imageref_ray.dataset.public_benchmarks.case import Case, Read, Unusable, id_of, list_of, make_case, text_of

PICTURE = "<PIC>"
MARK = re.compile(r"!\[\]\(PIC_(?P<name>\d+)\)")


@dataclass(frozen=True, slots=True)
class Corpus:
    """A set's documents by id (text, image ids) and the paths of its images by id."""

    documents: Mapping[str, tuple[str, list[str]]]
    paths: Mapping[str, Path]


def reader(data: Path, images: Path) -> Read:
    """Reads the rows of `data`, a file `<set>_mqa.jsonl`. Raises ConfigError where a file of its set is missing."""
    name = data.stem.removesuffix("_mqa")
    documents, info = data.with_name(f"doc_{name}.jsonl"), images / "images_info" / f"{name}_imgs_collection.json"
    for path in (documents, info):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; give the set's {name}_mqa.jsonl and the unpacked folder IMAGE")
    try:
        listed = read_json(info)
        folder = images / "images" / name.upper()
        paths = {id: folder / str(one["image_path"]) for id, one in listed.items()}
    except (AttributeError, TypeError, KeyError) as error:
        raise ConfigError(f"{info} is not a list of images by id ({error}); download it again") from None
    lines = (row for _, row in values(json_lines(documents)))
    rows = (row for row in lines if isinstance(row, list) and len(row) == 3 and isinstance(row[2], list))
    corpus = Corpus({str(id): (str(text), list(map(str, ids))) for id, text, ids in rows}, paths)
    return lambda number, row: read(row, corpus)


def read(row: Mapping[str, Any], corpus: Corpus) -> Case:
    """The case of a row. Raises Unusable."""
    ids = [str(id) for id in list_of(row, "images_list", object)]
    answer = text_of(row, "ground_truth")
    if answer.count(PICTURE) != len(ids):
        raise Unusable(f"its answer has {answer.count(PICTURE)} {PICTURE} for {len(ids)} images")
    documents = tuple(_document(id, corpus) for id in dict.fromkeys(map(str, list_of(row, "provenance", object))))
    question = " ".join(text_of(row, "question").replace(PICTURE, " ").split())
    sample = Sample(id_of(row, "id"), question, documents)
    first: dict[str, int] = {}
    for k, image in enumerate(sample.images, start=1):
        first.setdefault(image.origin, k)
    numbers = {str(n): first[id] for n, id in enumerate(ids) if id in first}
    return make_case(sample, _numbered(answer, "![](PIC_{})"), MARK, numbers)


def _document(id: str, corpus: Corpus) -> Document:
    """A document; its images' `origin` is their id in the benchmark. Raises Unusable."""
    if id not in corpus.documents:
        raise Unusable(f"document {id} does not exist")
    text, ids = corpus.documents[id]
    if missing := [one for one in ids if one not in corpus.paths]:
        raise Unusable(f"image {missing[0]} of document {id} does not exist")
    images = tuple(
        Image(f"{id}/{k}{corpus.paths[one].suffix}", str(corpus.paths[one]), origin=one) for k, one in enumerate(ids)
    )
    return Document(str(id), "", _numbered(text, "[Image {}]"), images)


def _numbered(text: str, form: str) -> str:
    """The text with every <PIC> as `form` of its number, from 0."""
    count = itertools.count()
    return re.sub(re.escape(PICTURE), lambda _: form.format(next(count)), text)
