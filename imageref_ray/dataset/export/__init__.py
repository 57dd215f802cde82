"""Finished records → what trainers and people read: every configured format, split by event, and a dataset card.

    records ─▶ rows ─▶ annotation.plain.jsonl  messages.jsonl  llava.json  dataset.parquet  …
            └▶ counts ─▶ mixture.json  dataset_info.json  README.md

Records pass through one at a time: memory grows with their ids, not with their texts.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.batch.manifest import write_json
from imageref_ray.core.config import ExportConfig, Format
from imageref_ray.core.records import Record, to_row
from imageref_ray.dataset.export import rows, split, writers
from imageref_ray.dataset.export.dataset_card import Origin, Written, card, measure
from imageref_ray.dataset.export.rows import VARIANTS, Row, Variant, annotation, answer, insertion
from imageref_ray.dataset.export.token_length import Count, counter
from imageref_ray.stages.prompts import Pack

__all__ = ["FILES", "VARIANTS", "Origin", "Target", "Variant", "annotation", "answer", "export", "insertion", "target"]

FILES: dict[Format, tuple[str, str, str]] = {
    "plain": ("annotation.plain", ".jsonl", "conversations (InternVL); a picture in an answer is `IMAGE_k`"),
    "caption": ("annotation.caption", ".jsonl", "the same; a picture in an answer is `![caption](IMAGE_k)`"),
    "captions": ("captions", ".jsonl", "the caption of every picture in the context of its document"),
    "insertion": ("insertion", ".jsonl", "which picture was placed at which position"),
    "records": ("records", ".parquet", "everything: documents, responses, captions, placements, costs"),
    "messages": ("messages", ".jsonl", "conversations for ms-swift (ROOT_IMAGE_DIR is the pictures' folder)"),
    "sharegpt": ("sharegpt", ".jsonl", "conversations for LLaMA-Factory, named in `dataset_info.json`"),
    "llava": ("llava", ".json", "conversations for LLaVA"),
    "parquet": ("dataset", ".parquet", "conversations for `datasets`, with the pictures or their paths"),
    "mixture": ("mixture", ".json", "the annotation files as InternVL and `imageref train` take them (meta JSON)"),
}
"""Format → stem and suffix of its file, and what it holds; a split's name stands between the two."""

_CONVERSATIONS = {"messages": rows.messages, "sharegpt": rows.sharegpt, "llava": rows.llava}


@dataclass(frozen=True, slots=True)
class Target:
    """For whom records are written: pictures' root, the prompts of questions, settings, and who counts tokens."""

    root: Path
    pack: Pack
    config: ExportConfig
    tokens: Count


def target(root: Path, pack: Pack, config: ExportConfig) -> Target:
    """Made before any work is done: raises ConfigError where `config.tokenizer` cannot count."""
    return Target(root, pack, config, counter(config.tokenizer))


def export(folder: Path, read: Callable[[], Iterable[Record]], to: Target, origin: Origin) -> dict[str, str]:
    """Write every configured file into `folder`; returns format (`.split`) → path.

    `read` gives the records afresh whenever it is called (twice where there is a split). Files appear when all of
    them are whole.
    """
    hidden = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    written = _write(hidden, read, to)
    if "mixture" in to.config.formats:
        write_json(hidden / "mixture.json", _mixture(folder, written, to.root))
    if info := _dataset_info(written):
        write_json(hidden / "dataset_info.json", info)
    holds = {path: what for path, what in _holds(to.config).items() if (hidden / path).exists()}
    (hidden / "README.md").write_text(card(written, holds, origin, to.config), encoding="utf-8")
    for path in sorted(hidden.iterdir()):
        os.replace(path, folder / path.name)
    hidden.rmdir()
    paths = {
        f"{name}.{part}" if part else name: str(folder / file)
        for name, parts in written.files.items()
        for part, file in parts.items()
    }
    extra = {"mixture": str(folder / "mixture.json")} if "mixture" in to.config.formats else {}
    extra |= {"register": str(folder / "dataset_info.json")} if info else {}
    return paths | extra | {"card": str(folder / "README.md")}


def _write(folder: Path, read: Callable[[], Iterable[Record]], to: Target) -> Written:
    """All files that hold rows, in one walk over the records."""
    shares = to.config.split
    place = split.assign(map(_event, read()), shares) if shares else {}
    names = _names(to.config)
    counts: dict[str, Counter[str]] = {part: Counter() for part in split.names(shares)}
    left_out: list[str] = []
    seen: set[str] = set()
    with ExitStack() as stack:
        outputs = {
            (name, part): stack.enter_context(_opened(name, folder / file, to.config))
            for name, parts in names.items()
            for part, file in parts.items()
        }
        for record in read():
            part = place[record.id] if shares else ""
            counts[part].update(measure(record))
            for name, row in _rows(record, to, seen, left_out):
                outputs[name, part](row)
    return Written(counts, names, left_out)


