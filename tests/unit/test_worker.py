"""Many coroutines over one engine: nothing is reported that is not on disk, nothing is lost, nothing doubles."""

import asyncio
import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.batch import attempts
from imageref_ray.batch.crash_isolation import narrowed
from imageref_ray.batch.reply_cache import SqliteReplyCache
from imageref_ray.batch.store import RECORDS, Store, failures, idle, results, spent
from imageref_ray.batch.worker import SPARES, Pass, Row, Worker, packed, prepared, stage
from imageref_ray.core.config import ConfigError, ScriptedConfig
from imageref_ray.core.records import Failure, Image, Usage
from imageref_ray.engines.base import EngineError, Generate, Message, Reply, Request
from imageref_ray.engines.scripted import ScriptedEngine


async def ask(row: Row, generate: Generate) -> Row:
    with stage("ask"):
        reply = await generate(Request((Message("user", (str(row["n"]),)),)))
        if not reply.text.startswith("echo"):
            raise ValueError(f"not an echo: {reply.text}")
    return {"n": row["n"], "text": reply.text}


def refuse_even(row: Row) -> tuple[Row, tuple[Failure, ...]]:
    if row["n"] % 2 == 0:
        return row, (Failure(row["id"], "verify", "Even", "even numbers have no picture"),)
    return {**row, "n": row["n"] * 10}, (Failure(row["id"], "verify", "MissingImage", "gone", item="0.png"),)


def make(directory: Path, script: str = "picky", **more: Any) -> Pass:
    engine = ScriptedConfig(script=f"tests.scripted:{script}", concurrency=4)
    return Pass("test", directory, ask, engine, **more)


