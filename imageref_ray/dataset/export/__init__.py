"""Finished records → training files in every configured format, split by event, and a dataset card.

    records ─▶ rows ─▶ annotation.plain.jsonl  messages.jsonl  llava.json  dataset.parquet  …
            └▶ counts ─▶ mixture.json  dataset_info.json  README.md

Records are streamed: memory grows with their ids, not with their texts.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ExportConfig, Format
from imageref_ray.core.durable import BROKEN, DiskError, make_folder, sync, sync_tree, writing
from imageref_ray.core.records import Record, to_row
from imageref_ray.dataset.export import columns, rows, split, writers
from imageref_ray.dataset.export.dataset_card import Origin, Written, card, license_sentence, measure
from imageref_ray.dataset.export.rows import VARIANTS, Row, Variant, annotation, answer, insertion
from imageref_ray.dataset.export.temporary import temporary_folder
from imageref_ray.dataset.export.token_length import Count, counter
from imageref_ray.dataset.mixture_paths import relative
from imageref_ray.stages.prompts import Pack

__all__ = [
    "FILES",
    "VARIANTS",
    "Origin",
    "Target",
    "Variant",
    "annotation",
    "answer",
    "export",
    "insertion",
    "license_sentence",
    "make_target",
]

FILES: dict[Format, tuple[str, str, str]] = {
    "plain": ("annotation.plain", ".jsonl", "conversations (InternVL); an image in an answer is `IMAGE_k`"),
    "caption": ("annotation.caption", ".jsonl", "the same; an image in an answer is `![caption](IMAGE_k)`"),
    "responses": ("responses", ".jsonl", "the textual response of every sample"),
    "captions": ("captions", ".jsonl", "the caption of every image in the context of its document"),
    "insertion": ("insertion", ".jsonl", "which image was placed at which position"),
    "records": ("records", ".parquet", "everything about a sample: documents, response, captions, placements"),
    "messages": ("messages", ".jsonl", "conversations for ms-swift (set ROOT_IMAGE_DIR to the folder of the images)"),
    "sharegpt": ("sharegpt", ".jsonl", "conversations for LLaMA-Factory, listed in `dataset_info.json`"),
    "llava": ("llava", ".json", "conversations for LLaVA"),
    "parquet": ("dataset", ".parquet", "conversations for `datasets`, with the images or their paths"),
    "mixture": ("mixture", ".json", "the annotation files for InternVL and `imageref train` (meta JSON)"),
}
"""Format → stem and suffix of its file, and its content for the card; a split's name goes between stem and suffix."""

_CONVERSATIONS = {"messages": rows.messages, "sharegpt": rows.sharegpt, "llava": rows.llava}


@dataclass(frozen=True, slots=True)
class Target:
    """How records are written: root of the image paths, prompt pack of the questions, settings, token counter."""

    root: Path
    pack: Pack
    config: ExportConfig
    count_tokens: Count


def make_target(root: Path, pack: Pack, config: ExportConfig) -> Target:
    """The Target of an export. Raises ConfigError, before any work is done, if `config.tokenizer` cannot count."""
    return Target(root, pack, config, counter(config.tokenizer))


def export(
    folder: Path, read_records: Callable[[], Iterable[Record]], target: Target, origin: Origin | None
) -> dict[str, str]:
    """Write every configured file into `folder`; returns format (`.split`) → path.

    `read_records` iterates over the records; it is called twice if there is a split. The files appear in `folder` once
    all of them are complete and on the disk; those that only other settings write are then removed: they may hold what
    is now in the test split. Without `origin` there is no card: the files are parts of a data set.
    """
    make_folder(folder)
    with temporary_folder(folder) as temporary:
        with writing(temporary):
            written = _write(temporary, read_records, target)
            info = _write_about(temporary, folder, written, target, origin)
        _move(temporary, folder)
    by_name: list[tuple[str, Mapping[str, str]]] = [
        *written.files.items(),
        ("records.lines", _record_lines(target.config)),
    ]
    paths = {
        f"{name}.{split_name}" if split_name else name: str(folder / file)
        for name, parts in by_name
        for split_name, file in parts.items()
    }
    extra = {"mixture": str(folder / "mixture.json")} if "mixture" in target.config.formats else {}
    extra |= {"register": str(folder / "dataset_info.json")} if info else {}
    return paths | extra | ({"card": str(folder / "README.md")} if origin else {})


