"""A driver to be killed: `python echo_pass.py DIRECTORY ROWS [ENGINES]` asks scripted engines one question a row."""

import os
import sys
from pathlib import Path

from imageref_ray.config import EngineConfig
from imageref_ray.engines.base import Generate, Message, Request
from imageref_ray.pipeline import run_pass
from imageref_ray.watch import Stopped
from imageref_ray.worker import Pass, Row

CONCURRENCY, COMMIT = 4, 8


async def echo(row: Row, generate: Generate) -> Row:
    """The row's number as the engine gives it back."""
    reply = await generate(Request((Message("user", (str(row["n"]),)),)))
    return {"text": reply.text}


def echo_pass(directory: Path, script: str = "counted", **engine: object) -> Pass:
    """A pass over an engine of `tests.scripted`."""
    settings = {"model": "none", "script": f"tests.scripted:{script}", "concurrency": CONCURRENCY, **engine}
    return Pass("echo", directory, echo, EngineConfig(kind="scripted", **settings), commit_records=COMMIT)


if __name__ == "__main__":
    engines = [int(count) for count in sys.argv[3:]]
    settings = {"actors": (engines[0], engines[0]), "cpus": 0.8} if engines else {}
    task = echo_pass(Path(sys.argv[1]), env={"CALLS": os.environ["CALLS"]}, **settings)
    try:
        print(run_pass(task, [{"id": f"r{n}", "n": n} for n in range(int(sys.argv[2]))]))
    except Stopped as stopped:
        sys.exit(f"stopped: {stopped}")