def run(task: Pass, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return asyncio.run(Worker(task, ScriptedEngine(task.engine)).run(rows))


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [packed({"id": f"r{n}", "n": n}) for n in numbers]


def test_one_bad_record_costs_only_itself(tmp_path: Path) -> None:
    statuses = run(make(tmp_path), rows(*range(9)))
    assert [status["id"] for status in statuses if not status["ok"]] == ["r3", "r5", "r7"]
    assert sorted(result.row["text"] for result in results(tmp_path)) == [f"echo {n}" for n in (0, 1, 2, 4, 6, 8)]
    assert [(f.record_id, f.stage, f.error, f.message) for f in failures(tmp_path)] == [
        ("r3", "ask", "RequestError", "prompt of 9000 tokens is longer than 2048"),
        ("r5", "ask", "ZeroDivisionError", "a bug in somebody's script"),
        ("r7", "ask", "ValueError", "not an echo: nonsense"),
    ]


def test_a_batch_given_again_runs_nothing_twice(tmp_path: Path) -> None:
    run(make(tmp_path), rows(0, 1))
    again = run(make(tmp_path), rows(0, 1, 2))
    assert [status["requests"] for status in again] == [0, 0, 1]
    assert sorted(result.id for result in results(tmp_path)) == ["r0", "r1", "r2"]
    assert len(list((tmp_path / RECORDS).iterdir())) == 2


def test_what_a_failed_request_cost_is_in_its_status(tmp_path: Path) -> None:
    (status,) = run(make(tmp_path, "costly"), rows(0))
    assert (status["ok"], status["requests"], status["prompt_tokens"]) == (False, 2, 14)


def test_a_dead_endpoint_stops_the_run_instead_of_failing_every_record(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nobody answers"):
        run(make(tmp_path, "broken"), rows(0, 1))
    assert failures(tmp_path) == []


def test_what_the_cpu_step_leaves_out_is_accounted_for(tmp_path: Path) -> None:
    task = make(tmp_path, prepare=refuse_even)
    statuses = run(task, [prepared(task, row) for row in rows(1, 2)])
    assert [status["ok"] for status in statuses] == [True, False]
    assert [result.row["n"] for result in results(tmp_path)] == [10]
    assert [(f.record_id, f.error) for f in failures(tmp_path)] == [("r1", "MissingImage"), ("r2", "Even")]


def test_a_crash_of_the_cpu_step_is_a_quarantine_row(tmp_path: Path) -> None:
    task = make(tmp_path, prepare=refuse_even)
    run(task, [prepared(task, packed({"id": "r1", "wrong": 1}, tries=2))])
    assert failures(tmp_path) == [Failure("r1", "prepare", "KeyError", "'n'", attempt=2)]


def test_records_are_committed_in_parts_of_the_asked_size(tmp_path: Path) -> None:
    task = make(tmp_path, "annotator", commit_records=4)
    task = Pass("test", tmp_path, partial(echo), task.engine, commit_records=4)
    run(task, rows(*range(10)))
    assert len(list((tmp_path / RECORDS).iterdir())) == 3


def test_a_slow_record_does_not_keep_finished_ones_from_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def gated(row: Row, generate: Generate) -> Row:
            if row["n"]:
                await gate.wait()
            return row

        task = Pass("test", tmp_path, gated, make(tmp_path).engine, commit_seconds=0.05)
        running = asyncio.create_task(Worker(task, ScriptedEngine(task.engine)).run(rows(0, 1)))
        while "r0" not in Store(tmp_path).done():
            await asyncio.sleep(0.01)
        gate.set()
        await running

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize(("crashes", "together"), [(0, 6), (1, 2), (2, 1)])
def test_after_a_crash_a_batch_runs_alone_and_then_one_by_one(tmp_path: Path, crashes: int, together: int) -> None:
    store, running, beside = Store(tmp_path), set[int](), list[set[int]]()
    barrier = asyncio.Barrier(together)

    async def watched(row: Row, generate: Generate) -> Row:
        running.add(row["n"])
        if not crashes or row["n"] in (2, 3):
            await barrier.wait()
        await asyncio.sleep(0.05)
        beside.append(set(running))
        running.remove(row["n"])
        return row

    async def scenario() -> None:
        task = make(tmp_path)
        task = dataclasses.replace(task, work=watched, engine=task.engine.model_copy(update={"concurrency": 6}))
        worker = Worker(task, ScriptedEngine(task.engine))
        await asyncio.gather(*(worker.run(rows(n, n + 1)) for n in (0, 2, 4)))

    for _ in range(crashes):
        store.begin("r2")
    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert max(len(some) for some in beside if some & {2, 3}) == together
    assert all(some <= {2, 3} for some in beside if some & {2, 3}) == (crashes > 0)
    assert store.done() == {f"r{n}" for n in range(6)}
    assert idle(tmp_path)


def test_a_record_that_crashes_its_engine_when_it_is_alone_is_quarantined(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin("r0")
    store.begin("r0")
    store.begin("alone", "r1")
    assert [status["ok"] for status in run(make(tmp_path), rows(0, 1, 2))] == [True, False, True]
    (failure,) = failures(tmp_path)
    assert (failure.record_id, failure.stage, failure.error) == ("r1", "work", "EngineDied")
    assert "the last time with no other record" in failure.message


def test_engines_that_start_again_and_again_are_at_fault_unless_something_is_finished(tmp_path: Path) -> None:
    task = make(tmp_path)
    for number in range(3):
        for _ in range(SPARES):
            Worker(task, ScriptedEngine(task.engine))
        assert run(task, rows(number))[0]["ok"]
    for _ in range(1 + SPARES):
        Worker(task, ScriptedEngine(task.engine))
    with pytest.raises(EngineError, match=r"^9 engines crashed before finishing a record$"):
        Worker(task, ScriptedEngine(task.engine))


def test_crashes_that_narrow_the_search_down_do_not_count_against_the_engine(tmp_path: Path) -> None:
    task, store = make(tmp_path), Store(tmp_path)
    for name in ("r0", "r0", "r8", "r8", "r16"):  # two batches known to hold one at fault, one that perhaps does
        store.begin(name)
    for number in range(3):
        store.begin("alone", f"r{number}")
    for _ in range(1 + SPARES + 2):
        Worker(task, ScriptedEngine(task.engine))
    with pytest.raises(EngineError, match=r"^11 engines crashed before finishing a record$"):
        Worker(task, ScriptedEngine(task.engine))


def test_what_finished_alone_is_on_disk_before_the_next_record_can_crash_the_engine(tmp_path: Path) -> None:
    on_disk: list[set[str]] = []

    async def watched(row: Row, generate: Generate) -> Row:
        on_disk.append({*Store(tmp_path).done()})
        return row

    store = Store(tmp_path)
    store.begin("r0")
    store.begin("r0")
    assert all(status["ok"] for status in run(dataclasses.replace(make(tmp_path), work=watched), rows(0, 1, 2)))
    assert [len(done) for done in on_disk] == [0, 1, 2]
    assert narrowed(tmp_path) == 0


async def echo(row: Row, generate: Generate) -> Row:
    return row


async def ask_shared(row: Row, generate: Generate) -> Row:
    reply = await generate(Request((Message("user", (str(row["n"] % 2),)),), shared=True))
    return {"text": reply.text}


def test_equal_requests_are_asked_once_and_cost_once(tmp_path: Path) -> None:
    async def scenario() -> list[dict[str, Any]]:
        task = Pass("test", tmp_path, ask_shared, make(tmp_path, "echoes").engine)
        cache = SqliteReplyCache(tmp_path / "replies.sqlite")
        return await Worker(task, ScriptedEngine(task.engine), cache).run(rows(*range(8)))

    statuses = asyncio.run(scenario())
    assert sum(status["requests"] for status in statuses) == 2
    assert {result.row["text"] for result in results(tmp_path)} == {"echo 0", "echo 1"}
    assert spent(tmp_path).requests == 2


def test_what_a_failed_record_cost_is_in_the_account(tmp_path: Path) -> None:
    run(make(tmp_path), rows(7))
    assert failures(tmp_path)[0].usage.requests == spent(tmp_path).requests == 1


def test_a_stop_begins_nothing_new(tmp_path: Path) -> None:
    number = attempts.begin(tmp_path)
    attempts.ask_to_stop(tmp_path, number)
    statuses = run(make(tmp_path, attempt=number), rows(0, 1))
    assert [status["skipped"] for status in statuses] == [True, True]
    assert idle(tmp_path)
    assert not list(results(tmp_path))


def test_the_heaviest_record_ends_the_run_when_the_engine_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"heaviest record, r3, .*9000 tokens is longer than 2048.*preflight: false"):
        run(make(tmp_path, heaviest="r3"), rows(2, 3))
    assert failures(tmp_path) == []


def test_a_superseded_writer_commits_nothing(tmp_path: Path) -> None:
    old = attempts.begin(tmp_path)
    attempts.begin(tmp_path)
    with pytest.raises(EngineError, match=r"attempt 1 .* was taken over by attempt 2"):
        run(make(tmp_path, "echoes", attempt=old), rows(0))
    assert not list(results(tmp_path))
    assert not list(tmp_path.glob("records/*"))


def test_whatever_breaks_a_commit_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    task = make(tmp_path, "boundless")
    work = Worker(task, ScriptedEngine(task.engine)).run(rows(0, 1, 2))
    with pytest.raises(EngineError, match=rf"^results cannot be written to {tmp_path}: \w+: "):
        asyncio.run(asyncio.wait_for(work, 60))


def test_half_a_character_in_a_reply_is_kept_as_a_mark(tmp_path: Path) -> None:
    async def halves(row: Row, generate: Generate) -> Row:
        reply = await generate(Request((Message("user", ("\ud83d and \ude00",)),), shared=True))
        return {"text": reply.text, "escaped": json.loads('"\\ud83d"'), "joined": "\ud83d" + "\ude00"}

    async def scenario() -> None:
        task = dataclasses.replace(make(tmp_path, "echoes"), work=halves)
        await Worker(task, ScriptedEngine(task.engine), SqliteReplyCache(tmp_path / "replies.sqlite")).run(rows(0))

    asyncio.run(asyncio.wait_for(scenario(), 60))
    (result,) = results(tmp_path)
    assert result.row == {"text": "echo \ufffd and \ufffd", "escaped": "\ufffd", "joined": "😀"}


def test_half_a_character_in_a_row_or_a_failure_stops_nothing(tmp_path: Path) -> None:
    def refuse(row: Row) -> tuple[Row, tuple[Failure, ...]]:
        return {**row, "path": "\udce4.png"}, (Failure(row["id"], "verify", "Missing", "no \udce4", item="\udce4.png"),)

    task = dataclasses.replace(make(tmp_path, "echoes"), work=echo, prepare=refuse)
    row = prepared(task, packed({"id": "r\ud83d", "n": "\ud83d"}))
    assert json.dumps(row, ensure_ascii=False).encode()
    run(task, [row])
    (result,), (failure,) = list(results(tmp_path)), failures(tmp_path)
    assert (result.id, result.row["n"], result.row["path"]) == ("r\ufffd", "\ufffd", "\ufffd.png")
    assert (failure.message, failure.item) == ("no \ufffd", "\ufffd.png")


def test_a_dead_heartbeat_ends_the_run(tmp_path: Path) -> None:
    class Gone(SqliteReplyCache):
        async def alive(self, owner: str) -> None:
            raise EngineError("the reply cache cannot be read or written: gone")

    async def scenario() -> None:
        task = make(tmp_path, "echoes")
        worker = Worker(task, ScriptedEngine(task.engine), Gone(tmp_path / "replies.sqlite"))
        while True:
            await worker.run(rows(0))

    with pytest.raises(EngineError, match="gone"):
        asyncio.run(asyncio.wait_for(scenario(), 60))


def test_nothing_more_is_begun_once_results_cannot_be_kept(tmp_path: Path) -> None:
    old, begun = attempts.begin(tmp_path), []
    attempts.begin(tmp_path)

    async def scenario() -> None:
        failed = asyncio.Event()

        async def held_back(row: Row, generate: Generate) -> Row:
            begun.append(row["n"])
            if row["n"]:  # all but the first wait until that one's result is known to be lost
                await failed.wait()
            return row

        task = make(tmp_path, attempt=old, commit_records=1)
        worker = Worker(dataclasses.replace(task, work=held_back), ScriptedEngine(task.engine))
        with pytest.raises(EngineError, match="was taken over"):
            await worker.run(rows(*range(40)))
        failed.set()
        await asyncio.sleep(0.5)

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert begun == [0, 1, 2, 3, 4]  # the four that the engine takes, and the one that took the first one's place


@pytest.mark.parametrize("text", ["x\ud83d", "a\0b", "\udcff", "\ud83d\ude00"])
def test_whatever_a_record_holds_it_is_committed_or_one_row(tmp_path: Path, text: str) -> None:
    async def holds(row: Row, generate: Generate) -> Row:
        if row["n"] == 1:
            raise ValueError(text)
        return {text: [text, {"inner": text}], "set": {1}} if row["n"] == 2 else {text: [text]}

    task = dataclasses.replace(make(tmp_path), work=holds)
    work = Worker(task, ScriptedEngine(task.engine)).run([packed({"id": f"{text}{n}", "n": n}) for n in range(4)])
    statuses = asyncio.run(asyncio.wait_for(work, 60))
    assert [status["ok"] for status in statuses] == [True, False, False, True]
    assert len(list(results(tmp_path))) == len(failures(tmp_path)) == 2


def answering(reply: Reply, directory: Path, **more: Any) -> Any:
    """The work of one record with an image, over an engine that always replies so."""

    class Always:
        async def generate(self, request: Request) -> Reply:
            return reply

    return Worker(dataclasses.replace(make(directory), work=shown, **more), Always()).run(rows(0))


async def shown(row: Row, generate: Generate) -> Row:
    image = Image("a/0.png", "a/0.png", "0" * 64)
    return {"text": (await generate(Request((Message("user", (image, "What?")),)))).text}


def test_a_reply_of_nothing_but_reasoning_is_a_row_that_says_so_also_of_the_heaviest_record(tmp_path: Path) -> None:
    cut = Reply(("<think>I wonder",), ("length",), Usage(1, 9, 4, 0, 1024), images_counted=True)
    work = answering(cut, tmp_path, heaviest="r0")
    (status,) = asyncio.run(work)
    (failure,) = failures(tmp_path)
    assert (status["ok"], status["generated_tokens"], failure.error) == (False, 1024, "NoAnswer")
    assert "nothing but reasoning, which was cut off at 1024 tokens; raise max_tokens" in failure.message
    assert spent(tmp_path).generated_tokens == 1024


def test_reasoning_is_cut_off_before_a_record_sees_it_and_paid_for(tmp_path: Path) -> None:
    reply = Reply(("<think>I wonder</think>\n\nA boat.",), usage=Usage(1, 9, 4, 0, 12))
    work = answering(reply, tmp_path)
    asyncio.run(work)
    (result,) = results(tmp_path)
    assert (result.row, result.usage.generated_tokens) == ({"text": "A boat."}, 12)


@pytest.mark.parametrize(
    ("counted", "tokens", "heaviest", "stops"),
    [(True, 0, "r0", True), (True, 4, "r0", False), (False, 0, "r0", False), (True, 0, "", False)],
)
def test_a_run_whose_engine_does_not_see_the_images_stops_at_the_heaviest_record(
    tmp_path: Path, counted: bool, tokens: int, heaviest: str, stops: bool
) -> None:
    reply = Reply(("A boat.",), usage=Usage(1, 9, tokens), images_counted=counted)
    work = answering(reply, tmp_path, heaviest=heaviest)
    if stops:
        told = r"r0 \(work\): the engine counted no tokens for the 1 images of a request, .*set engine.model"
        with pytest.raises(ConfigError, match=told):
            asyncio.run(work)
        assert not list(results(tmp_path)) and not failures(tmp_path)
    else:
        assert asyncio.run(work)[0]["ok"]
