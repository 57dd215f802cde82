"""`imageref serve`: a Ray Serve config in, its applications answering until Ctrl-C; the logs stay in files."""

from __future__ import annotations

import importlib
import logging
import signal
import threading
from pathlib import Path
from typing import Any

import yaml
from ray import serve

from imageref_ray.batch import cluster
from imageref_ray.core.config import ConfigError

LOGS = "/tmp/ray/session_latest/logs/serve"


def run(path: Path) -> None:
    """Serve what the file says, on the cluster in RAY_ADDRESS or on a Ray of its own. Raises ConfigError."""
    config = read(path)
    applications = [(one, _built(one)) for one in config["applications"]]  # mistakes show before anything starts
    http = {"host": "127.0.0.1", "port": 8000, **config.get("http_options", {})}
    print(f"starting Ray and {len(applications)} application(s); half a minute on an idle machine", flush=True)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster.attached(dashboard=True):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # again: ray.init has put a handler of its own
        try:
            serve.start(proxy_location=config.get("proxy_location", "HeadOnly"), http_options=http)
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
        told = " ".join(str(error).split())
        raise ConfigError(f"{path} is no Ray Serve config ({told}); see serve/config.yaml") from None
    if not names:
        raise ConfigError(f"{path} lists no applications; see serve/config.yaml")
    return config


def _built(one: dict[str, Any]) -> Any:
    module, _, name = one["import_path"].partition(":")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"import_path {one['import_path']}: {error}; expected module:function") from None
    return builder(one.get("args") or {})
