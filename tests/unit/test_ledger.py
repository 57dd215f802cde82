"""A budget is kept whoever runs records, crashes or resumes: nothing begins that it has no room for."""

import asyncio
import os
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from imageref_ray.batch import attempts, ledger
from imageref_ray.batch.budget import Budget
from imageref_ray.batch.ledger import SqliteLedger, take_over
from imageref_ray.batch.store import Result, Store, account
from imageref_ray.batch.worker import Pass, Row, Worker, packed
from imageref_ray.core.config import ConfigError, PriceConfig, ScriptedConfig
from imageref_ray.core.records import Failure, Usage
from imageref_ray.engines.base import EngineError, Generate, Message, Reply, Request
from imageref_ray.engines.scripted import ScriptedEngine
from tests.sweeps import sweep

T = TypeVar("T")
LIMIT, MOST = 1000, 90


def open_ledger(directory: Path, limit: int = LIMIT) -> SqliteLedger:
    budget = Budget(f"{limit} tokens")
    take_over(directory, account(directory))
    known = account(directory)
    return SqliteLedger(budget, directory, known.spent, ledger.mean_cost(budget, directory, known))


class Run(RuleBasedStateMachine):
    """Attempts over one directory, each with engines that begin, finish and commit records, or crash."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda number: None)
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.paid = self.number = self.most = self.engine = 0
        self.running: set[str] = set()
        self.ended: dict[str, int] = {}
        self.crashed: set[str] = set()
        self.waiting: dict[str, asyncio.Task[bool]] = {}
        self.ledger = open_ledger(self.directory)

    def teardown(self) -> None:
        self.patch.undo()
        self.drop_waiting()
        self.ledger.close()
        self.loop.close()
        self.folder.cleanup()

    def drop_waiting(self) -> None:
        for task in self.waiting.values():
            task.cancel()
        self.settle_down()
        self.waiting.clear()

    def settle_down(self) -> None:
        """Let those who wait decide; whoever may begin does."""

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        for id in [id for id, task in self.waiting.items() if task.done()]:
            task = self.waiting.pop(id)
            if not task.cancelled() and task.result():
                self.running.add(id)
        self.most = max(self.most, len(self.running))

    @rule(weight=st.integers(1, 3))
    def reserve(self, weight: int) -> None:
        """A record is to begin: one that was in flight when its engine crashed, else a new one."""
        id = self.crashed.pop() if self.crashed else f"r{self.number}"
        self.number += 1
        self.waiting[id] = self.loop.create_task(self.ledger.reserve(f"e{self.engine}", id, 1, weight))
        self.settle_down()

    @precondition(lambda self: self.running)
    @rule(cost=st.integers(0, MOST))
    def end(self, cost: int) -> None:
        id = self.running.pop()
        self.ended[id] = cost
        self.paid += cost
        self.loop.run_until_complete(self.ledger.settle(id, Usage(1, cost)))
        self.settle_down()

    @precondition(lambda self: self.ended)
    @rule(good=st.booleans(), told=st.booleans())
    def commit(self, good: bool, told: bool) -> None:
        """The record is on disk; the ledger may not hear of it before a crash."""
        id, cost = self.ended.popitem()
        usage = Usage(1, cost)
        done, failed = ([Result(id, {}, usage)], []) if good else ([], [Failure(id, "s", "E", "m", usage=usage)])
        Store(self.directory).write(done, failed)
        if told:
            self.loop.run_until_complete(self.ledger.committed(id))

    @precondition(lambda self: self.running or self.ended)
    @rule()
    def engine_crash(self) -> None:
        """What it had in flight comes again, from another engine."""
        self.drop_waiting()
        self.crashed |= self.running | {*self.ended}
        self.running.clear()
        self.ended.clear()
        self.engine += 1

    @rule()
    def crash(self) -> None:
        """The whole run is killed, and begins again."""
        self.drop_waiting()
        self.ledger.close()
        self.running.clear()
        self.ended.clear()
        self.crashed.clear()
        self.ledger = open_ledger(self.directory)

    @invariant()
    def what_was_paid_stays_paid(self) -> None:
        assert self.ledger._spent.prompt_tokens >= self.paid

    @invariant()
    def only_what_was_in_flight_exceeds_the_budget(self) -> None:
        assert self.paid <= LIMIT + MOST * self.most

    @invariant()
    def nobody_waits_for_nobody(self) -> None:
        assert self.running or self.crashed or not self.waiting


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=sweep(8), stateful_step_count=20, derandomize=True)


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_before_any_record_has_ended_one_runs_alone_and_then_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        book = open_ledger(tmp_path, 100)
        asked = [asyncio.create_task(book.reserve("a", f"r{n}", 1, 1.0)) for n in range(9)]
        await asyncio.sleep(0.01)
        assert [task.done() for task in asked] == [True, *[False] * 8]
        await book.settle("r0", Usage(1, 15, generated_tokens=5))
        await asyncio.sleep(0.01)
        assert [task.done() for task in asked] == [*[True] * 5, *[False] * 4]  # 20 are spent, 4 x 20 set aside
        await book.settle("r1", Usage(1, 1))  # less than expected: there is room for more
        assert all(await asyncio.gather(*asked))
        for n in range(2, 9):
            await book.settle(f"r{n}", Usage(1, 40))
        assert await book.reserve("b", "r99", 1, 0.001) is False  # for good
        assert book.refusal() == "the budget of 100 tokens is used up"

    finish(scenario())


def test_a_heavier_record_needs_more_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        book = open_ledger(tmp_path, 100)
        assert await book.reserve("a", "r0", 1, 1.0)
        await book.settle("r0", Usage(1, 30))
        assert await book.reserve("a", "r1", 1, 2.0)
        light = asyncio.create_task(book.reserve("a", "r2", 1, 1.0))
        await asyncio.sleep(0.01)
        assert not light.done()
        await book.settle("r1", Usage(1, 60))
        assert await light is False and "(10 tokens) is less than a record costs" in book.refusal()

    finish(scenario())


def test_an_engine_that_crashed_holds_no_room_and_its_records_stay_paid(tmp_path: Path) -> None:
    async def scenario() -> None:
        book = open_ledger(tmp_path, 100)
        assert await book.reserve("a", "r0", 1, 1.0)
        await book.settle("r0", Usage(1, 20))
        await book.committed("r0")
        for n in (1, 2, 3, 4):
            assert await book.reserve("a", f"r{n}", 1, 1.0)
        assert not await book.reserve("b", "r1", 1, 1.0)  # 20, and 4 x 20 lost
        assert book.refusal() == "the budget of 100 tokens is used up"
        book.close()

    finish(scenario())
    assert ledger.lost(tmp_path) == Usage(4, 80)
    assert open_ledger(tmp_path, 200)._spent == Usage(4, 80)


def test_a_resumed_run_knows_what_a_record_costs(tmp_path: Path) -> None:
    Store(tmp_path).write([Result(f"r{n}", {}, Usage(1, 30)) for n in range(3)], [])
    assert finish(open_ledger(tmp_path, 120).reserve("a", "r3", 1, 1.0))
    book = open_ledger(tmp_path, 119)
    assert not finish(book.reserve("a", "r3", 1, 1.0))
    assert "(29 tokens) is less than a record costs" in book.refusal()


def test_money_counts_tokens_at_their_prices(tmp_path: Path) -> None:
    async def scenario() -> None:
        budget = Budget("1", PriceConfig(prompt=1, generated=10))
        book = SqliteLedger(budget, tmp_path, Usage(9, 500_000), 0.0)
        assert await book.reserve("a", "r0", 1, 1.0)
        await book.settle("r0", Usage(1, 0, generated_tokens=30_000))
        assert not await book.reserve("a", "r1", 1, 1.0)
        assert "(0.2 USD)" in book.refusal()

    finish(scenario())


def test_a_ledger_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / ledger.FILE).write_bytes(b"no database" * 999)
    told = r"^the ledger of the budget \S+/budget.sqlite cannot be read or written: file is not a database; restore"
    with pytest.raises(EngineError, match=told):
        open_ledger(tmp_path)


async def spend(row: Row, generate: Generate) -> Row:
    reply = await generate(Request((Message("user", (str(row["n"]),)),)))
    return {"text": reply.text}


def counting(request: Request) -> Reply:
    """A hundred tokens a request."""
    return Reply(("echo",), usage=Usage(1, 90, generated_tokens=10))


def uncounted(request: Request) -> Reply:
    return Reply(("echo",), usage=Usage(1))


def scripted(directory: Path, name: str, limit: str) -> Pass:
    engine = ScriptedConfig(script=f"tests.unit.test_ledger:{name}", concurrency=16)
    attempts.begin(directory)
    return Pass("test", directory, spend, engine, commit_records=4, budget=Budget(limit), attempt=1)


def test_workers_on_one_ledger_spend_the_budget_and_no_more(tmp_path: Path) -> None:
    task = scripted(tmp_path, "counting", "5050 tokens")

    async def scenario() -> list[dict[str, Any]]:
        book = open_ledger(tmp_path, 5050)
        workers = [Worker(task, ScriptedEngine(task.engine), ledger=book) for _ in range(4)]
        batches = [[packed({"id": f"r{n}-{k}", "n": n}) for n in range(40)] for k in range(4)]
        runs = (worker.run(batch) for worker, batch in zip(workers, batches, strict=True))
        statuses = [status for statuses in await asyncio.gather(*runs) for status in statuses]
        assert "(50 tokens) is less than a record costs" in book.refusal()
        book.close()
        return statuses

    statuses = finish(scenario())
    assert sum(status["ok"] for status in statuses) == 50
    assert sum(status["skipped"] for status in statuses) == 110
    assert account(tmp_path).spent.prompt_tokens == 50 * 90
    assert ledger.lost(tmp_path) == Usage()
    assert attempts.stopping(tmp_path, 1)


def test_an_engine_that_counts_no_tokens_cannot_keep_a_budget_of_them(tmp_path: Path) -> None:
    task = scripted(tmp_path, "uncounted", "100 tokens")

    async def scenario() -> None:
        await Worker(task, ScriptedEngine(task.engine), ledger=open_ledger(tmp_path)).run([packed({"id": "a", "n": 1})])

    with pytest.raises(ConfigError, match="the engine does not count tokens"):
        finish(scenario())
