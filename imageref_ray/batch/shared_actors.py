"""What the engines of a pass share: the reply cache and the budget's ledger, each in an actor beside the driver."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imageref_ray.batch.budget import Budget
from imageref_ray.batch.ledger import SqliteLedger, mean_cost
from imageref_ray.batch.reply_cache import SqliteReplyCache
from imageref_ray.batch.store import Account
from imageref_ray.batch.worker import Pass
from imageref_ray.core.durable import DiskError
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import EngineError

REPLIES = "replies.sqlite"


def start_reply_cache(task: Pass) -> Any:
    """The reply cache: an actor beside the driver, for every engine actor; or the path of its file where there is a
    single engine on this machine, which opens it itself: two calls to an actor cost as much as a short reply."""
    path = (task.replies or task.directory / REPLIES).absolute()
    alone = not os.environ.get("RAY_ADDRESS") and sum(node["Alive"] for node in ray.nodes()) == 1
    if alone and task.engine.actors[1] == 1:
        return path
    return _beside_the_driver(SqliteReplyCache, path)


def start_ledger(budget: Budget, directory: Path, account: Account) -> Any:
    """The actor with the ledger of a pass; `account` is what that has cost up to now."""
    directory = directory.absolute()
    return _beside_the_driver(SqliteLedger, budget, directory, account.spent, mean_cost(budget, directory, account))


def _beside_the_driver(kind: type, *arguments: Any) -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(kind)
    return actor.options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=here).remote(*arguments)


class RemoteReplyCache:
    """`reply_cache.ReplyCache` over the actor that has the file."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def claim(self, key: str, owner: str) -> str | None:
        value: str | None = await self._call("claim", key, owner)
        return value

    async def put(self, key: str, value: str) -> None:
        """Does not wait: a reply that is lost is asked for once more, and the next claim raises the reason."""
        self._actor.put.remote(key, value)

    async def release(self, key: str) -> None:
        await self._call("release", key)

    async def alive(self, owner: str) -> None:
        await self._call("alive", owner)

    async def _call(self, method: str, *arguments: str) -> Any:
        return await _answer(self._actor, method, "the reply cache", *arguments)


class RemoteLedger:
    """`ledger.Ledger` over the actor that has the file."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def reserve(self, owner: str, id: str, tries: int, weight: float) -> bool:
        return bool(await self._call("reserve", owner, id, tries, weight))

    async def settle(self, id: str, usage: Usage) -> None:
        await self._call("settle", id, usage)

    async def committed(self, id: str) -> None:
        """Does not wait: what is not noted is found among the results when the run is resumed."""
        self._actor.committed.remote(id)

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await _answer(self._actor, method, "the budget's ledger", *arguments)


async def _answer(actor: Any, method: str, what: str, *arguments: Any) -> Any:
    """What the actor's method returns. Raises EngineError, with the reason that the actor gave."""
    try:
        return await getattr(actor, method).remote(*arguments)
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, EngineError | DiskError):
            raise EngineError(str(cause)) from error
        reason = last_named(error)  # of a constructor it is all that Ray gives
        told = reason if " cannot be " in reason else f"{what} cannot be read or written: {reason}"
        raise EngineError(told) from error


def last_named(error: BaseException) -> str:
    """The last error that is named in what Ray raised, which has tracebacks of several processes; else the first line.

    An error of ours is its message, of others its class too.
    """
    lines = str(error).strip().splitlines()
    named = [line for line in lines if re.match(r"(?!ray\.)[\w.]*(Error|Exception): ", line)]
    return re.sub(r"^imageref_ray\.[\w.]+: ", "", (named or lines[:1])[-1])
