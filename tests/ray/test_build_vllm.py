"""The whole build on a real vLLM inside a Ray actor, with the shipped checkpoint as annotator."""

import io
from pathlib import Path

from rich.console import Console

from imageref_ray.batch import store
from imageref_ray.commands.build import build
from imageref_ray.core import markdown
from imageref_ray.core.config import BuildConfig, load
from imageref_ray.core.records import Record, from_row
from imageref_ray.dataset.export import answer
from imageref_ray.picturenews import corpus

CONFIG = Path(__file__).parents[2] / "jobs" / "configs" / "picturenews.yaml"


def test_the_shipped_config_builds_with_the_shipped_checkpoint(
    local_ray: None, checkpoint: Path, tmp_path: Path
) -> None:
    corpus.write(tmp_path / "news", 6, 77)
    overrides = [f"engine.model={checkpoint}", f"source.root={tmp_path / 'news'}", f"output={tmp_path / 'run'}"]
    summary = build(load(BuildConfig, CONFIG, overrides), Console(file=io.StringIO()))
    records = [from_row(Record, result.row) for result in store.results(tmp_path / "run")]
    assert len(records) == 6, store.failures(tmp_path / "run")
    images = sum(len(record.sample.images) for record in records)
    assert summary["requests"] == 2 * len(records) + 2 * images
    assert summary["image_tokens"] == 2 * images * 16
    assert summary["cached_tokens"] > 0
    for record in records:
        assert markdown.check(answer(record, "caption"), record.sample) == []
        assert all(image.sha256 for image in record.sample.images)
