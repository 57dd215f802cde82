"""Everything that can be killed is killed: every record is there exactly once, and little is paid for twice."""

import json
import math
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from imageref_ray.batch import attempts, store
from imageref_ray.batch.ray_data import run_pass
from imageref_ray.batch.worker import BATCH
from imageref_ray.commands.build import build
from imageref_ray.core.config import BuildConfig, check
from imageref_ray.engines.base import EngineError
from imageref_ray.picturenews import corpus
from tests.ray.echo_pass import COMMIT, CONCURRENCY, ROWS, committed, driver, echo_pass
from tests.scripted import counted_annotate

ROWS_TO_ASK = [{"id": f"r{n}", "n": n} for n in range(ROWS)]
IN_FLIGHT = math.ceil((3 * CONCURRENCY + COMMIT) / BATCH) * BATCH
"""Records with a single engine: those it works on, those that wait for their commit, those that wait for either."""


def wait_for(done: int, directory: Path, process: subprocess.Popen[str], number: int = 1) -> bool:
    """Until so many records are committed, some of them in the attempt of that number (engines outlive a killed driver
    for a moment); False where the driver ended before."""
    while len(store.Store(directory).done()) < done or not [*directory.glob(f"records/part-{number:06d}-*")]:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    return True


def test_a_driver_killed_at_five_points_loses_nothing_and_pays_little_twice(
    ray_address: str, tmp_path: Path, calls: Path
) -> None:
    run, kills = tmp_path / "run", 0
    for point in sorted(random.Random(7).sample(range(8, ROWS - 40), 5)):
        process = driver(run, ray_address)
        if wait_for(point, run, process, number=kills + 1):
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    last = driver(run, ray_address)
    printed, _ = last.communicate()
    assert last.returncode == 0, printed
    assert kills == 5
    assert committed(run) == [f"r{n}" for n in range(ROWS)]
    assert store.failures(run) == []
    asked = Counter(calls.read_text(encoding="utf-8").split())
    assert len(asked) == ROWS
    assert asked.total() - ROWS <= kills * IN_FLIGHT
    assert attempts.newest(run) == 6


def test_sigterm_finishes_what_is_in_flight_and_nothing_is_paid_for_twice(
    ray_address: str, tmp_path: Path, calls: Path
) -> None:
    run = tmp_path / "run"
    process = driver(run, ray_address)
    assert wait_for(16, run, process)
    process.terminate()
    printed, _ = process.communicate()
    assert process.returncode == 1
    assert "SIGTERM: finishing the records in flight" in printed
    assert "run the same command again to resume" in printed
    done = len(committed(run))
    assert 16 <= done < ROWS
    assert len(calls.read_text(encoding="utf-8").split()) == done
    again = driver(run, ray_address)
    printed, _ = again.communicate()
    assert again.returncode == 0, printed
    assert committed(run) == [f"r{n}" for n in range(ROWS)]
    assert len(calls.read_text(encoding="utf-8").split()) == ROWS


def test_a_driver_that_wakes_up_late_writes_nothing(ray_address: str, tmp_path: Path, calls: Path) -> None:
    run = tmp_path / "run"
    old = driver(run, ray_address)
    assert wait_for(16, run, old)
    attempts.begin(run)  # what a second driver does first
    printed, _ = old.communicate()
    assert old.returncode != 0
    assert "attempt 1" in printed and "was taken over by attempt 2" in printed
    assert "Traceback" not in printed or "EngineError" in printed
    parts = {path.name.split("-")[1] for path in (run / store.RECORDS).iterdir()}
    assert parts == {"000001"}
    assert len(committed(run)) < ROWS


def test_a_killed_engine_actor_is_replaced_and_little_is_paid_for_twice(
    local_ray: None, tmp_path: Path, calls: Path
) -> None:
    env = {"CALLS": str(calls), "DIES_ONCE": str(tmp_path / "died")}
    summary = run_pass(echo_pass(tmp_path / "run", "counted_dies_once", env=env), ROWS_TO_ASK)
    assert (tmp_path / "died").exists()
    assert (summary["records"], summary["problems"]) == (ROWS, {})
    assert committed(tmp_path / "run") == [f"r{n}" for n in range(ROWS)]
    assert 0 < len(calls.read_text(encoding="utf-8").split()) - ROWS <= IN_FLIGHT


@pytest.fixture
def three_nodes() -> Iterator[object]:
    """A cluster of three nodes in one machine: a head without room for engines, two workers."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"head": 1}})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def test_a_node_that_dies_takes_no_record_with_it(three_nodes: object, tmp_path: Path, calls: Path) -> None:
    run = tmp_path / "run"
    process = driver(run, three_nodes.address, actors=[2, 2], cpus=0.8)  # type: ignore[attr-defined]
    assert wait_for(32, run, process)
    victim = three_nodes.worker_nodes.copy().pop()  # type: ignore[attr-defined]
    three_nodes.remove_node(victim, allow_graceful=False)  # type: ignore[attr-defined]
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert store.failures(run) == []
    assert committed(run) == [f"r{n}" for n in range(ROWS)]
    assert len(calls.read_text(encoding="utf-8").split()) - ROWS <= 2 * IN_FLIGHT


def test_a_full_disk_is_said_and_nothing_committed_is_lost(local_ray: None, tmp_path: Path, calls: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("a small disk has to be mounted, which takes root")
    task = echo_pass(disk / "run", env={"CALLS": str(calls)})
    try:
        with pytest.raises((EngineError, OSError), match="No space left on device"):
            run_pass(task, ROWS_TO_ASK)
        before = committed(disk / "run")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        summary = run_pass(task, ROWS_TO_ASK)
        assert (summary["records"], summary["problems"]) == (ROWS, {})
        assert set(before) <= set(committed(disk / "run"))
        assert len(calls.read_text(encoding="utf-8").split()) - ROWS <= IN_FLIGHT
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # Ray keeps the log open for a while


def test_a_dead_vllm_process_under_a_living_actor_is_replaced(
    local_ray: None, tmp_path: Path, checkpoint: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.write(tmp_path / "news", 24, 5)
    monkeypatch.setattr("imageref_ray.commands.annotation.passes.annotate", counted_annotate)
    engine: dict[str, Any] = {
        "model": str(checkpoint),
        "concurrency": 8,
        "args": {"dtype": "float32", "enforce_eager": True, "block_size": 32, "max_model_len": 2048},
        "env": {"VLLM_CPU_KVCACHE_SPACE": "1", "CALLS": str(calls)},
    }
    values = {"source": {"root": tmp_path / "news"}, "output": tmp_path / "run", "prompts": "compact"}
    killed: list[int] = []

    def kill_engine() -> None:
        while not store.Store(tmp_path / "run").done():
            time.sleep(0.02)
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "EngineCore" in " ".join(child.cmdline()):
                    child.kill()
                    killed.append(child.pid)

    threading.Thread(target=kill_engine, daemon=True).start()
    summary = build(check(BuildConfig, {**values, "engine": engine, "commit_records": 4}, "test"))
    assert killed
    assert summary["records"] + summary["quarantined"] == 24
    assert "EngineDied" not in summary["problems"]
    lines = Path(summary["files"]["plain"]).read_text(encoding="utf-8").splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == summary["records"]
    assert len(calls.read_text(encoding="utf-8").split()) - 24 <= engine["concurrency"] + 4
