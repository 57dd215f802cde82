"""Equal requests: one asks, the others wait; a dead worker's claim is free again."""

import asyncio
from pathlib import Path

import pytest

from imageref_ray.batch.reply_cache import SqliteReplyCache, key, once
from imageref_ray.core.records import Image, Usage
from imageref_ray.engines.base import Message, Reply, Request


def test_many_ask_one_is_answered(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, set[str], int]:
        cache, asked = SqliteReplyCache(tmp_path / "replies.sqlite"), 0

        async def ask() -> Reply:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.01)
            return Reply(("found",), usage=Usage(1, 10))

        replies = await asyncio.gather(*(once(cache, "k", f"worker {n % 2}", ask) for n in range(6)))
        return asked, {reply.text for reply in replies}, sum(reply.usage.requests for reply in replies)

    assert asyncio.run(scenario()) == (1, {"found"}, 1)


def test_a_failure_is_not_cached(tmp_path: Path) -> None:
    async def scenario() -> str:
        cache = SqliteReplyCache(tmp_path / "replies.sqlite")

        async def fail() -> Reply:
            raise ValueError("no")

        async def work() -> Reply:
            return Reply(("yes",))

        with pytest.raises(ValueError, match="no"):
            await once(cache, "k", "a", fail)
        return (await once(cache, "k", "b", work)).text

    assert asyncio.run(scenario()) == "yes"


def test_the_claim_of_a_silent_worker_is_free_again(tmp_path: Path) -> None:
    async def scenario() -> str | None:
        cache = SqliteReplyCache(tmp_path / "replies.sqlite", lease_s=0.05)
        assert await cache.claim("k", "dead") is None
        return await asyncio.wait_for(cache.claim("k", "living"), 30)

    assert asyncio.run(scenario()) is None


def test_the_file_is_good_for_the_next_run(tmp_path: Path) -> None:
    async def scenario() -> str | None:
        first = SqliteReplyCache(tmp_path / "cache" / "replies.sqlite")
        assert await first.claim("k", "a") is None
        await first.put("k", "value")
        first.close()
        return await SqliteReplyCache(tmp_path / "cache" / "replies.sqlite").claim("k", "b")

    assert asyncio.run(scenario()) == "value"


def test_the_key_is_what_is_asked_of_whom() -> None:
    def asked(uri: str = "a.jpg", sha: str = "5ha", text: str = "what?") -> Request:
        return Request((Message("user", (Image("d/0.jpg", uri, sha), text)),))

    assert key(asked(), "m") == key(asked(uri="elsewhere.jpg"), "m")
    assert len({key(asked(), "m"), key(asked(), "other"), key(asked(sha="2"), "m"), key(asked(text="who?"), "m")}) == 4


def test_a_reply_that_cannot_be_stored_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        cache = SqliteReplyCache(tmp_path / "replies.sqlite")
        assert await cache.claim("k", "a") is None
        waiting = asyncio.create_task(cache.claim("k", "b"))
        await asyncio.sleep(0)
        with pytest.raises(UnicodeEncodeError):
            await cache.put("k", "half a character: \ud83d")
        assert await waiting is None

    asyncio.run(asyncio.wait_for(scenario(), 60))
