"""The routes about the endpoint itself: models, version, metrics, OpenAPI, health."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from imageref_ray.core.config import ServeConfig
from imageref_ray.engines.base import EngineDied
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.metrics import Metrics
from imageref_ray.serving.watched_engine import WatchedEngine

PLAIN: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def add_operations(
    app: FastAPI, checked: APIRouter, engine: WatchedEngine, settings: ServeConfig, metrics: Metrics
) -> None:
    """/health and /ping are open to everybody, who learn nothing else; the rest needs a key like any other route."""
    served = {
        "id": settings.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "imageref",
        "max_model_len": engine.context,
    }

    @checked.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [served]}

    @checked.get("/v1/models/{id:path}")
    async def model(id: str) -> dict[str, Any]:
        if id != settings.name:
            message = f"the model `{id[:100]}` is not served here; use `{settings.name}`"
            raise WireError(message, "model", 404, "model_not_found")
        return served

    @checked.get("/version")
    async def version() -> dict[str, str]:
        return {"version": importlib.metadata.version("imageref-ray")}

    @checked.get("/metrics", response_class=Response, responses=PLAIN)
    async def all_metrics() -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    @checked.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    @app.get("/health")
    @app.get("/ping")
    async def health() -> dict[str, str]:
        if engine.dead:
            raise EngineDied("its process is gone")
        return {"status": "ok"}
