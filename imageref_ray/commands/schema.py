"""`imageref schema`: the JSON Schema of a job's config, for editors and other programs."""

from __future__ import annotations

import json
from typing import Any

from imageref_ray.core import config

CONFIGS: dict[str, type[config.Config]] = {
    "build": config.BuildConfig,
    "instruct": config.InstructConfig,
    "train": config.TrainConfig,
    "evaluate": config.EvaluateConfig,
    "evaluate-vqa": config.VqaConfig,
    "evaluate-judge": config.JudgeConfig,
    "evaluate-speed": config.SpeedConfig,
    "serve": config.ServeConfig,
    "demo": config.DemoConfig,
}


def schema(job: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a YAML file for this job."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **CONFIGS[job].model_json_schema()}


def run(job: str) -> None:
    """Print the schema."""
    print(json.dumps(schema(job), indent=2, ensure_ascii=False))
