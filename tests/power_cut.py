"""What a power cut leaves: the changes in a folder are recorded, and every state that a disk might have kept is made.

A file's content is kept once the file is synced, its name once the folder is synced that it is in. What was not may be
there or not, in any order; of content nothing, half or all. Renames are whole. No disk is less careful than that.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PACKAGE, DURABLE = "imageref_ray", "imageref_ray.core.durable"
CALLS = ("mkdir", "replace", "rename", "rmdir", "unlink", "fsync")
"""Functions of `os` after which the folder is looked at: between two looks, whatever happened may have been kept."""
WAITS = {"replacing": "name", "make_folder": "folder", "sync_tree": "tree", "remove": "removal"}
"""Function of `durable` that waits → what for."""

Tree = dict[str, bytes | None]
"""Path → content; None: a folder."""
Change = dict[tuple[int, str], int | None]
"""What became of names (folder's number, name) → number; None: gone. It happens as a whole or not at all."""
State = tuple[Any, frozenset[tuple[str, bytes | None]]]


class Look(NamedTuple):
    """What is there at a moment and what has been promised by then.

    `names`: folder's number → its names and their numbers; `content`: file's number → content.
    """

    names: dict[int, dict[str, int]]
    content: dict[int, bytes]
    told: Any


class Sync(NamedTuple):
    """A wait for the disk: for the file or folder of that number, at that place in the code."""

    number: int
    site: str


class Disk:
    """What happens in `root`, look by look; `told` is asked at each for what has been promised."""

    def __init__(self, root: Path, told: Callable[[], Any]) -> None:
        self._root, self._told = root, told
        self._open: dict[int, int] = {}  # descriptors by number: a number is not used again while one is open
        self.events: list[Look | Sync] = []
        self.look()

    def look(self) -> None:
        """Something may have happened."""
        look = Look({}, {}, self._told())
        for root, folders, names in os.walk(self._root):
            here = {name: self._number(Path(root, name)) for name in (*folders, *names)}
            look.names[self._number(Path(root))] = here
            look.content.update({here[name]: Path(root, name).read_bytes() for name in names})
        self.events.append(look)

    def sites(self) -> set[str]:
        """Every place that waits for the disk."""
        return {event.site for event in self.events if isinstance(event, Sync)}

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def _number(self, path: Path) -> int:
        number = path.stat().st_ino
        if number not in self._open:
            self._open[number] = os.open(path, os.O_RDONLY)
        return number


@contextmanager
def recording(root: Path, told: Callable[[], Any]) -> Iterator[Disk]:
    """The disk under `root` while the block runs. Nothing waits for the real one."""
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(root, told)

        def watched(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(*given: Any, **more: Any) -> Any:
                if name != "fsync":
                    done = real(*given, **more)
                    disk.look()
                    return done
                disk.look()
                disk.events.append(Sync(os.fstat(given[0]).st_ino, _site()))
                return None

            return call

        for name in CALLS:
            patch.setattr(os, name, watched(name))
        try:
            yield disk
        finally:
            disk.look()
            disk.close()


def _site() -> str:
    """For which function of the product the code waits for the disk, and for what."""
    frame, inside = sys._getframe(1), list[str]()
    while frame := frame.f_back:  # type: ignore[assignment]
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module == DURABLE:
            inside.append(name)
        elif module.startswith(PACKAGE) and name not in ("write_json", "write_jsonl"):
            break
    what = "content" if inside[0] == "replacing" else WAITS.get("".join(inside[1:2]), "itself")
    return f"{module.rpartition('.')[2]}.{name}: {what}"


def states(disk: Disk, without: str = "") -> dict[State, Tree]:
    """Every state that a power cut at any moment might leave; of a code that does not wait at the site `without`."""
    kept = _Kept(disk)
    for event in disk.events:
        if isinstance(event, Look):
            kept.look(event)
        elif event.site != without:
            kept.sync(event.number)
    return kept.states


class _Kept:
    """What the disk has kept for sure, and what it may have kept."""

    def __init__(self, disk: Disk) -> None:
        first = disk.events[0]
        assert isinstance(first, Look)
        self.states: dict[State, Tree] = {}
        self._root, self._now = next(iter(first.names)), first
        self._names = {number: dict(names) for number, names in first.names.items()}
        self._synced, self._last = dict(first.content), dict(first.content)
        self._pending: list[Change] = []

    def look(self, now: Look) -> None:
        self._pending += _changes(self._now, now)
        self._now = now
        self._last |= now.content
        for applied in self._subsets():
            for part in (0.0, 0.5, 1.0):
                tree = self._tree(applied, part)
                self.states.setdefault((now.told, frozenset(tree.items())), tree)

    def sync(self, number: int) -> None:
        if number in self._now.content:
            self._synced[number] = self._now.content[number]
        for change in [one for one in self._pending if any(folder == number for folder, _ in one)]:
            _apply(self._names, change)
            self._pending.remove(change)

    def _subsets(self) -> Iterator[list[Change]]:
        """Which of the pending changes were kept: none, all, one alone, all but one."""
        yield []
        yield self._pending
        for one in self._pending:
            yield [one]
            yield [other for other in self._pending if other is not one]

    def _tree(self, applied: list[Change], part: float) -> Tree:
        names = {number: dict(held) for number, held in self._names.items()} if applied else self._names
        for change in applied:
            _apply(names, change)
        tree: Tree = {}
        self._fill(tree, names, self._root, "", part)
        return tree

    def _fill(self, tree: Tree, names: dict[int, dict[str, int]], folder: int, prefix: str, part: float) -> None:
        for name, number in names.get(folder, {}).items():
            content = self._last.get(number)
            if content is None:
                tree[prefix + name] = None
                self._fill(tree, names, number, f"{prefix}{name}/", part)
            else:
                synced = self._synced.get(number) == content
                tree[prefix + name] = content if synced else content[: int(part * len(content))]


def _changes(before: Look, now: Look) -> Iterator[Change]:
    """What became of the names: a file that has moved left one place and came to the other in one change."""
    old = {(folder, name): number for folder, names in before.names.items() for name, number in names.items()}
    new = {(folder, name): number for folder, names in now.names.items() for name, number in names.items()}
    left = {number: place for place, number in old.items() if place not in new}
    for place, number in new.items():
        if old.get(place) != number:
            yield {place: number, **({left.pop(number): None} if number in left else {})}
    for place in left.values():
        yield {place: None}


def _apply(names: dict[int, dict[str, int]], change: Change) -> None:
    for (folder, name), number in change.items():
        held = names.setdefault(folder, {})
        if number is None:
            held.pop(name, None)
        else:
            held[name] = number


class Place:
    """A folder that is made to hold one tree after another; what two of them share is not written again."""

    def __init__(self, root: Path) -> None:
        self._root, self._tree = root, Tree()

    def hold(self, tree: Tree) -> None:
        for name in [name for name in self._tree if self._tree[name] != tree.get(name, b"\0")][::-1]:
            path = self._root / name
            path.rmdir() if self._tree[name] is None else path.unlink()
        for name in [name for name in tree if tree[name] != self._tree.get(name, b"\0")]:
            content, path = tree[name], self._root / name
            path.mkdir() if content is None else path.write_bytes(content)
        self._tree = tree
