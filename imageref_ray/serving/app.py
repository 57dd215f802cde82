"""The Ray Serve application: replicas with vLLM inside, one engine for both APIs.

`imageref_ray.serving.app:build` can be imported on every node that has the package, so a Serve config names it
(serve/config.yaml). Its arguments are `ServeConfig`'s keys (core/config/serve.py), here or on the command line:

    serve run serve.app:build                                            the embedded checkpoint
    serve run serve.app:build model=runs/demo/train/model method=direct  another one
    serve run serve.app:build engine.gpus=1 'engine.actors=[1, 8]'       more of the engine's settings, as with `--set`
"""

from __future__ import annotations

import logging
from typing import Any

import click
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from imageref_ray.core.config import ConfigError, ServeConfig
from imageref_ray.engines import check as check_engine
from imageref_ray.engines import make
from imageref_ray.engines.base import Message, Request, Sampling
from imageref_ray.serving.arguments import read
from imageref_ray.serving.routes import create
from imageref_ray.stages.prompts import load_pack

logger = logging.getLogger("ray.serve")


@serve.deployment
@serve.ingress()
class Endpoint:
    """One replica: an engine and the routes over it."""

    def __init__(self, settings: ServeConfig) -> None:
        self._settings = settings
        self._engine = make(settings.engine)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create(self._engine, self._settings)

    async def check_health(self) -> None:
        """Asks the engine for one token; a replica whose engine died is replaced."""
        await self._engine.generate(Request((Message("user", ("Hello",)),), Sampling(max_tokens=1)))


def build(args: dict[str, Any]) -> Application:
    """The application; `args` are ServeConfig's keys. Raises ConfigError, which `serve run` shows as one sentence."""
    try:
        settings = configured(args)
    except ConfigError as error:
        if click.get_current_context(silent=True):  # Ray's command line: it would print fifty lines of its own stack
            raise click.ClickException(str(error)) from None
        raise
    deployment: Any = Endpoint
    return deployment.options(**replicas(settings)).bind(settings)


def configured(args: dict[str, Any]) -> ServeConfig:
    """Checked settings: what would fail in a replica fails here."""
    settings = read(args)
    load_pack(settings.prompts)
    check_engine(settings.engine)
    if settings.images and not settings.images.is_dir():
        logger.warning("images: there is no folder %s here; requests can only send data URLs", settings.images)
    return settings


def replicas(settings: ServeConfig) -> dict[str, Any]:
    """Deployment options: how many replicas, what each reserves, when there are more of them."""
    engine = settings.engine
    least, most = engine.actors
    scaling: dict[str, Any] = {"num_replicas": least}
    if most > least:
        bounds = {"min_replicas": least, "max_replicas": most}
        scaling = {"autoscaling_config": {**bounds, "target_ongoing_requests": max(1, engine.concurrency // 2)}}
    return {
        **scaling,
        "max_ongoing_requests": engine.concurrency,
        "health_check_period_s": 30,
        "health_check_timeout_s": 120,
        "ray_actor_options": {
            "num_cpus": engine.cpus,
            "num_gpus": engine.gpus,
            "accelerator_type": engine.accelerator_type,
            "runtime_env": {"env_vars": engine.env},
        },
    }
