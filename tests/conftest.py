"""What tests share: one small Ray and one served application a session, started only when a test asks for them."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from imageref_ray.cli import PATIENCE

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TOKENIZERS_PARALLELISM": "false"}
for name, value in {**PATIENCE, **QUIET}.items():  # before Ray is imported, for it and for all its processes
    os.environ.setdefault(name, value)

for name in ("NO_PROXY", "no_proxy"):  # servers of tests are on this machine, whatever proxy leads out of it
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))

# A busy machine is no failure.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The shipped checkpoint."""
    return Path(__file__).parents[1] / "imageref_ray" / "picturenews" / "checkpoint"


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two CPUs and what it takes for a GPU on this machine, kept for all tests that need one."""
    import ray

    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def served(local_ray: None) -> Iterator[str]:
    """The address of the running endpoint (`http://…`): real Serve, real vLLM, as `make serve` starts it."""
    from ray import serve

    from serve.app import build

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({}), name="imageref")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def free_port() -> int:
    """A port that nobody listens on, of those that the system gives to nobody by itself: between asking and use, only
    somebody who wants this very number can take it. For servers that cannot be asked which port they took."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port between 20000 and 32000 is free")
