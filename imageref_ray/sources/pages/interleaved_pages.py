"""Interleaved Parquet, as NeMo Curator writes it: a row per text and picture → a page per `sample_id`.

    rows in any order ─by sample_id─▶ in order of position ─▶ title, text, pictures

A row has `sample_id`, `position` (-1: about the sample), `modality` (text, table, image, metadata), `text_content`, and
of a picture its content in `binary_content`, or where it is in `source_ref`: `{"path": …}`, with `member`,
`byte_offset`, `byte_size` or `frame_index` where it is part of a file. Source: NVIDIA NeMo Curator's
`INTERLEAVED_SCHEMA`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.images import Problem
from imageref_ray.core.json_files import BrokenJson, parse_json
from imageref_ray.core.parquet_files import columns_of, filled, parquet_rows
from imageref_ray.core.records import MARKER
from imageref_ray.core.text import well_formed
from imageref_ray.sources.entries import SCHEME, Unusable, id_text
from imageref_ray.sources.pages.page import Page, Picture, one_line, untitled
from imageref_ray.sources.pages.picture_parts import part_address, row_address

NEEDED = ("sample_id", "position", "modality")
CONTENT = "binary_content"
READ = (*NEEDED, "text_content", "source_ref", "materialize_error", "element_class", "url", "title", "pdf_name")

TEXTS = frozenset(("text", "table"))

LARGEST_TEXT = 2_000_000_000
"""Bytes of what is not content of pictures; a file with more is refused."""

Row = dict[str, Any]


def is_interleaved(names: Mapping[str, Any]) -> bool:
    """Whether these are the columns of an interleaved file."""
    return all(name in names for name in NEEDED)


def read_interleaved(path: Path) -> Iterator[tuple[str, Page | Unusable]]:
    """(sample_id, page) of every sample in the order of their first rows; what belongs to none is Unusable."""
    try:
        columns = columns_of(path)
        if not is_interleaved(columns):
            message = f"has no columns {', '.join(NEEDED)}; files of samples are read with source.kind: samples"
            raise Unusable("UnknownFormat", f"{path} {message}")
        if sum(size for name, size in columns.items() if name in READ) > LARGEST_TEXT:
            raise Unusable("PageTooLarge", f"{path} has more than {LARGEST_TEXT} bytes of text; write several files")
        rows = [{**row, "row": number} for number, row in enumerate(parquet_rows(path, READ))]
        if CONTENT in columns:
            inside = filled(path, CONTENT, [row["modality"] == "image" for row in rows])
            rows = [{**row, CONTENT: has_content} for row, has_content in zip(rows, inside, strict=True)]
    except ConfigError as problem:
        raise Unusable("BrokenDocument", str(problem)) from None
    samples: dict[str, list[Row]] = {}
    nameless = []
    for row in rows:
        name = id_text(row["sample_id"]) or ""
        if name.strip():
            samples.setdefault(name, []).append(row)
        else:
            nameless.append(row["row"])
    if nameless:
        yield (
            "",
            Unusable("BrokenRow", f"{path} has {len(nameless)} rows without sample_id, the first is {nameless[0]}"),
        )
    for name, own in samples.items():
        yield name, _page(path, name, own)


def _position(row: Row) -> int | None:
    """A row's place in its sample; pandas writes whole numbers beside missing ones as fractions."""
    value = row["position"]
    return int(value) if isinstance(value, int | float) and value == value and abs(value) < 2**62 else None


def _page(path: Path, name: str, rows: list[Row]) -> Page:
    """The rows of one sample as a page."""
    pictures: list[Picture] = []
    problems: list[Problem] = []
    lines: list[str] = []
    skipped, about = Counter[str](), dict[str, Any]()
    if lost := sum(_position(row) is None for row in rows):
        problems.append(Problem("BrokenRow", f"{lost} of its rows have no position; they are read after the others"))
    for row in sorted(rows, key=lambda row: (_position(row) is None, _position(row) or 0)):
        modality, text = str(row["modality"]), _text(row.get("text_content"))
        if modality == "metadata":
            about |= _object(row.get("text_content")) or {}
        elif modality in TEXTS:
            lines += text.split("\n") if text else []
            if row.get("element_class") == "Title":
                about.setdefault("title", text)
        elif modality == "image":
            address = _address(path, row)
            if isinstance(address, Problem):
                problems.append(address)
            else:
                lines.append(f"[Image {len(pictures)}]")
                pictures.append(Picture((address,), one_line(text)))
        else:
            skipped[modality] += 1
    problems += [Problem("UnreadRows", f"{count} rows of modality {kind!r}") for kind, count in sorted(skipped.items())]
    title = _title(about, rows, lines) or name
    url = next((found for found in (about.get("url"), rows[0].get("url")) if isinstance(found, str)), "")
    text = untitled("\n".join(lines), title)
    return Page(title, text, tuple(pictures), url if url.startswith("http") else "", "", tuple(problems))


def _title(about: Mapping[str, Any], rows: list[Row], lines: list[str]) -> str:
    """The sample's own title, else its first heading, else the name of its PDF file; none is empty."""
    file = about.get("pdf_name") or rows[0].get("pdf_name")
    heading = next((line for line in lines if line.strip()), "")
    names = (
        about.get("title") or rows[0].get("title"),
        heading if heading.startswith("#") else "",
        Path(file).stem if isinstance(file, str) else "",
    )
    found = (one_line(_text(name)).lstrip("# ") for name in names)
    return next((name for name in found if name), "")


def _address(path: Path, row: Row) -> str | Problem:
    """Where a picture is: in its row, else where `source_ref` says."""
    where = f"the picture in row {row['row']}"
    if row.get(CONTENT):
        return row_address(path, CONTENT, row["row"])
    reference = _object(row.get("source_ref"))
    if reference is None:
        return Problem("BrokenRow", f"source_ref of {where} is no JSON object")
    file = reference.get("path")
    if not isinstance(file, str) or not file.strip():
        why = _text(row.get("materialize_error"))
        return Problem("MissingImage", f"{where} has no {CONTENT} and no path" + (f": {one_line(why)}" if why else ""))
    member, frame = reference.get("member") or None, _number(reference.get("frame_index"))
    start, size = _number(reference.get("byte_offset")), _number(reference.get("byte_size"))
    if member is None and frame is None:
        return Path(file).as_uri() if Path(file).is_absolute() else file
    if SCHEME.match(file):
        advice = "let NeMo Curator write the pictures, too (materialize_on_write)"
        return Problem("MissingImage", f"{where} is part of {file}, which is not on this machine; {advice}")
    ranged = (start, size) if member and start is not None and size else (None, None)
    return part_address(path.parent / file, member=member, offset=ranged[0], size=ranged[1], frame=frame)


def _object(value: object) -> dict[str, Any] | None:
    """A JSON object, written or as a struct; nothing is an empty one, anything else none."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except BrokenJson:
            return None
    return value if isinstance(value, dict) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str:
    return MARKER.sub(r"(Image \1)", well_formed(value)).strip() if isinstance(value, str) else ""
