"""The page about a training: curves, data sets with their shares and what was skipped, samples as they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import manifest
from imageref_ray.commands import inspection
from imageref_ray.commands.cli import main
from imageref_ray.commands.inspection import training_samples
from imageref_ray.commands.pages import figures
from imageref_ray.core.config import ConfigError, MixtureEntry
from tests.unit.test_inspect_instructions import flags, page_of, words
from tests.unit.test_inspection import EVIL

ROWS = [
    {"id": "a", "image": "0.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat is <shown>?"}, {"from": "gpt", "value": "Two red boats."}]},
    {"id": "b", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Nobody."}]},
    {"id": "c", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": ""}]},
    {"id": "d", "image": "gone.png", "conversations": [
        {"from": "human", "value": "Where? <image> Tell."}, {"from": "gpt", "value": "Here."}]},
]  # fmt: skip
METRICS = [
    {"step": step, "loss": 4.0 / step, "lr": 0.001 / step, "tokens_per_second": 900.0 + step, "seconds": 2.0 * step,
     "sets": {"boats": 3.0 / step, "text": 5.0 / step}}
    for step in (10, 20, 30)
]  # fmt: skip
EVENTS = [
    {"time": "2026-01-01T00:00:00+00:00", "event": "started", "text": ""},
    {"time": "2026-01-01T00:01:00+00:00", "event": "lost", "text": "worker 1 was lost; restarting", "counts": True},
    {"time": "2026-01-01T00:02:00+00:00", "event": "resumed", "text": "resumed from step 20"},
]


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def training(folder: Path, done: bool = True, rows: Sequence[Any] = ROWS, **settings: Any) -> Path:
    """A training of 30 steps on two sets, one of them used half."""
    PIL.Image.new("RGB", (80, 60), "teal").save(folder / "0.png")
    boats = {"annotation": str(write_lines(folder / "boats.jsonl", rows)), "root": str(folder)}
    text = {"annotation": str(write_lines(folder / "text.jsonl", [ROWS[1]] * 4)), "root": str(folder)}
    run = folder / "run"
    config = {"model": "embedded", "output": str(run), "steps": 30, "max_tiles": 6, "mixture": {
        "boats": boats, "text": {**text, "repeat_time": 0.5}}, **settings}  # fmt: skip
    manifest.begin(run, {"job": "train", "steps": 30}, config)
    write_lines(run / "metrics.jsonl", METRICS)
    write_lines(run / "events.jsonl", EVENTS)
    (run / "checkpoints" / "checkpoint_1").mkdir(parents=True)
    (run / "train.log").write_text("attention: sdpa\n")
    if done:
        (run / "model").mkdir()
        (run / "summary.json").write_text(
            json.dumps({"samples": 5, "skipped": {"boats": {"no answer to train on": 1}}})
        )
    return run


def charts(page_tags: Sequence[tuple[str, Mapping[str, str | None]]]) -> list[str]:
    return [str(attributes["aria-label"]) for tag, attributes in page_tags if tag == "svg"]


def test_a_training_shows_its_curves_and_where_it_was_resumed(tmp_path: Path) -> None:
    page = page_of(training(tmp_path))
    assert charts(page.tags) == [
        "Training loss from 0.40 to 0.13",
        "Loss by data set: boats 0.1; text 0.1667",
        "Learning rate: Learning rate 3.333e-05",
        "Tokens/s: Tokens/s 930",
    ]
    text = words(page)
    assert "✓ Finished" in text and "steps 30 of 30, 1 restart" in text
    assert "Dashed lines: steps from which the training was resumed." in text
    assert "worker 1 was lost; restarting" in text and "checkpoint_1" in text and "attention: sdpa" in text
    assert "tokens/s 920 median, padding included time 1 min 00 s" in text


def test_data_sets_have_shares_and_the_reasons_of_what_was_skipped(tmp_path: Path) -> None:
    text = words(page_of(training(tmp_path)))
    assert f"boats {tmp_path / 'boats.jsonl'} 1 skipped: no answer to train on 4 × 1 66.7% 1 0.1" in text
    assert f"text {tmp_path / 'text.jsonl'} 4 × 0.5 33.3% 0 0.167" in text
    assert "samples 5 1 skipped" in text


def test_samples_are_shown_as_training_reads_them(tmp_path: Path) -> None:
    page = page_of(training(tmp_path, system="Be brief."))
    text = words(page)
    assert "system Be brief. prompt image 1 What is <shown>? target Two red boats." in text
    assert "prompt Where? image 1 Tell. target Here." in text
    assert "not used: no answer to train on" in text
    assert "an image is missing or damaged: training skips this sample" in text
    assert "1 image, at most 6 tiles each" in text
    assert flags(page)[:4] == [{"set-0"}, {"set-0", "text"}, {"set-0", "skipped"}, {"set-0", "missing"}]
    learned = [attributes for _, attributes in page.tags if attributes.get("class") == "turn learned"]
    assert len(learned) == 7


def test_a_training_in_progress_can_be_looked_at_any_time(tmp_path: Path) -> None:
    run = training(tmp_path, done=False)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    text = words(page_of(run))
    assert "Step 30 of 30. The training is still running, or was stopped" in text
    assert f"imageref train --config … --output {run}" in text and "from the latest checkpoint" in text
    for name in ("metrics.jsonl", "events.jsonl", "train.log"):
        (run / name).unlink()
    text = words(page_of(run))
    assert "No line is in metrics.jsonl" in text and "no start is written down" in text


def test_data_that_is_gone_is_one_sentence_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = training(tmp_path)
    (tmp_path / "text.jsonl").unlink()
    text = words(page_of(run))
    assert "The data sets cannot be read any more: mixture.text.annotation:" in text
    assert "boats 1 skipped: no answer to train on – – – 1 0.1" in text


@pytest.mark.parametrize("name", ["fingerprint.json", "summary.json"])
def test_a_damaged_training_names_the_file(tmp_path: Path, name: str) -> None:
    run = training(tmp_path)
    (run / name).write_text("[1")
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        inspection.read_view(run, 3)


def test_values_of_the_wrong_kind_in_metrics_and_events_are_left_out(tmp_path: Path) -> None:
    run = training(tmp_path)
    odd = [
        {"step": "x"},
        {"step": 12, "loss": None, "sets": 3},
        [1],
        {"step": 14, "loss": "y", "sets": {"boats": None}},
    ]
    write_lines(run / "metrics.jsonl", [METRICS[0], *odd, *METRICS[1:]])
    write_lines(run / "events.jsonl", [{}, {"event": 3, "text": None}, *EVENTS])
    assert charts(page_of(run).tags)[0] == "Training loss from 0.40 to 0.13"


def test_nothing_of_a_training_becomes_markup(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": EVIL}, {"from": "human", "value": EVIL}, {"from": "gpt", "value": EVIL}]
    run = training(tmp_path, rows=[{"id": EVIL, "conversations": turns}, {"id": EVIL, "image": EVIL}])
    start = json.loads((run / "fingerprint.json").read_text())
    start["config"]["mixture"][EVIL] = start["config"]["mixture"].pop("boats")
    start["config"]["system"] = EVIL
    (run / "fingerprint.json").write_text(json.dumps(start))
    (run / "summary.json").write_text(json.dumps({"samples": 1, "skipped": {EVIL: {EVIL: 1}}}))
    (run / "train.log").write_text(EVIL)
    write_lines(run / "events.jsonl", [{"time": EVIL, "event": EVIL, "text": EVIL}, {"event": "lost", "text": EVIL}])
    write_lines(run / "metrics.jsonl", [{**line, "sets": {EVIL: 1.0, "b": 2.0}} for line in METRICS])
    page = page_of(run)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) > 12


def test_rows_are_counted_without_parsing_and_ratios_are_shares(tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.jsonl", [1, 2, 3])
    listed, cut = tmp_path / "list.json", tmp_path / "cut.jsonl"
    listed.write_text(json.dumps([{"a": 1}, {"b": 2}]))
    cut.write_bytes(b"{}\n{}")
    assert [training_samples.count_rows(path) for path in (lines, listed, cut)] == [3, 2, 2]
    sets = {name: MixtureEntry(annotation=path, ratio=ratio) for name, path, ratio in (("a", lines, 3), ("b", cut, 1))}
    assert {name: size.share for name, size in training_samples.sizes(sets).items()} == {"a": 0.75, "b": 0.25}


def test_the_command_shows_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = training(tmp_path)
    assert main(["inspect", str(run), "--samples", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{run}: finished, step 30 of 30; 2 samples in {run / 'inspect.html'}")


def test_long_lines_are_drawn_with_few_points() -> None:
    points = [(float(step), 5.0 / (step + 1)) for step in range(5_000)]
    assert len(figures.loss_curve(points)) < 20_000
    assert figures.curves({"a": [(0.0, 1.0)]}, "a") == "" == figures.loss_curve([])
