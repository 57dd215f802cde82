"""What became of all instructions of a run, by task: counted while its rows are read, none is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imageref_ray.core.records import Instruction, from_row

ENDED = {
    "end": "the answer ended",
    "steps": "as many units as asked for",
    "length": "token limit",
    "repeats": "a unit repeated an earlier one",
}
"""Why a correction ended (`Instruction.ended`) → in words."""


@dataclass(slots=True)
class TaskTally:
    """One task's instructions: `usable` ones, why others are not (what a message says before its colon, with an
    example of the rest), units by action, probabilities before and after.

    `as_drafted` are usable answers whose text is the draft's, `answered` those that were corrected at all.
    """

    usable: int = 0
    answered: int = 0
    as_drafted: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    units: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def add(self, item: Instruction) -> None:
        """Count one instruction."""
        if item.problem:
            kind, _, example = item.problem.partition(": ")
            self.problems[kind] += 1
            self.examples.setdefault(kind, example)
            return
        self.usable += 1
        if item.ended:
            self.answered += 1
            self.as_drafted += item.corrected.strip() == item.draft.strip()
            self.ended[item.ended] += 1
        for unit in item.units:
            self.units[unit.action] += 1
            if unit.before is not None:
                self.before.append(unit.before)
            if unit.after is not None:
                self.after.append(unit.after)


@dataclass(slots=True)
class Tally:
    """All instructions by task; `unreadable` rows hold something else."""

    tasks: dict[str, TaskTally] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count the instructions of one result; the rows of other jobs have none."""
        if "instructions" not in row:
            return
        items = read_instructions(row)
        self.unreadable += items is None
        for item in items or ():
            self.tasks.setdefault(str(item.task), TaskTally()).add(item)

    @property
    def usable(self) -> int:
        return sum(task.usable for task in self.tasks.values())

    @property
    def unusable(self) -> int:
        return sum(task.problems.total() for task in self.tasks.values())

    @property
    def units(self) -> Counter[str]:
        return sum((task.units for task in self.tasks.values()), Counter[str]())


def read_instructions(row: Mapping[str, Any]) -> list[Instruction] | None:
    """The instructions of a result; None where the row holds something else."""
    try:
        items = [from_row(Instruction, item) for item in row["instructions"]]
        texts = (
            text for item in items for text in (item.draft, item.corrected, *(unit.corrected for unit in item.units))
        )
        return items if all(isinstance(text, str) for text in texts) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