def _event(record: Record) -> tuple[str, list[str]]:
    return record.id, [document.id for document in record.sample.documents]


def _rows(record: Record, to: Target, seen: set[str], left_out: list[str]) -> Iterator[tuple[Format, Row]]:
    """A record's rows in every configured format; `seen` holds the documents whose captions are written."""
    variant = to.config.variant
    made = {name: _counted(annotation(record, name, to.root, to.pack), to) for name in _variants(to.config)}
    for name in dict.fromkeys(to.config.formats):
        match name:
            case "plain" | "caption":
                yield name, made[name]
            case "messages" | "sharegpt" | "llava":
                yield name, _CONVERSATIONS[name](made[variant])
            case "parquet":
                try:
                    yield name, _columns(made[variant], to)
                except OSError:
                    left_out.append(record.id)
            case "captions":
                yield from ((name, row) for row in rows.captions(record, seen))
            case "insertion":
                yield name, insertion(record)
            case "records":
                yield name, to_row(record)


def _counted(row: Row, to: Target) -> Row:
    return row | {"length": to.tokens(row)}


def _variants(config: ExportConfig) -> list[Variant]:
    """The annotations that the configured formats are made of."""
    derived = {*_CONVERSATIONS, "parquet"}.intersection(config.formats)
    return [name for name in VARIANTS if name in config.formats or (derived and name == config.variant)]


def _columns(row: Row, to: Target) -> Row:
    """An annotation as a row of the Parquet file; OSError where a picture that is to go in cannot be read."""
    images = row["image"]
    if to.config.embed_images:
        images = [{"bytes": (to.root / name).read_bytes(), "path": name} for name in images]
    return {**{key: row[key] for key in ("id", "conversations", "length")}, "images": images}


def _opened(name: Format, path: Path, config: ExportConfig) -> AbstractContextManager[writers.Write]:
    if name == "records":
        return writers.parquet(path, writers.record_schema(Record))
    if name == "parquet":
        return writers.parquet(path, writers.conversations_schema(config.embed_images))
    return writers.json_list(path) if path.suffix == ".json" else writers.jsonl(path)


def _names(config: ExportConfig) -> dict[Format, dict[str, str]]:
    """Format → split → file name, of the formats that hold rows."""
    return {
        name: {part: f"{stem}.{part}{suffix}" if part else stem + suffix for part in split.names(config.split)}
        for name, (stem, suffix, _) in FILES.items()
        if name in config.formats and name != "mixture"
    }


def _holds(config: ExportConfig) -> dict[str, str]:
    """File name → what the card says of it."""
    rows = {path: FILES[name][2] for name, parts in _names(config).items() for path in parts.values()}
    return rows | {"mixture.json": FILES["mixture"][2], "dataset_info.json": "LLaMA-Factory's register of data sets"}


def _mixture(folder: Path, written: Written, root: Path) -> dict[str, Any]:
    """The training annotations as InternVL's meta JSON; paths are absolute, so that it can be used from anywhere."""
    part = "train" if "train" in written.counts else ""
    names: dict[Format, str] = {"plain": "imageref", "caption": "imageref_captions"}
    return {
        entry: {
            "root": str(root.resolve()),
            "annotation": str((folder / written.files[name][part]).resolve()),
            "data_augment": False,
            "repeat_time": 1,
            "max_dynamic_patch": 1,
            "length": written.counts[part]["samples"],
        }
        for name, entry in names.items()
        if part in written.files.get(name, {})
    }


def _dataset_info(written: Written) -> dict[str, Any]:
    """LLaMA-Factory's register of data sets: where turns, roles and pictures are in each file."""
    spoken = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    turned = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    kinds: list[tuple[Format, str, dict[str, str]]] = [
        ("messages", "messages", spoken | {"system_tag": "system"}),
        ("sharegpt", "conversations", turned | {"system_tag": "system"}),
    ]
    return {
        Path(file).stem: {
            "file_name": file,
            "formatting": "sharegpt",
            "columns": {"messages": column, "images": "images"},
            "tags": tags,
        }
        for name, column, tags in kinds
        for file in written.files.get(name, {}).values()
    }
