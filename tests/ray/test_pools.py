"""Pools of engines: on GPUs, growing with the work and with the cluster, and small again at the end."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from imageref_ray.batch import work_queue
from imageref_ray.batch.ray_data import LOG, _statuses, _width, run_pass
from imageref_ray.batch.store import ENGINES
from imageref_ray.batch.worker import packed
from imageref_ray.commands.cli import main
from imageref_ray.picturenews import corpus
from tests.ray.echo_pass import ROWS, committed, driver, echo_pass

ON_GPU = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator", "gpus": 1}
KIND = "accelerator_type:L40S"
PREPARE = "prepared_by_three"


def test_blocks_reach_an_engine_on_a_gpu_whole(local_ray: None, tmp_path: Path) -> None:
    task = echo_pass(tmp_path, "echoes", gpus=1, concurrency=64)
    work = work_queue.write(tmp_path, ((packed({"id": f"r{n}", "n": n}), None) for n in range(201)), 8)
    assert _width(task, work) == 4
    sizes = Counter(len(statuses) for statuses in _statuses(task, work))
    assert sizes == {32: 5, 25: 1, 16: 1}  # 26 batches in fours; the first one holds the ninth of the last eight rows


def test_a_pass_on_a_gpu_asks_for_every_record(local_ray: None, tmp_path: Path) -> None:
    summary = run_pass(echo_pass(tmp_path, "echoes", gpus=0.5), [{"id": f"r{n}", "n": n} for n in range(100)])
    assert (summary["records"], summary["problems"]) == (100, {})


@pytest.mark.parametrize("command", ["build", "plan"])
def test_commands_run_on_a_gpu(local_ray: None, tmp_path: Path, command: str) -> None:
    corpus.write(tmp_path / "news", 6, 5)
    values = {"source": {"root": str(tmp_path / "news")}, "output": str(tmp_path / "run"), "prompts": "compact"}
    (tmp_path / "job.yaml").write_text(json.dumps({**values, "engine": ON_GPU}))
    assert main([command, "--config", str(tmp_path / "job.yaml")]) == 0


@pytest.fixture(scope="module")
def gpu_nodes() -> Iterator[tuple[str, Any]]:
    """The address of three nodes of two CPUs and what they take for a GPU, and the one whose GPU is of another kind."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
    nodes.add_node(num_cpus=2, num_gpus=1)
    other = nodes.add_node(num_cpus=2, num_gpus=1, resources={KIND: 1})
    yield nodes.address, other
    nodes.shutdown()


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for it, as long as the process lives."""
    while not true():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)


def test_a_pool_grows_to_all_nodes_and_is_one_engine_again_at_the_end(
    gpu_nodes: tuple[str, Any], tmp_path: Path, calls: Path
) -> None:
    (address, _), run = gpu_nodes, tmp_path / "run"
    engine = {"script": "three_together", "gpus": 1, "actors": [1, 3]}
    process = driver(run, address, **engine)
    until(lambda: len(committed(run)) == ROWS - 1, process)  # no answer came before three engines had been asked
    engines = set(map(int, calls.read_text().split()))
    until(lambda: sum(map(psutil.pid_exists, engines)) == 1, process)
    calls.with_name("calls.go").touch()
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert len(engines) == 3
    assert committed(run) == [f"r{n}" for n in range(ROWS)]
    assert "will not allow it to scale up" not in (run / LOG).read_text()


def test_an_engine_goes_where_its_kind_of_gpu_is(gpu_nodes: tuple[str, Any], tmp_path: Path, calls: Path) -> None:
    address, other = gpu_nodes
    process = driver(tmp_path, address, script="whereabouts", gpus=1, accelerator_type="L40S")
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert set(calls.read_text().split()) == {other.node_id}


def test_the_cpu_step_grows_with_the_cluster(tmp_path: Path, calls: Path) -> None:
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        process = driver(tmp_path / "run", nodes.address, script="echoes", cpus=0, prepare=PREPARE)
        until((tmp_path / "run" / ENGINES).exists, process)
        nodes.add_node(num_cpus=1)
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
    finally:
        nodes.shutdown()
    assert len(committed(tmp_path / "run")) == ROWS
