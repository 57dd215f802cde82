"""Where samples come from: a `SourceConfig` in, records and failures out. A reader is imported when it is needed.

    paper.py    events and news (the ImageRef-VL layout)          ┐
    samples.py  JSONL and Parquet files                           ├─▶ `Record` with its sample (and response, if given)
    folder.py   pages: HTML, Markdown, PDF, … (page_formats.py)   ┘    or `Failure`

Images are fetched in a later step, on the machines that build: prepare_images.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.config.source import SourceConfig
from imageref_ray.core.files import require_file
from imageref_ray.core.records import Failure, Record, from_row, to_row
from imageref_ray.core.text import repaired


def read(source: SourceConfig) -> Iterator[Record | Failure]:
    """Every sample of a source as a record (with `response` if the source gives one), each after the failures of
    its parts. Raises ConfigError if the source cannot be read at all."""
    if source.kind == "samples":
        from imageref_ray.sources import samples

        yield from map(_as_text, samples.read(source.root, files(source), source.filters, source.limit))
        return
    from imageref_ray.sources import folder, paper, paper_choice
    from imageref_ray.sources.pages import page_files

    if source.kind == "folder":
        files(source)
        items = folder.read(page_files.find(source.root, source.pages), source)
    else:
        items = paper.read(source.root, source.events, source.limit, paper_choice.read_choice(source))
    for item in items:
        yield _as_text(item if isinstance(item, Failure) else Record(item))


def _as_text(item: Record | Failure) -> Record | Failure:
    """The item with nothing but text in it: file and folder names need not be, nor what pages hold."""
    return from_row(type(item), repaired(to_row(item)))


def files(source: SourceConfig) -> list[Path]:
    """The files that list the samples. Raises ConfigError if there is none."""
    if not source.root.is_dir():
        raise ConfigError(f"{source.root} is not a folder; set source.root to the folder with the data")
    if source.kind == "samples":
        from imageref_ray.sources import samples

        return samples.files(source.root, source.files)
    if source.kind == "folder":
        from imageref_ray.sources.pages import page_files

        return list(page_files.find(source.root, source.pages).pages)
    return [source.root / source.events]


def identity(source: SourceConfig) -> str:
    """A hash of the names (relative to root) and contents of `files`, and of the contents of the lists that choose
    among their samples; 16 hexadecimal digits. Raises ConfigError."""
    from imageref_ray.batch.manifest import content_identity

    digest = hashlib.sha256()
    for path in files(source):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; set source.root and source.events to the data")
        digest.update(f"{path.relative_to(source.root).as_posix()}\0{content_identity(path)}\0".encode())
    for key, file in (("labels", source.labels), ("exclude", source.exclude)):
        if file:
            require_file(file, f"source.{key}, or remove it")
            digest.update(f"{key}\0{content_identity(file)}\0".encode())
    return digest.hexdigest()[:16]
