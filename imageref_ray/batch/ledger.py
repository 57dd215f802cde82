"""Who may begin a record under a budget: one ledger a pass, whichever engines and nodes run it.

    reserve ─┬─▶ begins, its likely cost set aside ─ work ─▶ settle: what it did cost ─▶ committed: off the ledger
             ├─▶ waits, while what records in flight leave over may be enough
             └─▶ is refused, and every later one: the budget is used up

A record is likely to cost what those before it did, in proportion to its weight; before any has ended, one runs alone.
So the limit is exceeded by what the records in flight cost more than that, never by records that began too late.

`<pass>/budget.sqlite` holds what is set aside or spent and not among the results yet. What is still there after a
crash, of an engine or of the whole run, was paid for all the same: it stays spent.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imageref_ray.batch import store
from imageref_ray.batch.budget import Budget
from imageref_ray.batch.sqlite_files import open_file, reporting
from imageref_ray.core.records import Usage, from_row, to_row

FILE, WHAT = "budget.sqlite", "the ledger of the budget"
TABLE = "ledger (row INTEGER PRIMARY KEY, id TEXT, tries INTEGER, usage TEXT, lost INTEGER DEFAULT 0)"


class Ledger(Protocol):
    """What a worker sees of a `SqliteLedger`, which lives in another process."""

    async def reserve(self, owner: str, id: str, tries: int, weight: float) -> bool: ...
    async def settle(self, id: str, usage: Usage) -> None: ...
    async def committed(self, id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """A record that was begun by `owner`, in row `row` of the file."""

    row: int
    owner: str
    weight: float
    likely: Usage


class SqliteLedger:
    """`spent` is what the pass cost before, `mean` what a record did (`mean_cost`). Its methods raise as
    `reporting` where the file fails."""

    def __init__(self, budget: Budget, directory: Path, spent: Usage, mean: float) -> None:
        self._budget, self._directory, self._mean = budget, directory, mean
        self._file = open_file(directory / FILE, WHAT, TABLE)
        self._spent = spent + lost(directory)
        self._began = budget.used(self._spent, directory)
        self._weight, self._usage = 0.0, Usage()
        self._running: dict[str, _Entry] = {}
        self._settled: dict[str, int] = {}
        self._changed = asyncio.Condition()
        self._refusal = ""

    async def reserve(self, owner: str, id: str, tries: int, weight: float) -> bool:
        """Whether the record may begin; waits until that is known. `owner` is who runs it: a record that comes again,
        from another one, shows that the first has crashed."""
        async with self._changed:
            if id in self._running:
                self._lose(self._running[id].owner)
            if id in self._settled:  # it has ended and was not committed: it is paid for twice
                self._run("UPDATE ledger SET lost = 1 WHERE row = ?", self._settled.pop(id))
            await self._changed.wait_for(lambda: self._decided(weight))
            if self._refusal:
                self._changed.notify_all()
                return False
            likely = _scaled(self._usage, weight / self._weight if self._weight else 0.0)
            row = self._run("INSERT INTO ledger (id, tries, usage) VALUES (?, ?, ?)", id, tries, _text(likely))
            self._running[id] = _Entry(row, owner, weight, likely)
            return True

    async def settle(self, id: str, usage: Usage) -> None:
        """The record's work has ended, whatever became of it, and did cost this."""
        async with self._changed:
            self._spent += usage
            entry = self._running.pop(id, None)  # None: it comes from an engine that was taken for dead
            if entry is not None:
                self._run("UPDATE ledger SET usage = ? WHERE row = ?", _text(usage), entry.row)
                self._settled[id] = entry.row
                if usage.requests:  # one answered from the cache does not tell what others cost
                    self._weight += entry.weight
                    self._usage += usage
            self._changed.notify_all()

    async def committed(self, id: str) -> None:
        """The record is among the results or failures on disk, with its cost."""
        if id in self._settled:
            self._run("DELETE FROM ledger WHERE row = ?", self._settled.pop(id))

    def refusal(self) -> str:
        """Why records are refused, or "" as long as none was."""
        return self._refusal

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _decided(self, weight: float) -> bool:
        """Whether a record of this weight may begin, or is refused (`_refusal`); False: it has to wait."""
        if self._refusal:
            return True
        used = self._budget.used(self._spent, self._directory)
        running = sum(entry.weight for entry in self._running.values())
        known = self._weight > 0
        each = (used - self._began) / self._weight if known else 0.0
        refusal = self._budget.refusal(used + each * running, each * weight if known else self._mean)
        if not self._running or used >= self._budget.amount:
            self._refusal = refusal
            return True
        return known and not refusal

    def _lose(self, owner: str) -> None:
        """The owner has crashed: what its records were likely to cost counts as spent."""
        for id, entry in list(self._running.items()):
            if entry.owner == owner:
                self._run("UPDATE ledger SET lost = 1 WHERE row = ?", entry.row)
                self._spent += entry.likely
                del self._running[id]
        self._changed.notify_all()

    def _run(self, statement: str, *values: object) -> int:
        with reporting(self._directory / FILE, WHAT):
            return self._file.execute(statement, values).lastrowid or 0


def take_over(directory: Path, account: store.Account) -> None:
    """Begin an attempt: what the last one left on the ledger, and no result or failure tells of, stays spent."""
    path = directory / FILE
    if not path.is_file():
        return
    tries = store.tries(account.failures)
    with reporting(path, WHAT), closing(open_file(path, WHAT, TABLE)) as file:
        left = file.execute("SELECT row, id, tries FROM ledger WHERE NOT lost").fetchall()
        told = [(row,) for row, id, tried in left if id in account.done or tries.get(id, 0) >= tried]
        file.executemany("DELETE FROM ledger WHERE row = ?", told)
        file.execute("UPDATE ledger SET lost = 1")


def lost(directory: Path) -> Usage:
    """What a pass has paid for records that a crash cut short, as far as that can be told."""
    path = directory / FILE
    if not path.is_file():
        return Usage()
    with reporting(path, WHAT), closing(open_file(path, WHAT, TABLE)) as file:
        rows = file.execute("SELECT usage FROM ledger WHERE lost").fetchall()
    return sum((from_row(Usage, json.loads(usage)) for (usage,) in rows), Usage())


def mean_cost(budget: Budget, directory: Path, account: store.Account) -> float:
    """What a record of the pass cost up to now, in the budget's unit; 0 before the first has ended."""
    records = len(account.done) + len(store.tries(account.failures))
    total = budget.used(account.spent, directory) - budget.used(Usage(), directory)
    return total / records if records else 0.0


def _text(usage: Usage) -> str:
    return json.dumps(to_row(usage))


def _scaled(usage: Usage, factor: float) -> Usage:
    return Usage(**{name: round(factor * count) for name, count in to_row(usage).items()})
