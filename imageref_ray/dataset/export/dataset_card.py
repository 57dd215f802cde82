"""Counts of the written records → the dataset card: front matter for the Hugging Face hub, tables, known limits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from imageref_ray.core.config import ExportConfig, Format
from imageref_ray.core.files import first_names
from imageref_ray.core.records import Record
from imageref_ray.dataset.export import columns
from imageref_ray.dataset.export.rows import chosen

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
"""Bound → the hub's size category for fewer samples."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a data set comes from: `facts` are shown on the card unchanged, `problems` is reason → count, `given` names
    what was taken from files instead of being generated."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    quarantined: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)
    given: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The result of an export: split → counts (`measure`), format → split → file name, (format, split) → rows, and the
    ids missing from the Parquet file because an image file is missing."""

    counts: Mapping[str, Counter[str]]
    files: Mapping[Format, Mapping[str, str]]
    rows: Mapping[tuple[Format, str], int]
    left_out: Sequence[str] = ()


COUNT_NAMES = (
    "samples",
    "documents",
    "images",
    "images placed in answers",
    "images never placed",
    "samples without any image",
    "images with words of their document",
)


def measure(record: Record) -> Counter[str]:
    """A record's contribution to the counts of the card."""
    images, placed = len(record.sample.images), len(chosen(record))
    told = sum(bool(image.words) for image in record.sample.images)
    numbers = (1, len(record.sample.documents), images, placed, images - placed, int(placed == 0), told)
    return Counter(dict(zip(COUNT_NAMES, numbers, strict=True)))


def card(written: Written, contents: Mapping[str, str], origin: Origin, config: ExportConfig) -> str:
    """The card as Markdown; `contents` is file name → description."""
    total = Counter[str]()
    for counts in written.counts.values():
        total.update(counts)
    matter = yaml.safe_dump(_front_matter(written, total["samples"], config), sort_keys=False, allow_unicode=True)
    split_fact = f"by event, seed {config.split.seed}" if config.split else "none"
    parts = [
        f"---\n{matter}---",
        "# Image-referencing training set",
        "Questions with documents and their images, and answers in Markdown with the images where they belong.",
        _table(["", ""], (*origin.facts.items(), ("split", split_fact))),
        _counts(written.counts, total),
        _table(["file", "content"], ((f"`{name}`", content) for name, content in contents.items())),
        *_loading(written, config),
        "## Licence",
        license_sentence(config.license),
        "## Known limits",
        _limits(written, total, origin),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(written: Written, samples: int, config: ExportConfig) -> dict[str, Any]:
    configs = _configs(written, config)
    typed = [found["config_name"] for found in configs if found["config_name"] != "parquet"]  # whose file has its types
    features = [{"config_name": name, "features": columns.declared(name)} for name in typed]
    return {
        "pretty_name": "Image-referencing training set",
        **_license_keys(config.license),
        "task_categories": ["image-text-to-text", "visual-question-answering"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for bound, name in SIZES if samples < bound), "10M<n<100M")],
        "configs": configs,
        **({"dataset_info": features} if features else {}),
    }


def _configs(written: Written, config: ExportConfig) -> list[dict[str, Any]]:
    """What `datasets` loads by name: only files with rows, for it refuses an empty one."""
    suffix = ".jsonl" if columns.as_lines(config) else ".parquet"
    configs: list[dict[str, Any]] = []
    for name in columns.on_card(config):
        files = [
            {"split": split_name or "train", "path": str(Path(path).with_suffix(suffix)) if name == "records" else path}
            for split_name, path in written.files[name].items()
            if written.rows.get((name, split_name))
        ]
        if files:
            configs.append({"config_name": name, "data_files": files} | ({} if configs else {"default": True}))
    return configs


def _loading(written: Written, config: ExportConfig) -> list[str]:
    """How to load what the card offers, and what it cannot offer."""
    offered = [found["config_name"] for found in _configs(written, config)]
    others = [name for name in columns.LOADABLE if name in config.formats and name not in columns.on_card(config)]
    lines = [f"`datasets.load_dataset(FOLDER, NAME)` loads {', '.join(offered)}."] if offered else []
    if others:
        lines.append(
            "It reads a folder with one reader, here Parquet's; what is in JSON lines "
            f"({', '.join(others)}) is loaded with `datasets.load_dataset('json', data_files=FILE)`."
        )
    return [" ".join(lines)] if lines else []


def _license_keys(license: str) -> dict[str, str]:
    """The hub's identifier if the licence is one, else `other` with a name derived from the text."""
    if re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        return {"license": license}
    name = re.sub(r"[^a-z0-9.]+", "-", license.lower()).strip("-")
    return {"license": "other", "license_name": name or "see-card"} if license else {"license": "unknown"}


def license_sentence(license: str) -> str:
    """What may be done with the set, as far as it is known."""
    stated = license or "unknown: none was given when the set was built (setting `export.license`)"
    return f"{stated}. Texts and images keep the terms of their source."


def _counts(counts: Mapping[str, Counter[str]], total: Counter[str]) -> str:
    splits = [name for name in counts if name]
    shown = [key for key in COUNT_NAMES if total[key] or key != COUNT_NAMES[-1]]
    rows = [(key, *(counts[name][key] for name in splits), total[key]) for key in shown]
    return _table(["", *splits, "all" if splits else ""], rows)


def _limits(written: Written, total: Counter[str], origin: Origin) -> str:
    lines = [
        f"{total['samples without any image']} of {total['samples']} answers have no image.",
        f"{total['images never placed']} of {total['images']} images are not placed in any answer.",
        f"{origin.quarantined} samples were left out because a stage failed (quarantine).",
    ]
    lines += [f"{count} × {reason} while reading or building." for reason, count in origin.problems.items()]
    if written.left_out:
        lines.append(
            f"{len(written.left_out)} samples are not in the Parquet file because an image file is missing "
            f"({first_names(written.left_out, 5)})."
        )
    lines += [
        f"The {split_name} split is empty: there are too few events, or all of them share documents."
        for split_name in _empty(written)
    ]
    lines.append(f"{_authors(origin.given)} References were checked, facts were not.")
    return "\n".join(f"* {line}" for line in lines)


def _authors(given: Sequence[str]) -> str:
    """Who wrote what; of what came from files that is not known here."""
    if not given:
        return "A model wrote the answers, captions and placements."
    return f"Taken from files, whoever wrote them: {', '.join(given)}. A model wrote the rest."


def _empty(written: Written) -> list[str]:
    return [split_name for split_name, counts in written.counts.items() if split_name and not counts["samples"]]


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
