"""`imageref demo`: the whole pipeline; with --serve the page on which what it has made can be tried."""

from __future__ import annotations

from typing import Any

from imageref_ray.commands.serve import run as serve_endpoint
from imageref_ray.core.config import DemoConfig


def run(config: DemoConfig, serve: bool, port: int | None) -> dict[str, Any] | None:
    """Run the demo and return its report, or serve its page until Ctrl-C. Raises ConfigError."""
    if not serve:
        from imageref_ray.commands.demo import demo  # loads what every job needs

        return demo(config)
    serve_endpoint(None, None, None, port, False, endpoint_settings(config))
    return None


def endpoint_settings(config: DemoConfig) -> list[str]:
    """`key=value` settings of the endpoint: the demo's student and runs where they are there, else the default."""
    settings = []
    student = config.output / "train" / "model"
    if (student / "config.json").is_file():
        settings += [f"model={student}", "method=direct"]
    if config.output.is_dir():
        settings.append(f"runs={config.output}")
    return settings
