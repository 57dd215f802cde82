"""The rows of a pass on disk: all of them, in batches, the heaviest at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.batch import work_queue


def rows(*weights: int) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "row": json.dumps({"w": weight, "text": "Ü\n"})} for n, weight in enumerate(weights)]


def unweighed(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], float | None]]:
    return [(row, None) for row in rows]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 16])
def test_every_row_is_read_once(tmp_path: Path, count: int) -> None:
    written = rows(*range(count))
    work = work_queue.write(tmp_path, unweighed(written), 8)
    read = [row for batch in range(work.batches) for row in work_queue.read(work, batch)]
    assert (work.count, work.batches, work.heaviest) == (count, -(-count // 8), "")
    assert sorted(read, key=lambda row: int(row["id"][1:])) == written


def test_the_heaviest_row_is_in_the_first_batch(tmp_path: Path) -> None:
    work = work_queue.write(tmp_path, zip(rows(3, 9, 1, 9, 2), (3, 9, 1, 9, 2), strict=True), 2)
    assert work.heaviest == "r1"
    assert "r1" in [row["id"] for row in work_queue.read(work, 0)]
    assert sorted(row["id"] for batch in range(3) for row in work_queue.read(work, batch)) == [
        "r0",
        "r1",
        "r2",
        "r3",
        "r4",
    ]


def test_a_new_list_replaces_the_old_one(tmp_path: Path) -> None:
    work_queue.write(tmp_path, unweighed(rows(*range(9))), 2)
    work = work_queue.write(tmp_path, unweighed(rows(1)), 2)
    assert [row["id"] for row in work_queue.read(work, 0)] == ["r0"]
    work_queue.clear(tmp_path)
    assert not list(tmp_path.iterdir())
