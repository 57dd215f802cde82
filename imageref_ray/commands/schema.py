"""`imageref schema`: the JSON Schema of a job's config, or of a row of samples, for editors and other programs."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from imageref_ray.core import config
from imageref_ray.sources.sample_rows import SampleRow

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
    """The JSON Schema (draft 2020-12) of a YAML file for this job, or of a row of `samples`."""
    model: type[BaseModel] = SampleRow if job == "samples" else CONFIGS[job]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def run(job: str) -> None:
    """Print the schema."""
    print(json.dumps(schema(job), indent=2, ensure_ascii=False))
