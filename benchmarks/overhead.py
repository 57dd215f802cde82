"""What the framework costs beside an engine: records/s with an instant engine, memory at two sizes, and whether
throughput follows concurrency when every request takes 50 ms.

    python benchmarks/overhead.py [--small 10000] [--large 200000] [--out results.json]

Every measurement is a pass in a process of its own: rows → CPU step → one actor → commits → status rows. Memory is the
peak of the proportional set sizes of the driver and of all its Ray workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from setting import tell

from imageref_ray.batch.ray_data import run_pass
from imageref_ray.batch.worker import Pass, Row
from imageref_ray.core.config import ScriptedConfig
from imageref_ray.engines.base import Generate, Message, Request

LATENCY_S = 0.05
REQUESTS = 8
"""Requests of one record in the latency measurement: a sample with four pictures makes ten."""


def instant(request: Request) -> str:
    """An engine that costs nothing."""
    return "yes"


async def late(request: Request) -> str:
    """An engine that answers after 50 ms, however many ask."""
    await asyncio.sleep(LATENCY_S)
    return "yes"


async def one(row: Row, generate: Generate) -> Row:
    """One request a record."""
    return {"text": (await generate(Request((Message("user", (row["text"],)),)))).text}


async def several(row: Row, generate: Generate) -> Row:
    """`REQUESTS` requests a record, all at once."""
    request = Request((Message("user", (row["text"],)),))
    replies = await asyncio.gather(*(generate(request) for _ in range(REQUESTS)))
    return {"text": replies[0].text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("SCRIPT", "RECORDS", "CONCURRENCY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        script, records, concurrency = options.measure
        print(json.dumps(measure(script, int(records), int(concurrency))))
        return
    sizes = {count: run("instant", count, 64) for count in (options.small, options.large)}
    small, large = sizes[options.small], sizes[options.large]
    latency = {
        concurrency: statistics.median(
            run("late", 40 * concurrency, concurrency)["requests_per_second"] for _ in range(options.rounds)
        )
        for concurrency in (16, 64, 256)
    }
    result = {
        "records_per_second": {str(count): found["records_per_second"] for count, found in sizes.items()},
        "memory_mib": {str(count): found["memory_mib"] for count, found in sizes.items()},
        "memory_ratio": round(large["memory_mib"] / small["memory_mib"], 3),
        "share_of_concurrency_over_latency": {
            str(concurrency): round(found * LATENCY_S / concurrency, 3) for concurrency, found in latency.items()
        },
    }
    tell(result, options.out)


def run(script: str, records: int, concurrency: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", script, str(records), str(concurrency)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def measure(script: str, records: int, concurrency: int) -> dict[str, Any]:
    """One pass; the rate counts from the first commit to the last, so that the start of Ray is left out."""
    engine = ScriptedConfig(script=f"overhead:{script}", concurrency=concurrency)
    with tempfile.TemporaryDirectory() as folder, peak() as most:
        work = one if script == "instant" else several
        run_pass(Pass(script, Path(folder), work, engine), rows(records))
        times = sorted(path.stat().st_mtime_ns / 1e9 for path in Path(folder, "records").iterdir())
    rate = records * (len(times) - 1) / len(times) / (times[-1] - times[0])
    return {
        "records_per_second": round(rate, 1),
        "requests_per_second": round(rate * (1 if script == "instant" else REQUESTS), 1),
        "memory_mib": round(most[0] / 2**20, 1),
    }


def rows(count: int) -> Iterator[Row]:
    return ({"id": f"r{n:07d}", "text": "What is to be seen here? " * 40} for n in range(count))


class peak:
    """The most memory that this process and its Ray workers held at once, looked at twice a second."""

    def __enter__(self) -> list[int]:
        self._most, self._end = [0], threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self._most

    def __exit__(self, *failure: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.5):
            self._most[0] = max(self._most[0], sum(map(held, mine())))


def mine() -> list[Path]:
    """This process and every Ray worker of this session (they name themselves `ray::…`)."""
    found = [Path("/proc/self")]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.joinpath("cmdline").read_bytes().startswith(b"ray::"):
                found.append(path)
        except OSError:
            continue
    return found


def held(process: Path) -> int:
    """Proportional set size, bytes; 0 for a process that is gone."""
    try:
        lines = process.joinpath("smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
