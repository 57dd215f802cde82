"""The pictures of one sample: fetched, verified, filtered, near copies taken out; each that falls out is named.

    address ─fetch─▶ file ─see─▶ pixels ─▶ good enough? ─▶ like another one? ─▶ `Document.images`
                                                                  └────────────▶ `Document.duplicates`

The step runs on a CPU before the engine. It never raises for a picture; a sample may be left without any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imageref_ray.core.config.source import SourceConfig
from imageref_ray.core.images import Problem, decode
from imageref_ray.core.records import Document, Duplicate, Failure, Image, Sample
from imageref_ray.sources import image_filters
from imageref_ray.sources.fetch import fetch, is_local


class _Kept(NamedTuple):
    """A picture that may stay; `look` is set where pictures are compared."""

    image: Image
    look: image_filters.Look | None


class _Lost(NamedTuple):
    """A picture that fell out at a stage."""

    stage: str
    problem: Problem


def gather(sample: Sample, source: SourceConfig, folder: Path) -> tuple[Sample, tuple[Failure, ...]]:
    """`sample` with its usable pictures as verified local files, and a failure for each of the others.

    `folder` keeps what is fetched; its paths in the sample are absolute, and `origin` then holds the address. A near
    copy leaves `images` for `duplicates`; its marker stays in the text, where it names nothing.
    """
    images = sample.images
    one = partial(_one, source=source, folder=folder.absolute())
    if all(is_local(image.uri) for image in images):
        found = [one(image) for image in images]
    else:
        with ThreadPoolExecutor(source.fetch.parallel) as pool:
            found = list(pool.map(one, images))
    kept = {image.id: result for image, result in zip(images, found, strict=True) if isinstance(result, _Kept)}
    failures = [
        Failure(sample.id, result.stage, result.problem.error, result.problem.message, item=image.id)
        for image, result in zip(images, found, strict=True)
        if isinstance(result, _Lost)
    ]
    copies = _copies(kept, source.filters.near_duplicates)
    failures += [
        Failure(sample.id, image_filters.STAGE, "NearDuplicate", f"{copy} shows the same as {of}", item=copy)
        for copy, of in copies.items()
    ]
    documents = tuple(_with_pictures(document, kept, copies) for document in sample.documents)
    return dataclasses.replace(sample, documents=documents), tuple(failures)


def _one(image: Image, source: SourceConfig, folder: Path) -> _Kept | _Lost:
    path = fetch(image.uri, source.root, folder, source.fetch, source.max_image_bytes)
    if isinstance(path, Problem):
        return _Lost("fetch", path)
    origin = image.origin if is_local(image.uri) else image.uri
    decoded = decode(
        dataclasses.replace(image, uri=str(path), origin=origin), source.max_image_bytes, source.max_image_pixels
    )
    if isinstance(decoded, Problem):
        return _Lost("verify", decoded)
    if problem := image_filters.by_shape(decoded, source.filters):
        return _Lost(image_filters.STAGE, Problem(problem.error, f"{path} {problem.message}"))
    compared = source.filters.near_duplicates is not None
    return _Kept(decoded.image, image_filters.look(decoded.pil_image) if compared else None)


def _copies(kept: Mapping[str, _Kept], bits: int | None) -> dict[str, str]:
    if bits is None:
        return {}
    return image_filters.near_copies([(one.image, one.look) for one in kept.values() if one.look], bits)


def _with_pictures(document: Document, kept: Mapping[str, _Kept], copies: Mapping[str, str]) -> Document:
    good = [kept[image.id].image for image in document.images if image.id in kept]
    return dataclasses.replace(
        document,
        images=tuple(image for image in good if image.id not in copies),
        duplicates=tuple(Duplicate(image, copies[image.id]) for image in good if image.id in copies),
    )
