"""The smallest application that Ray Serve can run: what `imageref serve` starts in its own test."""

from typing import Any

from ray import serve
from ray.serve import Application


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Hello:
    """Greets by the name it was given."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self) -> str:
        return f"hello {self._name}"


def build(args: dict[str, Any]) -> Application:
    """The application; `args` hold a name."""
    deployment: Any = Hello
    return deployment.bind(args["name"])
