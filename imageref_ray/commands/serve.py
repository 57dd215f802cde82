"""`imageref serve`: the endpoint on this machine, or on a cluster; `imageref serve key`: who may ask it."""

from __future__ import annotations

import os
from pathlib import Path

from imageref_ray.serving import environment, haproxy


def run(
    config: Path | None, model: str | None, host: str | None, port: int | None, insecure: bool, overrides: list[str]
) -> None:
    """Serve until the process gets SIGINT or SIGTERM. Raises ConfigError."""
    given = {} if "RAY_ADDRESS" in os.environ else environment.variables()  # a cluster that runs has got its own
    os.environ.update(given)
    from imageref_ray.serving import local  # imports Ray, which reads these variables on import

    try:
        local.run(config, model, host, port, [*overrides, "insecure=true"] if insecure else overrides)
    finally:
        haproxy.remove(given)


def key(name: str, out: Path | None, concurrency: int | None, per_minute: int | None) -> None:
    """Print a new key, which is stored nowhere, and write its sum. Raises ConfigError."""
    from imageref_ray.serving.keys import new_key

    print(new_key(name, out, concurrency, per_minute))
