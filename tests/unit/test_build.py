"""The build's own steps without Ray: what is verified, what is refused, what its fingerprint rests on."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray import manifest
from imageref_ray.build import fingerprint_settings
from imageref_ray.config import BuildConfig, ConfigError, PriceConfig, SourceConfig, check
from imageref_ray.passes import over_budget, passes, verify
from imageref_ray.recipe import recipe
from imageref_ray.records import Document, Image, Record, Sample, Usage, to_row


def sample_row(folder: Path, good: int, missing: int = 0) -> dict[str, Any]:
    for k in range(good):
        PIL.Image.new("RGB", (4, 4)).save(folder / f"{k}.png")
    images = tuple(Image(f"n/{k}.png", str(folder / f"{k}.png")) for k in range(good + missing))
    return {"id": "7", "record": to_row(Record(Sample("7", "?", (Document("n", "T", "text", images),))))}


def config(root: Path, **more: Any) -> BuildConfig:
    (root / "events.jsonl").touch()
    engine = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator"}
    return check(BuildConfig, {"source": {"root": str(root)}, "output": "out", "engine": engine, **more}, "test")


@pytest.mark.parametrize(
    ("good", "missing", "errors", "words"),
    [
        (3, 0, ["TooManyImages"], "3 images, more than the 2 of max_images"),
        (2, 1, ["MissingImage"], "does not exist"),
        (0, 1, ["MissingImage", "NoImages"], "no usable picture is left"),
    ],
)
def test_the_cpu_step_refuses_with_numbers(
    tmp_path: Path, good: int, missing: int, errors: list[str], words: str
) -> None:
    source = SourceConfig(root=tmp_path, max_image_bytes=10_000, max_image_pixels=100)
    row, failures = verify(sample_row(tmp_path, good, missing), source, tmp_path / "images", max_images=2)
    assert [failure.error for failure in failures] == errors
    assert words in failures[-1].message
    assert len(row["record"]["sample"]["documents"][0]["images"]) == good


def test_consecutive_stages_on_equal_engines_share_a_pass(tmp_path: Path) -> None:
    other = {"engine": {"kind": "openai", "model": "large", "base_url": "http://127.0.0.1:1/v1"}}
    together = passes(config(tmp_path))
    assert [(folder, stages) for folder, _, stages in together] == [(Path("out"), ("respond", "caption", "place"))]
    apart = passes(config(tmp_path, respond=other))
    assert [(str(folder), stages) for folder, _, stages in apart] == [
        ("out/passes/1-respond", ("respond",)),
        ("out", ("caption", "place")),
    ]
    assert [engine.kind for _, engine, _ in apart] == ["openai", "scripted"]


def test_a_budget_is_tokens_or_money() -> None:
    prices = PriceConfig(prompt=1.0, generated=10.0)
    before, spent = Usage(1, 400_000, 0, 0, 100_000), Usage(1, 400_000, 0, 0, 100_000)
    assert over_budget("1000001 tokens", prices, before, spent) == ""
    assert over_budget("1000000 tokens", prices, before, spent) == "the budget of 1000000 tokens is used up"
    assert over_budget("2.8", prices, before, spent) == "the budget of 2.8 is used up"
    assert over_budget("2.9", prices, before, spent) == ""


def test_the_fingerprint_follows_what_changes_rows_and_nothing_else(tmp_path: Path) -> None:
    def of(**more: Any) -> str:
        made = config(tmp_path, **more)
        return manifest.fingerprint(fingerprint_settings(made, recipe(made)))

    first = of()
    assert of(output="elsewhere", commit_records=1) == first
    changes: list[dict[str, Any]] = [
        {"prompts": "compact"}, {"place": {"max_tokens": 9}}, {"max_images": 3}, {"context_tokens": 9}
    ]  # fmt: skip
    assert len({first, *(of(**change) for change in changes)}) == 5
    (tmp_path / "events.jsonl").write_text("{}\n")
    assert of() != first


def test_examples_that_name_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "examples.json").write_text(json.dumps([{"event_id": 5, "caption_str": [], "result": {}}]))
    with pytest.raises(ConfigError, match="place_examples: events 5 are not in"):
        recipe(config(tmp_path, place_examples=str(tmp_path / "examples.json")))
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        recipe(config(tmp_path, caption_examples=str(tmp_path / "gone.json")))
