"""What is on disk is there wholly and once, whoever wrote it and whenever it was killed."""

import os
import time
from pathlib import Path

import pytest

from imageref_ray.batch.store import (
    RECORDS,
    SETTLED_S,
    Account,
    Result,
    Store,
    account,
    failures,
    results,
    results_of,
    spent,
    sweep,
    tries,
)
from imageref_ray.core.records import Failure, Usage


def test_a_record_committed_twice_is_read_once(tmp_path: Path) -> None:
    usage = Usage(1, 2, 3, 4, 5)
    Store(tmp_path).write([Result("a", {"n": 1}, usage), Result("b", {"n": 2})], [])
    Store(tmp_path).write([Result("a", {"n": 1}, usage)], [])
    found = {result.id: result for result in results(tmp_path)}
    assert sorted(found) == ["a", "b"]
    assert len(list(results(tmp_path))) == 2
    assert found["a"] == Result("a", {"n": 1}, usage)


def test_records_are_read_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    Store(tmp_path).write([Result("a", {"n": 1}), Result("b", {"n": 2})], [])
    Store(tmp_path).write([Result("c", {"n": 3}, Usage(1)), Result("a", {"n": 1})], [])
    found = list(results_of(tmp_path, ["c", "gone", "a", "b"]))
    assert found == [Result("c", {"n": 3}, Usage(1)), Result("a", {"n": 1}), Result("b", {"n": 2})]


def test_a_store_sees_what_others_commit_later(tmp_path: Path) -> None:
    mine, other = Store(tmp_path), Store(tmp_path)
    assert mine.done() == frozenset()
    other.write([Result("a", {})], [])
    assert mine.done() == {"a"}


def test_a_part_that_was_never_finished_is_not_read_and_swept(tmp_path: Path) -> None:
    Store(tmp_path).write([Result("a", {})], [])
    torn = tmp_path / RECORDS / ".part-x-000001.parquet.tmp"
    torn.write_bytes(b"PAR1")
    assert Store(tmp_path).done() == {"a"}
    sweep(tmp_path)
    assert not torn.exists()


def test_failures_keep_the_last_attempt_and_forget_records_that_were_mended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    item = Failure("a", "verify", "MissingImage", "gone", item="d/0.png")
    store.write([], [Failure("a", "place", "ParseError", "bad"), item, Failure("b", "place", "ParseError", "bad")])
    assert tries(failures(tmp_path)) == {"a": 1, "b": 1}
    store.write([Result("a", {})], [item, Failure("b", "caption", "RequestError", "long", attempt=2)])
    assert failures(tmp_path) == [item, Failure("b", "caption", "RequestError", "long", attempt=2)]
    assert tries(failures(tmp_path)) == {"b": 2}


def test_one_reading_gives_the_whole_account(tmp_path: Path) -> None:
    paid = Usage(1, 10, 0, 0, 5)
    failed = Failure("a", "place", "ParseError", "bad", usage=paid)
    Store(tmp_path).write([], [failed, Failure("b", "place", "ParseError", "bad", usage=paid)])
    Store(tmp_path).write([Result("a", {}, paid), Result("c", {}, paid)], [])
    held = account(tmp_path)
    assert (held.done, held.failures, held.spent) == (
        Store(tmp_path).done(),
        failures(tmp_path),
        spent(tmp_path),
    )
    assert (held.done, tries(held.failures), held.spent.requests) == ({"a", "c"}, {"b": 1}, 4)
    assert account(tmp_path / "nothing") == Account(frozenset(), [], Usage())


def test_a_batch_begun_again_knows_how_often_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for batch in ("a", "a", "b"):
        store.begin(batch)
    assert [store.begun("a"), store.begun("b"), store.begun("c"), store.begun("a", "b")] == [2, 1, 0, 0]
    store.end("a")
    assert store.begun("a") == 0


def test_what_is_done_does_not_depend_on_whose_clock_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    writer, reader = Store(tmp_path), Store(tmp_path)
    an_hour_ago = time.time_ns() - 3600 * 10**9

    def write(id: str) -> None:
        """In one tick of a file server whose clock is an hour behind."""
        writer.write([Result(id, {})], [])
        os.utime(tmp_path / RECORDS, ns=(an_hour_ago, an_hour_ago))

    write("a")
    assert reader.done() == {"a"}
    write("b")
    assert reader.done() == {"a", "b"}
    now += 2 * SETTLED_S
    assert reader.done() == {"a", "b"}
    write("c")  # no file system gives a change so long after the last one the same stamp: not looked for
    assert reader.done() == {"a", "b"}
