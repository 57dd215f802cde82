"""What tests of the endpoint share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.head import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def port() -> int:
    """The port of Serve, whoever starts it."""
    return free_port()


@pytest.fixture(scope="module")
def served(local_ray: None, port: int) -> str:
    """The address of the running endpoint (`http://…`): real Serve, real vLLM, as `make serve` starts it. Nothing that
    is asked of it changes it, so it is started once, and once more after a file that had `own_serve`."""
    from ray import serve

    from serve.app import build

    if not serve.status().applications:
        config = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(config["applications"][0]["args"]), name="imageref")
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def own_serve(local_ray: None, port: int) -> Iterator[str]:
    """The address of a Serve without an application, for a file whose tests deploy and break what they like."""
    from ray import serve

    serve.shutdown()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
