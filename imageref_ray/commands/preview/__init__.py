"""`imageref preview`: what a build would read, before anything is paid for: one HTML page and a `samples` file.

source ─┬─▶ samples.jsonl                                              ┌─▶ left-out.jsonl
        └─▶ images fetched and checked as in a build ─▶ survey.py ─────┴─▶ page.py: preview.html
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from imageref_ray import sources
from imageref_ray.commands.preview.page import write_page
from imageref_ray.commands.preview.survey import survey
from imageref_ray.core.config import BuildConfig, ConfigError
from imageref_ray.core.durable import make_folder, replacing
from imageref_ray.core.records import Failure, Record
from imageref_ray.core.text import json_text
from imageref_ray.sources import sample_rows

FOLDER, ROWS, LEFT_OUT, PAGE = "preview", "samples.jsonl", "left-out.jsonl", "preview.html"
"""The files' folder in the run directory, and their names."""


def preview(config: BuildConfig, samples: int, seed: int) -> None:
    """Write the three files and print where they are; no engine is started. Raises ConfigError for an unusable source.

    `samples` is how many samples the page shows at most; the files hold all.
    """
    if samples < 0:
        raise ConfigError(f"--samples {samples}: give 0 or more")
    folder = config.output / FOLDER
    make_folder(folder)
    with replacing(folder / ROWS) as rows:
        found = survey(_written(sources.read(config.source), config.source.root, rows), config, samples, seed)
    with replacing(folder / LEFT_OUT) as left_out:
        left_out.writelines(f"{json_text(_row(failure))}\n" for failure in found.failures)
    source = {"kind": "samples", "root": str(config.source.root), "files": [_from_root(folder, config.source.root)]}
    size = write_page(found, config, source, folder / PAGE)
    counts = (
        f"{len(found.tokens):,} samples, {found.images:,} pictures, {len(found.failures):,} rows of what is left out"
    )
    print(f"{config.source.root}: {counts}; {folder / PAGE} ({size / 1e6:.1f} MB), {folder / ROWS}")


def _written(items: Iterable[Record | Failure], root: Path, file: IO[Any]) -> Iterator[Record | Failure]:
    """The same items; every record is a row of the file."""
    for item in items:
        if isinstance(item, Record):
            file.write(f"{json_text(sample_rows.write(item, root))}\n")
        yield item


def _row(failure: Failure) -> dict[str, str]:
    """What is known of a part before any request."""
    return {"id": failure.record_id, **{key: getattr(failure, key) for key in ("item", "stage", "error", "message")}}


def _from_root(folder: Path, root: Path) -> str:
    """The `samples` file as `source.files` names it."""
    return Path(os.path.relpath(folder / ROWS, root)).as_posix()
