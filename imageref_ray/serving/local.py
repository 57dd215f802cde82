"""`imageref serve`: a Ray Serve config, or a checkpoint, in; its applications answering until Ctrl-C; logs in files."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ray import serve

from imageref_ray.batch import cluster
from imageref_ray.core.config import ConfigError, overridden

LOGS = "/tmp/ray/session_latest/logs/serve"
OWN = {"name": "imageref", "import_path": "imageref_ray.serving.app:build"}
"""The application that is served where no config names any."""


def run(
    config: Path | None = None,
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Serve on the cluster in RAY_ADDRESS, or on a Ray started for it: what the config says, else the endpoint.

    `model` and `overrides` (`key=value`) change the endpoint's arguments. Raises ConfigError.
    """
    sys.path.insert(0, str(Path.cwd()))  # where a config's own applications may lie
    settings = _changed(read(config) if config else {"applications": [OWN]}, model, overrides)
    applications = [(one, _built(one)) for one in settings["applications"]]  # mistakes show before anything starts
    http = {"host": "127.0.0.1", "port": 8000, **settings.get("http_options", {})}
    http |= {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    print(f"starting Ray and {len(applications)} application(s), about half a minute", flush=True)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster.attached(dashboard=True):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # again: ray.init has put a handler of its own
        try:
            serve.start(proxy_location=settings.get("proxy_location", "HeadOnly"), http_options=http)
            for one, application in applications:
                serve.run(application, name=one["name"], route_prefix=one.get("route_prefix", "/"))
            print(f"answering on http://{http['host']}:{http['port']} (stop: Ctrl-C, logs: {LOGS})", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping", flush=True)
            for one, _ in applications:
                serve.delete(one["name"])


def read(path: Path) -> dict[str, Any]:
    """The parsed file. Raises ConfigError unless it lists applications."""
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = [(one["name"], one["import_path"]) for one in config["applications"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is no Ray Serve config ({reason}); imageref init serve writes one") from None
    if not names:
        raise ConfigError(f"{path} lists no applications; imageref init serve writes a file that does")
    return config


def _changed(settings: dict[str, Any], model: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """The settings with these arguments of their one application. Raises ConfigError where there are several."""
    if model is None and not overrides:
        return settings
    if len(settings["applications"]) > 1:
        raise ConfigError("--model and --set change one application, but the config lists several; edit the file")
    (one,) = settings["applications"]
    arguments = dict(one.get("args") or {})
    arguments = overridden(arguments, overrides) if arguments else dict(_split(text) for text in overrides)
    return {**settings, "applications": [{**one, "args": arguments | ({} if model is None else {"model": model})}]}


def _split(override: str) -> tuple[str, str]:
    """An argument as `serve run` takes it: the application reads it, over the embedded checkpoint's settings."""
    key, equals, value = override.partition("=")
    if not key or not equals:
        raise ConfigError(f"--set {override}: expected key=value, e.g. --set method=direct")
    return key, value


def _built(one: dict[str, Any]) -> Any:
    module, _, name = one["import_path"].partition(":")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"import_path {one['import_path']}: {error}; expected module:function") from None
    return builder(one.get("args") or {})
