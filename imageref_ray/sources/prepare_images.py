"""The images of one sample: fetched, verified, filtered, near duplicates removed; a failure for each unusable one.

    address ─fetch─▶ file ─decode─▶ pixels ─filter─▶ near duplicate? ─no──▶ `Document.images`
                                                            └─────────yes─▶ `Document.duplicates`

The step runs on a CPU before the engine. It never raises for an image; a sample may end up without any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imageref_ray.core.config.source import FetchConfig, SourceConfig
from imageref_ray.core.images import DecodedImage, Problem, decode
from imageref_ray.core.records import Document, Duplicate, Failure, Image, Sample
from imageref_ray.sources import image_filters
from imageref_ray.sources.fetch import fetch, is_local


class _Usable(NamedTuple):
    """A usable image; `features` is None if near duplicates are not filtered."""

    image: Image
    features: image_filters.Features | None


class Rejected(NamedTuple):
    """An image that cannot be used, and the stage that found out."""

    stage: str
    problem: Problem


def prepare_images(sample: Sample, source: SourceConfig, folder: Path) -> tuple[Sample, tuple[Failure, ...]]:
    """`sample` with its usable images as verified local files, and a failure for each of the others.

    Downloads go to `folder`; their paths in the sample are absolute, and `origin` is the address. A near duplicate
    moves from `images` to `duplicates`; its marker stays in the text but refers to no image.
    """
    images = sample.images
    prepare = partial(_prepare, source=source, folder=folder.absolute())
    if all(is_local(image.uri) for image in images):
        results = [prepare(image) for image in images]
    else:
        with ThreadPoolExecutor(source.fetch.parallel) as pool:
            results = list(pool.map(prepare, images))
    usable = {image.id: result for image, result in zip(images, results, strict=True) if isinstance(result, _Usable)}
    failures = [
        Failure(sample.id, result.stage, result.problem.error, result.problem.message, item=image.id)
        for image, result in zip(images, results, strict=True)
        if isinstance(result, Rejected)
    ]
    duplicates = _near_duplicates(usable, source.filters.near_duplicates)
    failures += [
        Failure(sample.id, image_filters.STAGE, "NearDuplicate", f"{copy} is a near duplicate of {of}", item=copy)
        for copy, of in duplicates.items()
    ]
    documents = tuple(_with_images(document, usable, duplicates) for document in sample.documents)
    return dataclasses.replace(sample, documents=documents), tuple(failures)


def prepare_image(
    image: Image, root: Path, folder: Path, fetching: FetchConfig, max_bytes: int, max_pixels: int
) -> DecodedImage | Rejected:
    """One image as a verified local file: a path under `root` or an allowed folder, or a download in `folder`.

    `origin` is the address that it was downloaded from, or the file that it was drawn from.
    """
    path = fetch(image.uri, root, folder, fetching, max_bytes)
    if isinstance(path, Problem):
        return Rejected("fetch", path)
    in_place = is_local(image.uri) and not path.is_relative_to(folder)
    origin = image.origin if in_place else image.uri
    decoded = decode(dataclasses.replace(image, uri=str(path), origin=origin), max_bytes, max_pixels)
    return Rejected("verify", decoded) if isinstance(decoded, Problem) else decoded


def _prepare(image: Image, source: SourceConfig, folder: Path) -> _Usable | Rejected:
    decoded = prepare_image(image, source.root, folder, source.fetch, source.max_image_bytes, source.max_image_pixels)
    if isinstance(decoded, Rejected):
        return decoded
    if problem := image_filters.by_shape(decoded, source.filters):
        return Rejected(image_filters.STAGE, Problem(problem.error, f"{decoded.image.uri} {problem.message}"))
    compared = source.filters.near_duplicates is not None
    return _Usable(decoded.image, image_filters.features(decoded.pil_image) if compared else None)


def _near_duplicates(usable: Mapping[str, _Usable], bits: int | None) -> dict[str, str]:
    if bits is None:
        return {}
    compared = [(result.image, result.features) for result in usable.values() if result.features]
    return image_filters.near_duplicates(compared, bits)


def _with_images(document: Document, usable: Mapping[str, _Usable], duplicates: Mapping[str, str]) -> Document:
    images = [usable[image.id].image for image in document.images if image.id in usable]
    return dataclasses.replace(
        document,
        images=tuple(image for image in images if image.id not in duplicates),
        duplicates=tuple(Duplicate(image, duplicates[image.id]) for image in images if image.id in duplicates),
    )
