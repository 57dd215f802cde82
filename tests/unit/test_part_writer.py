"""Parts are written when they are full, old, or the last; whoever waits for one hears how its write ended."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.batch import attempts
from imageref_ray.batch.part_writer import PartWriter
from imageref_ray.batch.store import RECORDS, Result, Store, failures, results
from imageref_ray.core.records import Failure
from imageref_ray.engines.base import EngineError


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scenario, 60))


def parts(directory: Path) -> int:
    return len(list((directory / RECORDS).glob("part-*")))


def put(writer: PartWriter, *numbers: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(writer.put(Result(f"r{n}", {"n": n}), [])) for n in numbers]


def test_a_full_part_is_written_while_more_records_are_expected(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = PartWriter(Store(tmp_path), records=2, seconds=60)
        writer.expect(4)
        first = put(writer, 0, 1, 2)
        await asyncio.gather(*first[:2])
        assert (parts(tmp_path), first[2].done()) == (1, False)
        await asyncio.gather(first[2], *put(writer, 3))
        assert await writer.done() == {"r0", "r1", "r2", "r3"}

    run(scenario())
    assert parts(tmp_path) == 2


def test_a_part_is_written_when_it_has_been_open_long_enough(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = PartWriter(Store(tmp_path), records=100, seconds=0.05)
        writer.expect(2)
        await asyncio.gather(*put(writer, 0))
        assert await writer.done() == {"r0"}

    run(scenario())


@pytest.mark.parametrize("last", ["put", "skip"])
def test_the_last_expected_record_writes_what_is_open(tmp_path: Path, last: str) -> None:
    async def scenario() -> None:
        writer = PartWriter(Store(tmp_path), records=100, seconds=60)
        writer.expect(2)
        first = put(writer, 0)
        await asyncio.sleep(0)
        if last == "put":
            await writer.put(None, [Failure("r1", "work", "ValueError", "no")])
        else:
            writer.skip()
        await asyncio.gather(*first)

    run(scenario())
    assert [result.id for result in results(tmp_path)] == ["r0"]
    assert [failure.record_id for failure in failures(tmp_path)] == (["r1"] if last == "put" else [])


def test_a_failed_write_raises_for_everyone_who_waits_and_is_remembered(tmp_path: Path) -> None:
    old = attempts.begin(tmp_path)
    attempts.begin(tmp_path)

    async def scenario() -> list[Any]:
        writer = PartWriter(Store(tmp_path, old), records=3, seconds=60)
        writer.expect(3)
        ended = await asyncio.gather(*put(writer, 0, 1, 2), return_exceptions=True)
        assert writer.failed
        return ended

    for error in run(scenario()):
        assert isinstance(error, EngineError) and "attempt 1" in str(error)
    assert parts(tmp_path) == 0


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / RECORDS).write_text("a file where the folder should be")

    async def scenario() -> None:
        writer = PartWriter(Store(tmp_path), records=1, seconds=60)
        writer.expect(1)
        await asyncio.gather(*put(writer, 0))

    with pytest.raises(EngineError, match=rf"^results cannot be written to {tmp_path}: \[Errno"):
        run(scenario())


def test_a_cancelled_write_cancels_everyone_who_waits(tmp_path: Path) -> None:
    asked, over = threading.Event(), threading.Event()

    class Slow(Store):
        def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
            asked.set()
            over.wait(30)

    async def scenario() -> None:
        writer = PartWriter(Slow(tmp_path), records=2, seconds=60)
        writer.expect(2)
        waiting = put(writer, 0, 1)
        known = asyncio.all_tasks()
        await asyncio.to_thread(asked.wait, 30)
        (write,) = asyncio.all_tasks() - known
        write.cancel()
        done, pending = await asyncio.wait(waiting, timeout=30)
        over.set()
        assert not pending and all(task.cancelled() for task in done)

    run(scenario())


def test_one_who_gives_up_waiting_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = PartWriter(Store(tmp_path), records=100, seconds=60)
        writer.expect(3)
        one, other = put(writer, 0, 1)
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        writer.skip()
        await other

    run(scenario())
    assert {result.id for result in results(tmp_path)} == {"r0", "r1"}
