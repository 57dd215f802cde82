"""Finished records → what training and others read: annotations in both variants, captions, placements, a card.

    annotation.plain.jsonl  annotation.caption.jsonl  captions.jsonl  insertion.jsonl  records.parquet  README.md

Formats: the ImageRef-VL release's. Pictures are named by their path under the source's root.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray import markdown, prompts
from imageref_ray.evaluation.formats import write_jsonl
from imageref_ray.prompts import Pack
from imageref_ray.records import Image, Record, to_row

Variant = Literal["plain", "caption"]
VARIANTS: tuple[Variant, ...] = ("plain", "caption")
TAG = "<image>"


def export(folder: Path, records: Sequence[Record], root: Path, pack: Pack, facts: Mapping[str, Any]) -> dict[str, str]:
    """Write all files into `folder`; returns kind → path. `facts` go onto the dataset card as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "plain": _jsonl(folder / "annotation.plain.jsonl", (annotation(r, "plain", root, pack) for r in records)),
        "caption": _jsonl(folder / "annotation.caption.jsonl", (annotation(r, "caption", root, pack) for r in records)),
        "captions": _jsonl(folder / "captions.jsonl", captions(records)),
        "insertion": _jsonl(folder / "insertion.jsonl", map(insertion, records)),
        "parquet": folder / "records.parquet",
        "card": folder / "README.md",
    }
    rows = [to_row(record) for record in records]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema(Record)), files["parquet"])
    files["card"].write_text(card(records, facts), encoding="utf-8")
    return {kind: str(path) for kind, path in files.items()}


def answer(record: Record, variant: Variant) -> str:
    """The response with its pictures in place: `IMAGE_k`, or `![caption](IMAGE_k)`."""
    texts = {k: caption.caption for k, caption in _numbered(record).items()} if variant == "caption" else None
    return markdown.insert(record.response, _chosen(record), "before", texts)


def annotation(record: Record, variant: Variant, root: Path, pack: Pack) -> dict[str, Any]:
    """One training sample: instruction and documents with `IMAGE_k: <image>`, and the answer."""
    turn = prompts.answer(pack, record.sample)[-1]
    human = "".join(TAG if isinstance(part, Image) else part.replace(TAG, "< image>") for part in turn.parts)
    return {
        "id": record.id,
        "image": [_path(image, root) for image in turn.images],
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": answer(record, variant)}],
    }


def captions(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """One line a document: `{"nid", "caption": {image id: caption}}`; a document met again is not repeated."""
    seen: set[str] = set()
    for record in records:
        known = {caption.image_id: caption.caption for caption in record.captions}
        for document in record.sample.documents:
            if document.id not in seen:
                seen.add(document.id)
                own = {image.id: known[image.id] for image in document.images if image.id in known}
                yield {"nid": document.id, "caption": own}


def insertion(record: Record) -> dict[str, Any]:
    """The placement as model text: `{"event_id", "image_paths", "result"}`."""
    chosen = _chosen(record)
    slots = len(markdown.slots(record.response, "before"))
    result = prompts.predictions([chosen.get(slot) for slot in range(1, slots + 1)])
    return {"event_id": record.id, "image_paths": [image.id for image in record.sample.images], "result": result}


def card(records: Sequence[Record], facts: Mapping[str, Any]) -> str:
    """The dataset card: what is inside, where it comes from, how it was made."""
    counts = {
        "samples": len(records),
        "documents": sum(len(record.sample.documents) for record in records),
        "images": sum(len(record.sample.images) for record in records),
        "images placed in answers": sum(len(_chosen(record)) for record in records),
    }
    lines = ["# Image-referencing training set", "", "Answers in Markdown with pictures where they belong.", ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in {**counts, **facts}.items()), ""]
    lines += ["| file | holds |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in FILES.items()]
    return "\n".join([*lines, "", "Texts and pictures keep the terms of the source they were read from.", ""])


FILES = {
    "annotation.plain.jsonl": "conversations; a picture in an answer is `IMAGE_k`",
    "annotation.caption.jsonl": "the same; a picture in an answer is `![caption](IMAGE_k)`",
    "captions.jsonl": "the caption of every picture in the context of its document",
    "insertion.jsonl": "which picture was placed at which position",
    "records.parquet": "everything: documents, responses, descriptions, captions, placements, costs",
}


def schema(kind: type) -> pa.Schema:
    """The Arrow schema of a dataclass's rows, so that empty lists have a type too."""
    return pa.schema(_struct(kind))


def _struct(kind: type) -> list[tuple[str, pa.DataType]]:
    hints = typing.get_type_hints(kind)
    return [(found.name, _arrow(hints[found.name])) for found in dataclasses.fields(kind)]


def _arrow(hint: Any) -> pa.DataType:
    if isinstance(hint, types.UnionType):
        return _arrow(next(option for option in typing.get_args(hint) if option is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow(typing.get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(_struct(hint))  # type: ignore[arg-type]
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[hint]


def _chosen(record: Record) -> dict[int, int]:
    """Before-content slot → k of the placed pictures."""
    numbers = markdown.image_numbers(record.sample)
    return {placement.slot: numbers[placement.image_id] for placement in record.placements if placement.image_id}


def _numbered(record: Record) -> dict[int, Any]:
    numbers = markdown.image_numbers(record.sample)
    return {numbers[caption.image_id]: caption for caption in record.captions}


def _path(image: Image, root: Path) -> str:
    path = Path(image.uri)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else image.uri


def _jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    write_jsonl(path, rows)
    return path
