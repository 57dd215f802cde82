"""A driver of its own: `python echo_pass.py DIRECTORY ROWS ENGINE` asks scripted engines one question a row.

ENGINE is JSON: settings of the engine, and beside them `prepare`, a function of `tests.scripted` for the CPU step, and
`patience_s`.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from imageref_ray.batch import store
from imageref_ray.batch.ray_data import run_pass
from imageref_ray.batch.watchdog import Stopped
from imageref_ray.batch.worker import Pass, Row
from imageref_ray.core.config import ScriptedConfig
from imageref_ray.engines.base import Generate, Message, Request
from tests import scripted

ROOT = Path(__file__).parents[2]
CONCURRENCY, COMMIT, ROWS = 4, 8, 240


async def echo(row: Row, generate: Generate) -> Row:
    """The row's number as the engine gives it back."""
    reply = await generate(Request((Message("user", (str(row["n"]),)),)))
    return {"text": reply.text}


def echo_pass(directory: Path, script: str = "counted", **engine: object) -> Pass:
    """A pass over an engine of `tests.scripted`."""
    settings = {"model": "none", "script": f"tests.scripted:{script}", "concurrency": CONCURRENCY, **engine}
    return Pass("echo", directory, echo, ScriptedConfig(**settings), commit_records=COMMIT)


def driver(directory: Path, address: str, rows: int = ROWS, **engine: object) -> subprocess.Popen[str]:
    """One on the cluster at `address`, with these settings of the engine."""
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/ray/echo_pass.py"), str(directory), str(rows), json.dumps(engine)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def committed(directory: Path) -> list[str]:
    return sorted((result.id for result in store.results(directory)), key=lambda id: int(id[1:]))


if __name__ == "__main__":
    settings = json.loads(sys.argv[3])
    prepare, patience_s = settings.pop("prepare", None), settings.pop("patience_s", 900)
    task = echo_pass(Path(sys.argv[1]), env={"CALLS": os.environ["CALLS"]}, **settings)
    task = dataclasses.replace(task, patience_s=patience_s, prepare=prepare and getattr(scripted, prepare))
    try:
        print(run_pass(task, [{"id": f"r{n}", "n": n} for n in range(int(sys.argv[2]))]))
    except Stopped as stopped:
        sys.exit(f"stopped: {stopped}")
