"""The records of a source → what their costs depend on, known before any model runs: the `Part`s of an estimate.

every record ─ known ─▶ Known ─┬─ own_part ────▶ what is asked for each record alone
      │                        └─ shared_part ─▶ descriptions and captions, which are asked for once
a few of them, at random ─ look_into ─▶ their usable images: exact for them, and how many of the others' will not be
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from imageref_ray.batch.budget import Cost
from imageref_ray.commands.cost_estimator import Part
from imageref_ray.commands.picture_losses import Loss, loss
from imageref_ray.core.config import BuildConfig
from imageref_ray.core.records import MARKER, Failure, Image, Record, Sample
from imageref_ray.sources.fetch import is_local
from imageref_ray.sources.prepare_images import prepare_images

LOOKED_INTO, MOST_PIXELS = 400, 2_000_000_000
"""Records whose images are opened for a plan, and the pixels after which no more are: a minute's work, at most."""

ENDS = 4096
"""Bytes at either end of a file by which copies are known: a plan of a large corpus does not read all of it."""

NO_NAMES: Mapping[str, int] = MappingProxyType({})

Kind = Literal["opened", "local", "fetched"]
"""Whether a record's images were opened; else whether all of them are files on this machine."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a record before any model runs: what its own requests depend on (its images, the characters of
    its texts), and its shared requests, as (a key that equal ones have, the characters that it reads). Until its images
    were opened, some of them may prove unusable."""

    own: tuple[float, ...]
    shared: tuple[tuple[int, float], ...] = ()
    kind: Kind = "opened"


@dataclass
class Population:
    """The records of a source as they are read: how many there are, what is known of those that will be annotated, and
    how many will be left out, because no image or more than `max_images` are usable, or they cannot be read (by error).

    `opened`: of the records of a kind whose images were opened at random, the share of images that cannot be used.
    `names`: what copies of one image have in common, by address.
    """

    total: int = 0
    left_out: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    known: dict[str, Known] = field(default_factory=dict)
    opened: dict[Kind, list[float]] = field(default_factory=lambda: {"local": [], "fetched": []})
    names: dict[str, int] = field(default_factory=dict)

    def usable(self, items: Iterable[Record | Failure], config: BuildConfig) -> Iterator[Record]:
        """The records that will be annotated. Those that list too many images are verified as the build will do it."""
        for item in items:
            if isinstance(item, Failure):
                self.unreadable[item.error] += 1
                continue
            self.total += 1
            sample, kind = item.sample, _kind(item.sample)
            if len(sample.images) > config.max_images:
                (sample, _), kind = prepare_images(sample, config.source, config.output / "images"), "opened"
            if len(sample.images) > config.max_images:
                self.left_out += 1
                continue
            self.known[item.id] = self._known(sample, kind)
            yield item

    def look_into(self, chosen: Sequence[Record], count: int, config: BuildConfig, folder: Path) -> list[Record]:
        """Open the images of the records `chosen` at random, in their order; the first `count` that will be annotated.

        Until these are found, images are fetched, to `folder`; then only records are opened whose images need not be.
        """
        found: list[Record] = []
        pixels = 0
        for record in chosen:
            if len(found) >= count and (pixels > MOST_PIXELS or self.known[record.id].kind != "local"):
                continue
            sample = self._open(record, config, folder)
            pixels += sum(image.width * image.height for image in sample.images)
            found += [record] * (record.id in self.known)
        return found[:count]

    def _open(self, record: Record, config: BuildConfig, folder: Path) -> Sample:
        """The record's sample with the images that can be used, which is known exactly then."""
        kind = self.known[record.id].kind
        sample, _ = prepare_images(record.sample, config.source, folder)
        if kind != "opened":
            self.opened[kind].append(1 - len(sample.images) / max(len(record.sample.images), 1))
        if sample.images:
            self.known[record.id] = self._known(sample)
        else:
            del self.known[record.id]
            self.left_out += 1
        return sample

    def _known(self, sample: Sample, kind: Kind = "opened") -> Known:
        for address in map(_address, sample.images):
            if address not in self.names:
                self.names[address] = content_name(address)
        return known(sample, kind, self.names)

    def losses(self) -> dict[str, Loss]:
        """What the records of each kind that nobody opened lose by unusable images."""
        unopened = Counter(one.kind for one in self.known.values())
        return {kind: loss(shares, unopened[kind]) for kind, shares in self.opened.items()}


