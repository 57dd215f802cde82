"""`imageref serve`: run the applications of a Ray Serve config, or the endpoint for a checkpoint, until Ctrl-C."""

from __future__ import annotations

import importlib
import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import serve

from imageref_ray.batch import cluster
from imageref_ray.core.config import ConfigError, overridden
from imageref_ray.core.yaml_files import read_yaml
from imageref_ray.serving.arguments import read_settings
from imageref_ray.serving.keys import check_exposed

DEFAULT_APPLICATION = {"name": "imageref", "import_path": "imageref_ray.serving.app:build"}
"""The application that is served without a config."""
READ = {"applications", "http_options", "proxy_location", "logging_config"}
READ_OF_EACH = {"name", "import_path", "route_prefix", "args"}
"""What `imageref serve` reads of a config and of its applications."""
AS_EMBEDDED = """the embedded checkpoint's settings, but for --set: CPUs, 2,048 tokens, prompts: compact
(for others write a file with imageref init serve, and give it to --config)"""
"""What serves a model that is only named."""
OURS = (DEFAULT_APPLICATION["import_path"], "serve.app:build")


def run(
    config: Path | None = None,
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Serve the config's applications, or the endpoint, on the cluster in RAY_ADDRESS or on a Ray that this starts.

    `model` and `overrides` (`key=value`) change the endpoint's arguments. Raises ConfigError.
    """
    sys.path.insert(0, str(Path.cwd()))  # a config may name applications of the working directory
    defaults = {"applications": [DEFAULT_APPLICATION]}
    settings = _with_overrides(read_serve_config(config) if config else defaults, model, overrides)
    # Built before anything starts: mistakes show at once.
    applications = [(entry, _build_application(entry)) for entry in settings["applications"]]
    http = {"host": "127.0.0.1", "port": 8000, **settings.get("http_options", {})}
    http |= {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    for entry in settings["applications"]:
        if entry["import_path"] in OURS:
            check_exposed(http["host"], read_settings(entry.get("args") or {}))
    if model and not config:
        print(f"{model} with {AS_EMBEDDED}", flush=True)
    print(f"starting Ray and {len(applications)} application(s), about half a minute", flush=True)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore SIGINT for background processes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster.attached(dashboard=True):
        folder = _logs_folder()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # again: ray.init has set its own
        try:
            logs = settings.get("logging_config", {"enable_access_log": False})
            where = settings.get("proxy_location", "HeadOnly")
            serve.start(proxy_location=where, http_options=http, logging_config=logs)
            for entry, application in applications:
                _start(entry, application, logs, folder)
            address = f"http://{http['host']}:{http['port']}"
            for path in _demo_pages(settings["applications"]):
                print(f"to try it: {address}{path}", flush=True)
            print(f"answering on {address} (stop: Ctrl-C, logs: {folder})", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopping: what has begun is answered first (Ctrl-C again: at once)", flush=True)
            with suppress(KeyboardInterrupt):
                _stop([entry["name"] for entry, _ in applications])


def _start(entry: dict[str, Any], application: Any, logs: dict[str, Any], folder: str) -> None:
    """Run an application until its replicas are there. Raises ConfigError with what they said where none starts."""
    name = entry["name"]
    try:
        serve.run(application, name=name, route_prefix=entry.get("route_prefix", "/"), logging_config=logs)
    except RuntimeError:
        failed = serve.status().applications.get(name)
        if failed is None or failed.status != "DEPLOY_FAILED":
            raise
        told = "\n".join([failed.message, *(deployment.message for deployment in failed.deployments.values())])
        errors = re.findall(r"^[\w.]*(?:Error|Exception|Died): (.*)", told, re.MULTILINE)
        reason = errors[-1] if errors else failed.message
        raise ConfigError(f"the application {name} did not start: {reason} (logs: {folder})") from None


def _logs_folder() -> str:
    """Where each node of this Ray writes what Serve's processes say."""
    ray_here = ray.init(ignore_reinit_error=True, configure_logging=False)
    return f"{ray_here.address_info['session_dir']}/logs/serve"


def _demo_pages(applications: Sequence[dict[str, Any]]) -> list[str]:
    """The paths of the endpoints' pages."""
    ours = [entry for entry in applications if entry["import_path"] in OURS]
    shown = [entry for entry in ours if read_settings(entry.get("args") or {}).demo]
    return [f"{entry.get('route_prefix', '/').rstrip('/')}/demo" for entry in shown]


def _stop(names: Sequence[str]) -> None:
    """The applications take nothing new and finish what they have begun."""
    for name in names:
        with suppress(TimeoutError):  # after 60 s; a reply may take longer than anybody wants to wait
            serve.delete(name)


def read_serve_config(path: Path) -> dict[str, Any]:
    """The parsed Ray Serve config. Raises ConfigError unless it lists applications."""
    try:
        config: dict[str, Any] = read_yaml(path)
        names = [(entry["name"], entry["import_path"]) for entry in config["applications"]]
    except (OSError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a Ray Serve config ({reason}); imageref init serve writes one") from None
    if not names:
        raise ConfigError(f"{path} lists no applications; imageref init serve writes a file that does")
    unread = [*config.keys() - READ, *(key for entry in config["applications"] for key in entry.keys() - READ_OF_EACH)]
    if unread:
        others = f"`serve run {path}` and `serve deploy {path}` read all of Ray Serve's"
        raise ConfigError(f"{path}: imageref serve does not read {', '.join(sorted(unread))}; {others}")
    return config


def _with_overrides(settings: dict[str, Any], model: str | None, overrides: Sequence[str]) -> dict[str, Any]:
    """The settings with `model` and `overrides` as arguments of their application. Raises ConfigError for several."""
    if model is None and not overrides:
        return settings
    if len(settings["applications"]) > 1:
        raise ConfigError("--model and --set change one application, but the config lists several; edit the file")
    (entry,) = settings["applications"]
    arguments = dict(entry.get("args") or {})
    arguments = overridden(arguments, overrides) if arguments else dict(_split(text) for text in overrides)
    return {**settings, "applications": [{**entry, "args": arguments | ({} if model is None else {"model": model})}]}


def _split(override: str) -> tuple[str, str]:
    """An argument in `serve run`'s form (text): the application applies it to the embedded checkpoint's settings."""
    key, equals, value = override.partition("=")
    if not key or not equals:
        raise ConfigError(f"--set {override}: expected key=value, e.g. --set method=direct")
    return key, value


def _build_application(entry: dict[str, Any]) -> Any:
    """Call the builder that an entry of `applications` names, with its `args`."""
    module, _, name = entry["import_path"].partition(":")
    try:
        builder = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"import_path {entry['import_path']}: {error}; expected module:function") from None
    return builder(entry.get("args") or {})