def _write_about(folder: Path, final: Path, written: Written, target: Target, origin: Origin | None) -> bool:
    """The files about the files of rows, which will be in `final`; whether LLaMA-Factory's register is among them."""
    texts: dict[str, str] = {}
    if "mixture" in target.config.formats:
        texts["mixture.json"] = _json(_mixture(final, written, target.root))
    if info := _dataset_info(written):
        texts["dataset_info.json"] = _json(info)
    if origin:
        there = {path.name for path in folder.iterdir()}.union(texts)
        contents = {path: content for path, content in _contents(target.config).items() if path in there}
        texts["README.md"] = card(written, contents, origin, target.config)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return bool(info)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _move(temporary: Path, folder: Path) -> None:
    """Let the new files count, and no other file that an export may have written."""
    sync_tree(temporary)
    names = sorted(path.name for path in temporary.iterdir())
    with writing(folder):
        for name in names:
            os.replace(temporary / name, folder / name)
        for name in _all_names().difference(names):
            (folder / name).unlink(missing_ok=True)
    sync(folder)


def _all_names() -> set[str]:
    """Every file that any settings write."""
    stems = [(stem, suffix) for stem, suffix, _ in FILES.values()] + [("records", ".jsonl")]
    parts = {f"{stem}.{part}{suffix}" for stem, suffix in stems for part in split.SPLITS}
    return parts | {stem + suffix for stem, suffix in stems} | {"dataset_info.json", "README.md"}


def _write(folder: Path, read_records: Callable[[], Iterable[Record]], target: Target) -> Written:
    """All files of rows, in one pass over the records."""
    shares = target.config.split
    assignment = split.assign(map(_event, read_records()), shares) if shares else {}
    names = _file_names(target.config)
    counts: dict[str, Counter[str]] = {split_name: Counter() for split_name in split.names(shares)}
    row_counts: Counter[tuple[Format, str]] = Counter()
    left_out: list[str] = []
    seen: dict[str, dict[str, int]] = {}
    with ExitStack() as stack:
        outputs = {
            (name, split_name): stack.enter_context(_open_writer(name, folder / file, target.config))
            for name, parts in names.items()
            for split_name, file in parts.items()
        }
        for record in read_records():
            split_name = assignment[record.id] if shares else ""
            counts[split_name].update(measure(record))
            for name, row in _rows(record, target, seen, left_out):
                outputs[name, split_name](row)
                row_counts[name, split_name] += 1
    return Written(counts, names, row_counts, left_out)


def _event(record: Record) -> tuple[str, list[str]]:
    return record.id, [document.id for document in record.sample.documents]


def _rows(
    record: Record, target: Target, seen: dict[str, dict[str, int]], left_out: list[str]
) -> Iterator[tuple[Format, Row]]:
    """A record's rows in every configured format; `seen` are the captions that are written (`rows.captions`)."""
    variant = target.config.variant
    annotations = {
        name: _with_length(annotation(record, name, target.root, target.pack), target)
        for name in _variants(target.config)
    }
    for name in dict.fromkeys(target.config.formats):
        match name:
            case "plain" | "caption":
                yield name, annotations[name]
            case "messages" | "sharegpt" | "llava":
                yield name, _CONVERSATIONS[name](annotations[variant])
            case "parquet":
                try:
                    yield name, _parquet_row(annotations[variant], target)
                except OSError as error:
                    if error.errno in BROKEN:  # the image may well be there
                        raise DiskError(error.errno, f"an image cannot be read: {error}; check the disk") from error
                    left_out.append(record.id)
            case "responses":
                yield name, rows.response(record)
            case "captions":
                yield from ((name, row) for row in rows.captions(record, seen))
            case "insertion":
                yield name, insertion(record)
            case "records":
                yield name, {key: value for key, value in to_row(record).items() if key != "usage"}


