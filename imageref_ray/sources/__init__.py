"""Where samples come from: a `SourceConfig` in, records and failures out. A kind's reader is loaded when it is read.

    paper.py    events and news (the ImageRef-VL layout)          ┐
    samples.py  JSONL and Parquet files                           ├─▶ `Record` with its sample (and a given response)
    folder.py   HTML and Markdown pages (html_page, main_content) ┘    or `Failure`

What a picture's address leads to is another step's work: prepare_images.py, on the machines that build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.config.source import SourceConfig
from imageref_ray.core.records import Failure, Record


def read(source: SourceConfig) -> Iterator[Record | Failure]:
    """Every sample of a source as a record (`response` is set where the source gives one), each after the failures
    of its parts. Raises ConfigError where nothing can be read at all."""
    if source.kind == "samples":
        from imageref_ray.sources import samples

        yield from samples.read(source.root, files(source), source.filters, source.limit)
        return
    from imageref_ray.sources import folder, paper

    if source.kind == "folder":
        found = folder.read(source.root, files(source), source.group, source.limit)
    else:
        found = paper.read(source.root, source.events, source.limit)
    for item in found:
        yield item if isinstance(item, Failure) else Record(item)


def files(source: SourceConfig) -> list[Path]:
    """The files that decide which samples there are. Raises ConfigError where there is none."""
    if not source.root.is_dir():
        raise ConfigError(f"{source.root} is no folder; set source.root to the one that holds the data")
    if source.kind == "samples":
        from imageref_ray.sources import samples

        return samples.files(source.root, source.files)
    if source.kind == "folder":
        from imageref_ray.sources import folder

        return folder.pages(source.root, source.pages)
    return [source.root / source.events]


def identity(source: SourceConfig) -> str:
    """A hash of those files' names and contents: the same samples, wherever they lie (16 hexadecimal digits)."""
    from imageref_ray.batch.manifest import content_identity

    digest = hashlib.sha256()
    for path in files(source):
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; set source.root and source.events to the data's place")
        digest.update(f"{path.relative_to(source.root).as_posix()}\0{content_identity(path)}\0".encode())
    return digest.hexdigest()[:16]
