"""Ray that does not start, or a cluster that does not answer, is one sentence and not a traceback."""

import inspect
import os
import socket
import subprocess
import sys

import pytest
import ray
from ray._private import node

from imageref_ray.batch import cluster
from imageref_ray.core.config import ConfigError
from imageref_ray.engines.base import EngineError
from tests.head import free_port

TIMED_OUT = (
    "The current node timed out during startup. This could happen because some of the raylet failed to startup "
    "or the GCS has become overloaded."
)
ONE_LINE = (
    r"^Ray did not start on this machine \(The current node timed out .* overloaded\)\. .* busy machine .*; wait .*"
)


def failing(error: Exception) -> object:
    def init(**settings: object) -> None:
        raise error

    return init


def test_ray_still_says_that_it_timed_out_in_these_words() -> None:
    source = " ".join(inspect.getsource(node.Node.__init__).replace('"', "").split())
    assert " ".join(TIMED_OUT.split()) in source


def test_a_machine_too_busy_to_start_ray_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", failing(Exception(TIMED_OUT)))
    with pytest.raises(EngineError, match=ONE_LINE) as stopped, cluster.attached():
        pass
    assert "\n" not in str(stopped.value)


FULL_LOG = """
import sys
from pathlib import Path
from imageref_ray.batch.cluster import output_to

try:
    with output_to(Path("/dev/full")):
        print("what a library prints", flush=sys.argv[1] == "at once")
        raise KeyError("the reason")
except (KeyError, OSError) as error:
    print("imageref:", error, flush=True)
"""


@pytest.mark.parametrize(
    ("when", "says"), [("late", "'the reason'"), ("at once", "/dev/full cannot be written: No space left on device")]
)
def test_a_log_without_room_leaves_the_screen_and_the_reason(when: str, says: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-c", FULL_LOG, when]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"imageref: {says}" in done.stdout


def test_other_errors_of_ray_are_not_explained_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", failing(ValueError("num_cpus must not be negative")))
    with pytest.raises(ValueError, match=r"^num_cpus must not be negative$"), cluster.attached():
        pass


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nothing_listens_is_named_at_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = form.format(free_port())
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(cluster, "ANSWER_S", 0.1)
    told = rf"^no Ray cluster answers at {address} \(.*refused\); check RAY_ADDRESS or unset it$"
    with pytest.raises(ConfigError, match=told), cluster.attached():
        pass


def test_an_address_where_no_cluster_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray, "init", failing(ConnectionError("no route")))
        told = rf"^no Ray cluster answers at {address} \(no route\); check RAY_ADDRESS or unset it$"
        with pytest.raises(ConfigError, match=told), cluster.attached():
            pass


def test_a_ray_of_ones_own_that_does_not_answer_has_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", failing(ConnectionError("ray client connection timeout")))
    with pytest.raises(EngineError, match=r"^Ray did not start on this machine \(ray client"), cluster.attached():
        pass
