"""What tests of the endpoint share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.head import free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def served(local_ray: None) -> Iterator[str]:
    """The address of the running endpoint (`http://…`): real Serve, real vLLM, as `make serve` starts it. Nothing that
    is asked of it changes it, so it is started once."""
    from ray import serve

    from serve.app import build

    config = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(config["applications"][0]["args"]), name="imageref")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
