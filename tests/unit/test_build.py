"""The build's own steps without Ray: what is verified, what is refused, what its fingerprint rests on."""

import os
import time
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import manifest
from imageref_ray.batch.budget import Budget, Cost, bill, gpu_seconds
from imageref_ray.batch.store import ENGINES, RECORDS, Result, Store, engine_seconds
from imageref_ray.commands.annotation.passes import passes, verify
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.build import fingerprint_settings
from imageref_ray.commands.cost_estimator import totals
from imageref_ray.core.config import BuildConfig, ConfigError, PriceConfig, SourceConfig, VllmConfig, check
from imageref_ray.core.records import Document, Image, Record, Sample, Usage, to_row


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
        (0, 1, ["MissingImage", "NoImages"], "no usable image is left"),
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


def test_a_budget_is_tokens_or_money(tmp_path: Path) -> None:
    prices = PriceConfig(prompt=1.0, generated=10.0)
    spent = Usage(2, 800_000, 0, 0, 200_000)
    tokens, amount = Budget("1000000 tokens", prices), Budget("2.9", prices)
    assert (tokens.used(spent, tmp_path), amount.used(spent, tmp_path)) == (1_000_000, 2.8)
    assert tokens.refusal(1_000_000, 0) == "the budget of 1000000 tokens is used up"
    assert tokens.refusal(999_000, 1_000) == amount.refusal(2.8, 0.1) == ""
    assert tokens.refusal(999_000, 1_001) == (
        "what is left of the budget of 1000000 tokens (1,000 tokens) is less than a record costs"
    )
    assert amount.refusal(2.8, 0.2).startswith("what is left of the budget of 2.9 (0.1 USD)")


def test_gpu_hours_count_against_a_budget_of_money_as_a_plan_prices_them(tmp_path: Path) -> None:
    prices, before = PriceConfig(prompt=1.0, gpu_hour=2.0), Cost(Usage(1, 500_000), 1.5 * 3600)
    assert Budget("9", prices, before).used(Usage(), tmp_path) == 3.5
    assert Budget("9 tokens", prices, before).used(Usage(), tmp_path) == 500_000
    assert totals({"7": before}, prices, gpus=1)["money"] == 3.5


def test_a_budget_that_can_never_be_used_up_is_refused(tmp_path: Path) -> None:
    engine: dict[str, Any] = {"kind": "openai", "model": "m"}
    values: dict[str, Any] = {"source": {"root": "."}, "output": str(tmp_path), "engine": engine, "max_budget": "20"}
    for prices in ({}, {"gpu_hour": 2.0}):
        with pytest.raises(ConfigError, match=r"max_budget is 20 USD, but by prices nothing costs anything.*`2000000"):
            check(BuildConfig, values | {"prices": prices}, "test")
    for more in ({"prices": {"generated": 1}}, {"max_budget": "20 tokens"}):
        assert check(BuildConfig, values | more, "test").max_budget
    place = {"engine": {"kind": "vllm", "model": "m", "gpus": 1}}
    assert check(BuildConfig, values | {"prices": {"gpu_hour": 2}, "place": place}, "test").max_budget == "20"
    assert Budget("20 tokens").uncounted(Usage(1)) and not Budget("20 tokens").uncounted(Usage(1, 1))
    assert not Budget("20", PriceConfig(gpu_hour=1), gpus=1).uncounted(Usage(1))


def test_what_passes_cost_is_told_in_money_where_there_are_prices(tmp_path: Path) -> None:
    spent, passes = Usage(2, 800_000, 0, 0, 200_000), [(tmp_path, VllmConfig(model="m"))]
    assert bill(PriceConfig(), spent, passes) == bill(PriceConfig(gpu_hour=2), spent, passes) == {}
    assert bill(PriceConfig(prompt=1, generated=10), spent, passes) == {"money": 2.8, "currency": "USD"}


def engine_that_ran(directory: Path, number: int, seconds: float) -> Store:
    """The store of an attempt whose engine was ready for `seconds`."""
    store = Store(directory, number)
    store.ready()
    (note,) = (directory / ENGINES).glob(f"{number:06d}-{store._writer}-*")
    note.rename(note.with_name(note.name.rsplit("-", 1)[0] + f"-{note.stat().st_mtime_ns - int(seconds * 1e9)}"))
    return store


def test_a_budget_counts_all_engines_of_all_passes_and_attempts(tmp_path: Path) -> None:
    prices, engine = PriceConfig(gpu_hour=1.0), VllmConfig(model="m", gpus=4, actors=(1, 2))
    for number in (1, 2):
        engine_that_ran(tmp_path, number, 900)
    assert gpu_seconds(tmp_path, engine) == 4 * 1800
    budget = Budget("9", prices, Cost(seconds=3 * 3600), engine.gpus)
    assert budget.used(Usage(), tmp_path) == pytest.approx(5)
    engine_that_ran(tmp_path, 2, 1800)  # a second engine of the pool
    assert budget.used(Usage(), tmp_path) == pytest.approx(7)


def test_an_engine_counts_up_to_its_last_sign_of_life(tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    assert engine_seconds(tmp_path) == 0
    store.write([], [])  # who has no engine leaves no sign
    assert engine_seconds(tmp_path) == 0
    store.ready()
    assert engine_seconds(tmp_path) == 0
    (note,) = (tmp_path / ENGINES).iterdir()
    ready = note.stat().st_mtime_ns
    os.utime(note, ns=(ready, ready + 7_000_000_000))
    assert engine_seconds(tmp_path) == 7
    os.utime(note, ns=(ready, ready - 7_000_000_000))
    store.write([Result("r1", {})], [])
    assert note.stat().st_mtime_ns >= ready


def test_an_engines_time_is_the_file_systems_whatever_this_machines_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    Store(tmp_path, 1).write([Result("r1", {})], [])
    os.utime(tmp_path / RECORDS, (7, 7))
    store = Store(tmp_path, 1)
    assert store.ready() == 1  # it came after the result
    store.alive()
    assert engine_seconds(tmp_path) < 1e6  # and has not been there since 1970


def test_the_fingerprint_follows_what_changes_rows_and_nothing_else(tmp_path: Path) -> None:
    def of(**more: Any) -> str:
        settings = config(tmp_path, **more)
        return manifest.fingerprint(fingerprint_settings(settings, make_recipe(settings)))

    first = of()
    assert of(output="elsewhere", commit_records=1) == first
    changes: list[dict[str, Any]] = [
        {"prompts": "compact"}, {"place": {"max_tokens": 9}}, {"max_images": 3}, {"context_tokens": 9},
        {"place": {"analysis_words": 9}},
    ]  # fmt: skip
    assert len({first, *(of(**change) for change in changes)}) == 6
    (tmp_path / "events.jsonl").write_text("{}\n")
    assert of() != first
