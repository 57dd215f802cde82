"""What tests share: one small Ray a session, started only when a test asks for it."""

import atexit
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from imageref_ray.serving import environment, haproxy
from tests.head import Head, start
from tests.sweeps import EXAMPLES, sweep
from tests.wheel import install

# On a CPU vLLM then computes in its engine's process: one import of vLLM less at every start.
QUICK = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TOKENIZERS_PARALLELISM": "false"}
for name, value in {**QUIET, **QUICK}.items():  # before Ray is imported, for it and for all its processes
    os.environ.setdefault(name, value)
RAY = environment.variables()
os.environ.update(RAY)
atexit.register(haproxy.remove, RAY)

ROOT = Path(__file__).parents[1]

for name in ("NO_PROXY", "no_proxy"):  # servers of tests are on this machine, whatever proxy leads out of it
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))

# A busy machine is no failure.
settings.register_profile(
    "house", max_examples=sweep(EXAMPLES), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The shipped checkpoint."""
    return ROOT / "imageref_ray" / "picturenews" / "checkpoint"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has installed the wheel."""
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two CPUs and what it takes for a GPU on this machine, kept for all tests that need one."""
    import ray

    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def ray_address(local_ray: None) -> str:
    """RAY_ADDRESS for processes that join the Ray of the tests: starting one takes longer than most of them do."""
    import ray

    address: str = ray.get_runtime_context().gcs_address
    return address


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray head of two CPUs with token authentication, on which the package is all that is installed."""
    with start(tmp_path_factory.mktemp("head")) as started:
        yield started
