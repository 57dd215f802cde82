"""What an instruction's work tells on the way → the objects of a stream, the last of them the whole answer."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

from imageref_ray.core.records import Unit
from imageref_ray.serving.instructions import Tell, unit_object
from imageref_ray.stages.parsing import QA

Work = Callable[[Tell], Awaitable[dict[str, Any]]]
"""Instructions' `answer`, given whom to tell."""


def head(kind: str, model: str) -> dict[str, Any]:
    """The fields with which every object of a request begins."""
    return {"id": f"instr-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


async def events(work: Work, model: str) -> AsyncGenerator[dict[str, Any], None]:
    """The objects of `work`, which ends with their reader. Raises what it raises.

    A question begins a draft (anew, where what was sent of it proves wrong); the next pieces are appended to it.
    """
    news: asyncio.Queue[QA | Unit | asyncio.Future[Any]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(one: QA | Unit) -> None:
        """Also from an engine's thread. The task, which comes last, is put by the loop, as all before it."""
        loop.call_soon_threadsafe(news.put_nowait, one)

    task = asyncio.ensure_future(work(tell))
    task.add_done_callback(news.put_nowait)
    whole = head("instruction", model)
    told = _Told()
    try:
        while not isinstance(one := await news.get(), asyncio.Future):
            for delta in told.deltas(one):
                yield {**whole, "object": "instruction.chunk", "delta": delta}
        result = task.result()
        yield {**whole, "object": "instruction.chunk", "delta": {"answer": result["answer"]}}
        yield {**whole, **result}
    finally:
        task.cancel()
        await asyncio.wait({task})


class _Told:
    """What a client knows so far."""

    def __init__(self) -> None:
        self._pair, self._numbers = QA("", ""), itertools.count()

    def deltas(self, news: QA | Unit) -> Iterator[dict[str, Any]]:
        if isinstance(news, Unit):
            yield {"unit": unit_object(news, next(self._numbers))}
            return
        if news.question != self._pair.question or not news.answer.startswith(self._pair.answer):
            self._pair = QA(news.question, "")
            yield {"question": news.question}
        if piece := news.answer.removeprefix(self._pair.answer):
            yield {"draft": piece}
        self._pair = news