def _kind(sample: Sample) -> Kind:
    return "local" if all(is_local(image.uri) for image in sample.images) else "fetched"


def _address(image: Image) -> str:
    return image.origin or image.uri


def content_name(address: str) -> int:
    """A number that copies of a file have in common, from its size, beginning and end; of any other address its own."""
    digest = hashlib.sha256(address.encode("utf-8", "surrogatepass"))
    try:
        with open(address, "rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(ENDS)
            file.seek(max(size - ENDS, 0))
            digest = hashlib.sha256(b"%d\0" % size + head + file.read(ENDS))
    except (OSError, ValueError):
        pass
    return int.from_bytes(digest.digest()[:8])


def known(sample: Sample, kind: Kind = "opened", names: Mapping[str, int] = NO_NAMES) -> Known:
    """What is known of a record. Its shared requests describe each image, and caption each in its document; an image
    is known by its name among `names`, else by its address."""
    lengths = [len(d.title) + len(MARKER.sub("", d.text)) for d in sample.documents]
    shared: list[tuple[int, float]] = []
    for document, length in zip(sample.documents, lengths, strict=True):
        for image in document.images:
            name = names.get(_address(image), _address(image))
            seen_in = hash((document.title, document.text, name, image.words))
            shared += [(hash(name), 0.0), (seen_in, float(length))]
    return Known((float(len(sample.images)), float(len(sample.instruction) + sum(lengths))), tuple(shared), kind)


def own_part(records: Mapping[str, Known], costs: Mapping[str, Cost], done: Collection[str]) -> Part:
    """What is asked for each record alone. `costs` are those of the measured records, `done` those that are paid."""
    order = sorted(costs)
    x = np.array([records[id].own for id in order], dtype=np.float64)
    left = _left(records, costs, done)
    rest = [records[id].own for id in left]
    due = np.array([float(id not in done) for id in order])
    table = np.array(rest, dtype=np.float64).reshape(len(rest), x.shape[1])
    return Part(x, [costs[id] for id in order], due, x * due[:, None], table, kinds=[records[id].kind for id in left])


def shared_part(records: Mapping[str, Known], costs: Mapping[str, Cost], done: Collection[str]) -> Part:
    """The requests that records share, each at the first that asks: their number, and the characters they read."""
    order = sorted(costs)
    # Whoever asked first has paid, and that is not known of a record in flight beside others: those who paid go first.
    payers = sorted(costs, key=lambda id: (-costs[id].usage.requests / max(len(records[id].shared), 1), id))
    seen: set[int] = set()
    x = {id: _new(records[id], seen) for id in payers}
    seen = {key for id in done if id in records for key, _ in records[id].shared}
    due_x = {id: (0.0, 0.0) if id in done else _new(records[id], seen) for id in payers}
    left = _left(records, costs, done)
    rest = [_new(records[id], seen) for id in left]
    return Part(
        x=np.array([x[id] for id in order]),
        cost=[costs[id] for id in order],
        due=np.array([float(id not in done) for id in order]),
        due_x=np.array([due_x[id] for id in order]),
        rest=np.array(rest, dtype=np.float64).reshape(len(rest), 2),
        intercept=False,
        kinds=[records[id].kind for id in left],
    )


def _left(records: Mapping[str, Known], costs: Mapping[str, Cost], done: Collection[str]) -> list[str]:
    """The records that are neither measured nor paid, in order."""
    return [id for id in sorted(records) if id not in costs and id not in done]


def _new(record: Known, seen: set[int]) -> tuple[float, float]:
    """How many of the record's shared requests nobody has asked before, and what they read; they are `seen` then."""
    new = {key: length for key, length in record.shared if key not in seen}
    seen.update(new)
    return float(len(new)), sum(new.values())
