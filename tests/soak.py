"""A run that is killed again and again: python tests/soak.py DIRECTORY [--kills 20] [--seed 7] [--cluster]

Without `--cluster` a process works through the store, attempts, export and manifest of `tests/small_job.py`, is killed
before some change of the disk, and another one resumes. With it the true pass runs on a Ray of its own: its driver or
its engine is killed. In the end every record is there once, and what was committed before a kill is still there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from imageref_ray.batch import manifest, store  # noqa: E402
from tests import small_job  # noqa: E402

CHANGES = 100
"""Of the disk, at most, before a process is killed: a whole life makes some more."""
RECORDS_A_KILL = 12
"""Of the run on Ray: some tens are in flight, and the run should not end before its last kill."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--cluster", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    began = time.monotonic()
    soak = on_ray if options.cluster else in_a_process
    kills = soak(options.directory / "run", options.kills, rng)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s (seed {options.seed}): nothing lost, nothing doubled")


def in_a_process(run: Path, kills: int, rng: random.Random) -> int:
    """A new life of the run (job, retry, another export) begins whenever one ended before its kill."""
    run.parent.mkdir(parents=True, exist_ok=True)
    manifest.git_revision = lambda: "r1"  # it takes a process
    done, life = 0, 0
    while done < kills:
        here = run.with_name(f"{run.name}-{life}")
        told = small_job.claim(here)
        point, child = rng.randrange(1, CHANGES), os.fork()
        if not child:
            killed_at(point)
            whole_life(here)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        done += (ended := os.WIFSIGNALED(status))
        check(small_job.wrong(here, told))
        if not ended:
            check(small_job.wrong(here, small_job.Claim(finished=True), may_finish=False))
            life += 1
    here = run.with_name(f"{run.name}-{life}")
    whole_life(here)
    check(small_job.wrong(here, small_job.Claim(frozenset(small_job.IDS), finished=True), may_finish=False))
    return done


def killed_at(number: int) -> None:
    """Let this process be killed before its change of the disk of that number."""
    left = itertools.count(number - 1, -1)

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            if not next(left):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **more)

        return call

    for name in ("mkdir", "rename", "replace", "unlink", "fsync"):
        setattr(os, name, before(getattr(os, name)))


def whole_life(run: Path) -> None:
    """A job of which a record fails, its retry, another export: or what is left of it."""
    if "d" not in store.Store(run).done():
        small_job.job(run, partial(small_job.work, run, frozenset("d")))
        manifest.reopen(run)
    small_job.job(run, partial(small_job.work, run, frozenset(), frozenset("d")))
    small_job.job(run, dict, small_job.OTHER)


def on_ray(run: Path, kills: int, rng: random.Random) -> int:
    """Kills the driver, or the process of its engine, after some more commits."""
    import ray

    from tests.ray.echo_pass import committed, driver

    os.environ["CALLS"] = str(run.parent / "calls")
    run.parent.mkdir(parents=True, exist_ok=True)
    rows, done, told = RECORDS_A_KILL * kills + 100, 0, frozenset[str]()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    start = partial(driver, run, ray.get_runtime_context().gcs_address, rows=rows)
    process = start()
    while done < kills:
        wanted = len(store.Store(run).done()) + rng.randrange(1, 2 * RECORDS_A_KILL)
        until(partial(come_to, wanted, run, process))
        check([f"the driver ended: {process.stdout and process.stdout.read()}"] if process.poll() is not None else [])
        now = frozenset(committed(run))
        check([f"lost: {told - now}"] if told - now else [])
        told = now
        engines = [one for one in psutil.Process().children(recursive=True) if "EngineActor" in name_of(one)]
        if engines and rng.random() < 0.5:
            engines[0].kill()
        else:
            process.kill()
            process.communicate()
            process = start()
        done += 1
    printed, _ = process.communicate()
    check([printed] if process.returncode else [])
    check([] if committed(run) == [f"r{n}" for n in range(rows)] else ["not every record is there once"])
    ray.shutdown()
    return done


def come_to(wanted: int, run: Path, process: subprocess.Popen[str]) -> bool:
    """Whether so many records are committed, or the driver has ended."""
    return len(store.Store(run).done()) >= wanted or process.poll() is not None


def name_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def until(ready: Callable[[], bool], seconds: float = 600) -> None:
    began = time.monotonic()
    while not ready():
        check(["nothing was committed for ten minutes"] if time.monotonic() - began > seconds else [])
        time.sleep(0.05)


def check(wrong: list[str]) -> None:
    if wrong:
        sys.exit("\n".join(["soak: something is wrong", *wrong]))


if __name__ == "__main__":
    main()