def _with_length(row: Row, target: Target) -> Row:
    return row | {"length": target.count_tokens(row)}


def _variants(config: ExportConfig) -> list[Variant]:
    """The annotation variants that the configured formats are derived from."""
    derived = {*_CONVERSATIONS, "parquet"}.intersection(config.formats)
    return [name for name in VARIANTS if name in config.formats or (derived and name == config.variant)]


def _parquet_row(row: Row, target: Target) -> Row:
    """An annotation as a row of the Parquet file. Raises OSError if an image to embed cannot be read."""
    images = row["image"]
    if target.config.embed_images:
        images = [{"bytes": (target.root / name).read_bytes(), "path": name} for name in images]
    return {**{key: row[key] for key in ("id", "conversations", "length")}, "images": images}


def _open_writer(name: Format, path: Path, config: ExportConfig) -> AbstractContextManager[writers.Write]:
    if path.suffix == ".parquet":
        table = writers.parquet(path, columns.schema(name, config.embed_images))
        lines = name == "records" and columns.as_lines(config)
        return writers.both(table, writers.jsonl(path.with_suffix(".jsonl"))) if lines else table
    return writers.json_list(path) if path.suffix == ".json" else writers.jsonl(path)


def _file_names(config: ExportConfig) -> dict[Format, dict[str, str]]:
    """Format → split → file name, of the formats with rows."""
    return {
        name: {
            split_name: f"{stem}.{split_name}{suffix}" if split_name else stem + suffix
            for split_name in split.names(config.split)
        }
        for name, (stem, suffix, _) in FILES.items()
        if name in config.formats and name != "mixture"
    }


def _record_lines(config: ExportConfig) -> dict[str, str]:
    """Split → file name of the records as JSON lines, if they are written."""
    tables = _file_names(config)["records"] if columns.as_lines(config) else {}
    return {split_name: Path(file).with_suffix(".jsonl").name for split_name, file in tables.items()}


def _contents(config: ExportConfig) -> dict[str, str]:
    """File name → its content, for the card."""
    rows = {path: FILES[name][2] for name, parts in _file_names(config).items() for path in parts.values()}
    rows |= dict.fromkeys(_record_lines(config).values(), "the records once more, for `datasets.load_dataset`")
    return rows | {"mixture.json": FILES["mixture"][2], "dataset_info.json": "LLaMA-Factory's register of data sets"}


def _mixture(folder: Path, written: Written, root: Path) -> dict[str, Any]:
    """The training annotations as InternVL's meta JSON, with paths relative to `folder`."""
    split_name = "train" if "train" in written.counts else ""
    names: dict[Format, str] = {"plain": "imageref", "caption": "imageref_captions"}
    return {
        entry: {
            "root": relative(root, folder),
            "annotation": written.files[name][split_name],
            "data_augment": False,
            "repeat_time": 1,
            "max_dynamic_patch": 1,
            "length": written.counts[split_name]["samples"],
        }
        for name, entry in names.items()
        if split_name in written.files.get(name, {})
    }


def _dataset_info(written: Written) -> dict[str, Any]:
    """LLaMA-Factory's register of data sets: the keys of turns, roles and images in each file."""
    message_tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    sharegpt_tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    kinds: list[tuple[Format, str, dict[str, str]]] = [
        ("messages", "messages", message_tags | {"system_tag": "system"}),
        ("sharegpt", "conversations", sharegpt_tags | {"system_tag": "system"}),
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
