"""The records of a source → what a build would make of them: figures of all, some of them whole, and what is left out.

Images are fetched and checked by the build's own step, several samples at once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from imageref_ray.batch.worker import Row
from imageref_ray.commands.annotation.passes import verify
from imageref_ray.core import tokens
from imageref_ray.core.config import BuildConfig
from imageref_ray.core.records import Failure, Record, from_row, to_row
from imageref_ray.core.subset import choose


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample as its source gives it, its usable images after the check, and the failures of its parts."""

    record: Record
    checked: Record
    failures: tuple[Failure, ...]


@dataclass(slots=True)
class Survey:
    """`tokens` (estimated) and `pictures` are numbers per usable sample; `shown` is in the source's order."""

    tokens: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)

    @property
    def images(self) -> int:
        return sum(self.pictures)


def survey(items: Iterable[Record | Failure], config: BuildConfig, samples: int, seed: int) -> Survey:
    """Read all items; at most `samples` of the samples are kept whole, chosen by `seed`."""
    found = Survey()

    def counted() -> Iterator[tuple[int, Shown]]:
        for number, item in enumerate(_checked(items, config)):
            if isinstance(item, Failure):
                found.failures.append(item)
                continue
            found.failures += item.failures
            if all(failure.item for failure in item.failures):
                documents = item.checked.sample.documents
                found.tokens.append(sum(tokens.estimate(document.text) for document in documents))
                found.pictures.append(len(item.checked.sample.images))
            yield number, item

    chosen = choose(counted(), max(samples, 1), seed, lambda pair: pair[1].record.id)  # at least one: all must be read
    found.shown = [item for _, item in sorted(chosen[:samples], key=lambda pair: pair[0])]
    return found


def _checked(items: Iterable[Record | Failure], config: BuildConfig) -> Iterator[Shown | Failure]:
    """The items in their order, each sample with its images checked."""
    check = partial(_check, config=config)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Shown] | Failure] = deque()
        for item in items:
            waiting.append(item if isinstance(item, Failure) else pool.submit(check, item))
            if len(waiting) > 4 * threads:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


def _result(item: Future[Shown] | Failure) -> Shown | Failure:
    return item if isinstance(item, Failure) else item.result()


def _check(record: Record, config: BuildConfig) -> Shown:
    given: Row = {"id": record.id, "record": to_row(record)}
    row, failures = verify(given, config.source, config.output / "images", config.max_images)
    return Shown(record, from_row(Record, row["record"]), failures)
