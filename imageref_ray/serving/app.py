"""The Ray Serve application: replicas with vLLM inside, one engine for both APIs.

A Serve config (serve/config.yaml) names `imageref_ray.serving.app:build`, which every node with the package can import.
Its arguments are `ServeConfig`'s keys (core/config/serve.py), in the file or on the command line:

    serve run serve.app:build                                            the embedded checkpoint
    serve run serve.app:build model=runs/demo/train/model method=direct  another checkpoint
    serve run serve.app:build engine.gpus=1 'engine.actors=[1, 8]'       engine settings, as with `--set`
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import click
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from imageref_ray.core.config import CheckpointConfig, ConfigError, ServeConfig
from imageref_ray.core.tiles import notice
from imageref_ray.engines import check as check_engine
from imageref_ray.engines import check_model, make
from imageref_ray.engines.base import Message, Request, Sampling
from imageref_ray.serving.arguments import counting, read_settings
from imageref_ray.serving.routes import create_app
from imageref_ray.serving.watched_engine import WatchedEngine
from imageref_ray.stages.prompts import load_pack
from imageref_ray.stages.prompts.instruct import load_instruct

logger = logging.getLogger("ray.serve")

HEALTH_CHECK_PERIOD_S = 2
"""Between two looks at a replica: Ray Serve replaces one whose process has ended at the next."""

LAST_WORDS_S = 0.5
"""How long a replica whose engine died lives on, to tell those whom it was answering."""

DRAIN_S = 50
"""How long a replica that is to end may finish what it has begun; `serve.delete` waits for 60 s."""


@serve.deployment
@serve.ingress()
class Endpoint:
    """One replica: an engine and the HTTP routes over it."""

    def __init__(self, settings: ServeConfig) -> None:
        self._settings = settings
        try:
            engine = make(counting(settings.engine))
        except Exception as error:  # Ray Serve tells its controller only
            logger.error("the engine did not start: %s", error)
            raise
        self._engine = WatchedEngine(engine, self._leave, refuse_after_s=2 * LAST_WORDS_S)

    def __serve_build_asgi_app__(self) -> FastAPI:
        name = serve.get_replica_context().replica_id.unique_id
        return create_app(self._engine, self._settings, name, echo_id=False)  # Ray Serve does

    async def check_health(self) -> None:
        """Generates one token: an engine that hangs is found out too."""
        await self._engine.generate(Request((Message("user", ("Hello",)),), Sampling(max_tokens=1)))

    def _leave(self) -> None:
        """Ends this process, which cannot answer any more: clients are sent elsewhere, and Ray Serve starts another."""
        logger.error("the engine died; this replica ends and another takes its place")
        asyncio.get_running_loop().call_later(LAST_WORDS_S, os._exit, 1)


def build(args: dict[str, Any]) -> Application:
    """The application; `args` are ServeConfig's keys. Raises ConfigError, which `serve run` shows as one sentence."""
    try:
        settings = checked_settings(args)
    except ConfigError as error:
        if click.get_current_context(silent=True):  # Ray's command line, which would print a traceback of fifty lines
            raise click.ClickException(str(error)) from None
        raise
    deployment: Any = Endpoint
    return deployment.options(**deployment_options(settings)).bind(settings)


def checked_settings(args: dict[str, Any]) -> ServeConfig:
    """The settings, checked here so that nothing fails in a replica. Raises ConfigError."""
    settings = read_settings(args)
    load_pack(settings.prompts)
    load_instruct(settings.instruct_prompts)
    check_engine(settings.engine)
    if isinstance(settings.engine, CheckpointConfig):
        check_model(settings.engine.model)
        if different := notice(settings.engine.model, settings.engine.max_tiles):
            logger.warning("%s", different)
    if settings.images and not settings.images.is_dir():
        logger.warning("images: %s is not a folder; requests can only send data URLs", settings.images)
    return settings


def deployment_options(settings: ServeConfig) -> dict[str, Any]:
    """Options for Ray Serve: how many replicas, when to add more, and what each reserves."""
    engine = settings.engine
    minimum, maximum = engine.actors
    scaling: dict[str, Any] = {"num_replicas": minimum}
    if maximum > minimum:
        bounds = {"min_replicas": minimum, "max_replicas": maximum}
        scaling = {"autoscaling_config": {**bounds, "target_ongoing_requests": max(1, engine.concurrency // 2)}}
    return {
        **scaling,
        # The routes count what waits and refuse the rest in OpenAI's form; beyond twice of that Ray Serve itself does.
        "max_ongoing_requests": 2 * (engine.concurrency + settings.max_queued_requests),
        "max_queued_requests": engine.concurrency + settings.max_queued_requests,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": 120,
        "graceful_shutdown_timeout_s": DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "ray_actor_options": {
            "num_cpus": engine.cpus,
            "num_gpus": engine.gpus,
            "accelerator_type": engine.accelerator_type,
            "runtime_env": {"env_vars": engine.env},
        },
    }
