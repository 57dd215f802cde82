"""Workers and nodes that die: the training ends as if nothing had been, or says in one sentence why not."""

import errno
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.core.durable import DiskError
from imageref_ray.training import progress
from imageref_ray.training.recovery import CHECKPOINT_LIST, LIST_COPY, describe_cause, permanent_error, repair_list
from imageref_ray.training.train import train
from imageref_ray.training.train_worker import scratch_folder
from tests.train.runs import ROOT, command, lines, losses, settings, workers

Reference = tuple[TrainConfig, dict[str, Any]]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`command`, ended with the test."""
    begun: list[subprocess.Popen[bytes]] = []

    def start_one(*given: Any) -> subprocess.Popen[bytes]:
        begun.append(command(*given))
        return begun[-1]

    yield start_one
    for process in begun:
        process.kill()


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 600) -> None:
    """Wait for something that happens before the process ends."""
    begun = time.monotonic()
    while not ready():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() - begun < seconds
        time.sleep(0.05)


def registered(config: TrainConfig) -> bool:
    return (config.output / CHECKPOINT_LIST).is_file()


def begun(config: TrainConfig) -> int:
    return sum(event["event"] == "started" for event in progress.read_lines(config.output / "events.jsonl"))


def test_a_training_survives_a_killed_worker_and_keeps_nothing_of_the_broken_attempt(
    ray_address: str, folder: Path, tmp_path: Path, start: Start, reference: Reference
) -> None:
    config = settings(folder, "killed")
    half = (
        config.output / "checkpoints" / "checkpoint_2020-01-01_00-00-00.000000"
    )  # as a kill while it is written leaves
    half.mkdir(parents=True)
    stale = scratch_folder(config) / "checkpoint-6" / "stale"  # the last, which is kept
    stale.parent.mkdir(parents=True)
    stale.touch()
    running = start(config, tmp_path / "screen", ray_address)
    until(lambda: registered(config), running)
    workers()[-1].kill()
    assert running.wait() == 0, (tmp_path / "screen").read_text()
    assert losses(config) == pytest.approx(losses(reference[0]), rel=1e-3)
    done = json.loads((config.output / "summary.json").read_text())
    assert done["skipped"] == reference[1]["skipped"]
    screen = (tmp_path / "screen").read_text()
    assert "was killed or crashed; restarting from step 2 (1 of 3)" in screen
    assert "train: resumed from step" in screen
    assert "Traceback" not in screen
    assert not half.exists()
    assert not [*config.output.rglob("stale")]
    assert not scratch_folder(config).exists()
    named = (config.output / CHECKPOINT_LIST).read_text()
    assert (config.output / CHECKPOINT_LIST).with_name(LIST_COPY).read_text() == named
    kept = [path.name for path in (config.output / "checkpoints").glob("checkpoint_*/")]
    assert len(kept) == 2
    assert all(name in named for name in kept)


def test_more_failures_than_allowed_end_in_one_sentence(
    ray_address: str, folder: Path, tmp_path: Path, start: Start
) -> None:
    config = settings(folder, "failing", max_failures=1)
    running = start(config, tmp_path / "screen", ray_address)
    for number in (1, 2):
        until(lambda number=number: begun(config) == number, running)  # type: ignore[misc]
        workers()[-1].kill()
    assert running.wait() == 1
    first, lost, last = (tmp_path / "screen").read_text().splitlines()
    assert first.startswith("train: 0/6 steps")
    assert "was lost: its process was killed or crashed; restarting from" in lost
    assert "(1 of 1)" in lost
    assert last.startswith("imageref: training failed: ")
    assert "its process was killed or crashed; 1 of 1 restarts were tried (max_failures)" in last
    assert str(config.output / "train.log") in last
    assert "Traceback" in (config.output / "train.log").read_text()


ANOTHER_RAY = """
import ray, sys
ray.init("local", num_cpus=1, include_dashboard=True)
print("up", flush=True)
sys.stdin.read()
"""


def test_another_ray_that_starts_on_the_machine_takes_nothing_away(folder: Path, tmp_path: Path, start: Start) -> None:
    """Ray Train's watcher of its controller must ask the Ray of the training, not the one that started last."""
    config = settings(folder, "beside", steps=60, checkpoint_every=60)
    running = start(config, tmp_path / "screen")
    until(lambda: begun(config) == 1, running)
    beside = subprocess.Popen([sys.executable, "-c", ANOTHER_RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with beside:
        assert beside.stdout is not None and beside.stdout.readline() == b"up\n"
        assert running.poll() is None, "the training was over before"
        assert running.wait() == 0, (tmp_path / "screen").read_text()
        beside.kill()
    assert begun(config) == 1, (tmp_path / "screen").read_text()


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes on one machine, each with room for one worker."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def test_a_lost_node_is_waited_for_and_the_training_ends_as_without_the_loss(
    folder: Path, tmp_path: Path, two_nodes: Any, start: Start, reference: Reference
) -> None:
    config = settings(folder, "node", cpus_per_worker=1, log_every=3)
    running = start(config, tmp_path / "screen", two_nodes.address)
    until(lambda: registered(config), running)
    two_nodes.remove_node(two_nodes.worker_nodes.copy().pop(), allow_graceful=False)
    until(lambda: "the cluster has 1 node(s)" in (tmp_path / "screen").read_text(), running)
    two_nodes.add_node(num_cpus=1)
    assert running.wait() == 0, (tmp_path / "screen").read_text()
    screen = (tmp_path / "screen").read_text()
    assert re.search(r"worker \d .*its node.*; restarting from step 2 \(1 of 3\)", screen)
    assert "waiting for room for 2 worker(s) with 1 CPU each" in screen
    assert "Traceback" not in screen
    single = lines(reference[0])
    for line, part in zip(lines(config), (single[:3], single[3:]), strict=True):
        learned = [one["learned_tokens"] for one in part]
        assert line["step"] == part[-1]["step"]
        assert line["learned_tokens"] == sum(learned)
        mean = sum(one["loss"] * count for one, count in zip(part, learned, strict=True)) / sum(learned)
        assert line["loss"] == pytest.approx(mean, rel=1e-3)


def test_ctrl_c_ends_a_training_as_it_ends_every_command(
    ray_address: str, folder: Path, tmp_path: Path, start: Start
) -> None:
    config = settings(folder, "interrupted", workers=1)
    running = start(config, tmp_path / "screen", ray_address)
    until(lambda: begun(config) == 1, running)
    running.send_signal(signal.SIGINT)
    assert running.wait() == 130
    assert "imageref: interrupted" in (tmp_path / "screen").read_text().splitlines()[-1]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("a small disk has to be mounted, which takes root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_told_and_with_room_the_training_goes_on(
    folder: Path, tmp_path: Path, disk: Path, start: Start
) -> None:
    config = settings(folder, "full", output=disk / "run", keep_checkpoints=1)
    running = start(config, tmp_path / "screen")
    assert running.wait() == 1
    *_, last = (tmp_path / "screen").read_text().splitlines()
    assert last.startswith(f"imageref: training failed: {disk}/run/checkpoints/checkpoint_"), last
    assert "cannot be written: No space left on device (" in last
    assert "a restart would fail the same way, so fix the cause first" in last
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    running = start(config, tmp_path / "again")
    assert running.wait() == 0, (tmp_path / "again").read_text()
    assert len(losses(config)) == config.steps
    assert (config.output / "model" / "model.safetensors").is_file()


def test_a_run_killed_while_it_exports_exports_again(reference: Reference) -> None:
    config, done = reference
    (config.output / "summary.json").unlink()
    (config.output / "model").rename(config.output / "model.part")
    before = (config.output / "model.part" / "model.safetensors").read_bytes()
    again = train(config)
    assert (config.output / "model" / "model.safetensors").read_bytes() == before
    assert {**again, "total_seconds": 0} == {**done, "total_seconds": 0}
    assert not [*config.output.glob("*.part")]


def test_a_half_written_list_of_checkpoints_is_replaced_by_the_one_before(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_LIST).parent.mkdir()
    repair_list(tmp_path)
    for text in ('{"checkpoint_results": []}', '{"check'):
        (tmp_path / CHECKPOINT_LIST).write_text(text)
        repair_list(tmp_path)
        assert (tmp_path / CHECKPOINT_LIST).exists() == (text[-1] == "}")
    (tmp_path / CHECKPOINT_LIST).write_text("")
    (tmp_path / CHECKPOINT_LIST).with_name(LIST_COPY).write_text("{}")
    repair_list(tmp_path)
    assert (tmp_path / CHECKPOINT_LIST).read_text() == "{}"


def test_a_users_mistake_that_a_worker_finds_is_not_tried_again(local_ray: None, folder: Path) -> None:
    (folder / "broken.jsonl").write_text("{}\n{}\n")
    config = settings(folder, "none", workers=1, mixture={"news": {"annotation": folder / "broken.jsonl"}})
    with pytest.raises(ConfigError, match=r"no sample can be trained on: .*not an annotation line': 2"):
        train(config)
    assert begun(config) == 1


def test_what_only_a_restart_may_help_is_told_from_what_comes_again() -> None:
    gone = ray.exceptions.ActorDiedError()
    lonely = RuntimeError("[gloo] Connection closed by peer")
    mistake = TypeError("no such thing\n  twice")
    assert permanent_error({0: lonely, 1: mistake}) is mistake
    assert permanent_error({0: lonely, 1: gone}) is None
    assert permanent_error({0: mistake, 1: gone}) is None
    assert describe_cause({0: lonely, 1: mistake}) == "worker 1 failed: TypeError: no such thing twice"
    assert describe_cause({0: mistake, 1: gone}).startswith("worker 1 was lost: ")


def test_a_full_disk_ends_a_training_and_a_broken_one_may_be_another_after_a_restart() -> None:
    lonely = RuntimeError("[gloo] Connection closed by peer")
    full = DiskError(errno.ENOSPC, "/store/run cannot be written: No space left on device; free space", "/store/run")
    broken = DiskError(errno.EIO, "/store/run cannot be written: Input/output error; check the disk", "/store/run")
    assert permanent_error({0: lonely, 1: full}) is full
    assert permanent_error({0: lonely, 1: broken}) is None
    assert describe_cause({0: lonely, 1: broken}) == f"worker 1 failed: {broken}"


PLACE = """
import sys
from pathlib import Path
import ray.train
from ray.cluster_utils import Cluster
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from imageref_ray.core.config import TrainConfig
from imageref_ray.training.train import scaling_config

def work(settings):
    rank = ray.train.get_context().get_world_rank()
    (Path(settings["to"]) / f"{settings['kind']}-{rank}").write_text(ray.get_runtime_context().get_node_id())

cluster = Cluster()
nodes = {}
for kind in ("T4", "A100"):
    nodes[kind] = cluster.add_node(num_cpus=2, num_gpus=2, resources={f"accelerator_type:{kind}": 1})
cluster.wait_for_nodes()
ray.init(cluster.address, log_to_driver=False)
for kind, node in nodes.items():
    config = TrainConfig.model_validate_json(sys.argv[1]).model_copy(update={"accelerator_type": kind})
    storage = ray.train.RunConfig(storage_path=sys.argv[2])
    given = {"kind": kind, "to": sys.argv[2]}
    DataParallelTrainer(work, train_loop_config=given, scaling_config=scaling_config(config), run_config=storage).fit()
    found = {path.read_text() for path in Path(sys.argv[2]).glob(f"{kind}-*")}
    assert found == {node.node_id}, (kind, found)
ray.shutdown()
cluster.shutdown()
"""


def test_workers_land_on_the_nodes_with_the_named_kind_of_gpu(folder: Path, tmp_path: Path) -> None:
    config = settings(folder, "kinds", workers=1, gpus_per_worker=1, accelerator_type="T4")
    call = [sys.executable, "-c", PLACE, config.model_dump_json(), str(tmp_path)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*-0")) == ["A100-0", "T4-0"]


def test_a_kind_of_gpu_without_gpus_is_a_mistake(folder: Path) -> None:
    with pytest.raises(ConfigError, match="A100 is a kind of GPU, but gpus_per_worker is 0"):
        train(settings(folder, "no-gpu", accelerator_type="A100"))
