"""What unit tests share: folders are listed in another order each time, and no model's library is loaded."""

import os
import random
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import pytest


class _Entries:
    """What `os.scandir` gives, in a given order."""

    def __init__(self, found: list[os.DirEntry[Any]]) -> None:
        self._left = iter(found)

    def __iter__(self) -> Iterator[os.DirEntry[Any]]:
        return self._left

    def __next__(self) -> os.DirEntry[Any]:
        return next(self._left)

    def __enter__(self) -> "_Entries":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._left = iter(())


HEAVY = ("torch", "transformers", "vllm", "deepspeed")


@pytest.fixture(autouse=True, scope="module")
def no_heavy_library() -> Iterator[None]:
    """Each costs every process of `make unit` seconds: a file that needs one is in tests/train or tests/ray."""
    before = {name for name in HEAVY if name in sys.modules}
    yield
    assert {name for name in HEAVY if name in sys.modules} == before


@pytest.fixture(autouse=True)
def folders_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rests on the order in which a file system lists a folder shows here, and on every machine alike."""
    listdir, scandir, rng = os.listdir, os.scandir, random.Random(0)

    def names(*place: Any) -> list[Any]:
        found = sorted(listdir(*place))
        return rng.sample(found, len(found))

    def entries(*place: Any) -> _Entries:
        with scandir(*place) as opened:
            found = sorted(opened, key=lambda entry: os.fsencode(entry.name))
        return _Entries(rng.sample(found, len(found)))

    monkeypatch.setattr(os, "listdir", names)
    monkeypatch.setattr(os, "scandir", entries)
