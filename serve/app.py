"""The Ray Serve application: replicas with vLLM inside, one engine for both APIs.

`serve run serve.app:build` starts it with the embedded checkpoint, `imageref serve` or `serve run serve/config.yaml`
with the settings of a file (serve/settings.py says which there are).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from imageref_ray.config import check
from imageref_ray.engines import check as check_engine
from imageref_ray.engines import make
from imageref_ray.engines.base import Message, Request, Sampling
from imageref_ray.prompts import load_pack
from serve.routes import create
from serve.settings import ServeConfig

ROOT = Path(__file__).parents[1]


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
    """The application; `args` are ServeConfig's keys, the rest is as in config.yaml. Raises ConfigError."""
    settings = configured(args)
    deployment: Any = Endpoint
    return deployment.options(**replicas(settings)).bind(settings)


def configured(args: dict[str, Any]) -> ServeConfig:
    """Checked settings; paths are relative to the repository, for replicas have a working directory of their own."""
    shipped = yaml.safe_load(Path(__file__).with_name("config.yaml").read_text(encoding="utf-8"))
    settings = check(ServeConfig, {**shipped["applications"][0]["args"], **args}, "serve.app:build")
    engine, images = settings.engine, settings.images
    if (ROOT / engine.model).exists():
        engine = engine.model_copy(update={"model": str(ROOT / engine.model)})
    load_pack(settings.prompts)
    check_engine(engine)
    return settings.model_copy(update={"engine": engine, "images": images and ROOT / images})


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
            "runtime_env": {"env_vars": engine.env},
        },
    }
