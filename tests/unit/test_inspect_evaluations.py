"""The page about an evaluation or a plan: numbers with their intervals, and what they were measured on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import manifest
from imageref_ray.batch.budget import Cost
from imageref_ray.batch.store import Result, Store
from imageref_ray.commands import cost_estimator, inspection
from imageref_ray.commands.cli import main
from imageref_ray.commands.pages import figures
from imageref_ray.commands.plan import sizes
from imageref_ray.commands.plan_population import Known, own_part
from imageref_ray.core.config import ConfigError, PriceConfig
from imageref_ray.core.records import Failure, Image, Usage, to_row
from imageref_ray.evaluation import events
from imageref_ray.evaluation.events import Event
from tests.unit.test_inspect_instructions import flags, page_of, words
from tests.unit.test_inspection import EVIL, record

PASS = {"records": 4, "problems": {}, "seconds": 9.0, "tokens_per_second": 40.0}
COUNTS = {"answers": 2, "questions": 2, "unrated": 0.0}
NUMBERS = {"answered": 38, "samples": 40, "failures": {"RequestError": 2}, "messages": {"RequestError": "7: too long"}}
MODE = {
    **NUMBERS, "seconds_per_sample": 0.321, "samples_per_second": 3.1, "requests_per_second": 3.2, "p50_s": 2.1,
    "p95_s": 5.2, "wall_s": 12.3, "busiest": 32, "prompt_tokens": 92_000, "generated_tokens": None,
}  # fmt: skip


def judged(folder: Path, reply: str = "It says who came. [[7]]") -> Path:
    """Two systems' answers to two questions, rated by a judge."""
    PIL.Image.new("RGB", (80, 60), "teal").save(folder / "0.png")
    run, settings = folder / "run", {"job": "evaluate judge"}
    manifest.begin(run, settings)
    found, said = [], []
    for system, rating in (("base", 3.0), ("student", 7.0)):
        for id in ("1", "2"):
            image = Image("d/0.png", str(folder / "0.png"))
            found.append(Event(id, system, {"rating": rating}, question=f"Who came to {id}?", answer="Ann.",
                               expected="Ann Lee.", images=(image,)))  # fmt: skip
            rated = {"about": "", "values": {"rating": rating}}
            said.append({"id": id, "system": system, "prompt": "p", "response": reply, **rated})
    events.write(run, found)
    (run / "judgements.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    systems = {
        name: {**COUNTS, "rating": rating, "intervals": {"rating": [rating - 1, rating + 1]}}
        for name, rating in (("base", 3.0), ("student", 7.0))
    }
    summary = {"measures": ["rating", "unrated"], "ranking": ["student", "base"], "systems": systems, "run": PASS}
    manifest.finish(run, settings, settings, summary)
    return run


def test_a_judges_scores_have_intervals_and_every_answer_its_reasons(tmp_path: Path) -> None:
    page = page_of(judged(tmp_path))
    text = words(page)
    assert "student rating 7.00 6.00 – 8.00 2" in text and "base rating 3.00 2.00 – 4.00 2" in text
    assert "base: what the judge says (rating 3) rating 3 It says who came. [[7]]" in text
    assert "Ann Lee." in text and "those in which systems differ most first" in text
    assert len(flags(page)) == 2 and all("best-1" in one for one in flags(page))


def test_a_judges_words_never_become_markup_and_damage_is_named(tmp_path: Path) -> None:
    run = judged(tmp_path, EVIL)
    page = page_of(run)
    assert [tag for tag, _ in page.tags].count("script") == 1 and page.text.count(EVIL) == 4
    (run / "judgements.jsonl").write_text('{"id": "1"}\n')
    with pytest.raises(ConfigError, match=r"judgements.jsonl line 1 is not a judgement"):
        inspection.read_view(run, 3)


def test_events_of_two_sets_are_not_called_a_comparison(tmp_path: Path) -> None:
    settings = {"job": "evaluate vqa"}
    manifest.begin(tmp_path, settings)
    events.write(tmp_path, [Event(id, f"{id}, direct", {"official": 0.0}) for id in ("a", "b")])
    metrics = {"official": 50.0, "questions": 1, "intervals": {"official": [40.0, 60.0]}, "cut": 1}
    manifest.finish(tmp_path, {}, settings, {"direct": {"a": metrics, "b": metrics}, "run": PASS})
    text = words(page_of(tmp_path))
    assert "a accuracy (VQA challenge) 50.0 40.0 – 60.0 1" in text
    assert "those with the lowest values first" in text and "systems differ" not in text
    assert "a, direct: 1 of 1 answers were cut off by max_tokens" in text


def test_an_evaluation_without_events_says_why(tmp_path: Path) -> None:
    settings = {"job": "evaluate vqa"}
    manifest.begin(tmp_path, settings)
    Store(tmp_path).write([Result("a/1", {"id": "a/1", "answer": "a cat"})], [])
    assert "verdicts are there when the evaluation is finished" in words(page_of(tmp_path))
    manifest.finish(tmp_path, {}, settings, {"direct": {}, "run": PASS})
    text = words(page_of(tmp_path))
    assert "written by an older version" in text and "answer a cat" in text


def measured(folder: Path, **changes: Any) -> Path:
    (folder / "speed.json").write_text(
        json.dumps({"in_flight": 32, "left_out": 1, "end_to_end": MODE, "staged": {**MODE, **changes}, "ratio": 3.4})
    )
    left_out = [to_row(Failure("3", "verify", "NoImages", EVIL)), {"other": 1}]
    (folder / "left_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in left_out))
    return folder


def test_a_measurement_of_speed_is_shown_with_what_failed(tmp_path: Path) -> None:
    text = words(page_of(measured(tmp_path)))
    assert "✓ Finished" in text and "end_to_end 38 of 40 3.10 3.20 2.100 5.200 12.3 92,000 –" in text
    assert "staged: 2 samples failed with RequestError, for example 7: too long" in text
    assert f"NoImages in verify: 1 record 3 {EVIL}" in text and "ratio 3.40 ×" in text
    assert "a mode answered nothing" in words(page_of(measured(tmp_path, answered=0, seconds_per_sample=None)))
    (tmp_path / "speed.json").write_text('{"staged": {}}')
    with pytest.raises(ConfigError, match=r"speed.json is not a measurement"):
        inspection.read_view(tmp_path, 3)


def planned(folder: Path, passes: Sequence[str] = (), done: bool = True) -> Path:
    """The plan of a build of 20 records, of which 6 were run; 4 of the 20 have more images than allowed."""
    run = folder / "build" / "plan"
    prices = {"currency": "EUR", "prompt": 2.5}
    manifest.begin(run, {"job": "plan", "records": 6, "seed": 0}, {"max_images": 50, "prices": prices})
    records = {str(n): Known((float(n % 3), 1_234.0 + n)) for n in range(16)}
    costs = {str(n): Cost(Usage(1 + n % 3, 1_000_000 + n, 96, 0, 20)) for n in range(6)}
    part = own_part(records, costs, ())
    estimate = cost_estimator.estimate([part], PriceConfig(currency="EUR", prompt=2.5), gpus=1)
    values = dataclasses.asdict(dataclasses.replace(estimate, total=20, left_out=4))
    by_pass = [{"stages": [stage], "figures": values["figures"]} for stage in passes]
    content = {**values, "passes": by_pass, "sizes": sizes(records.values()), "unreadable": {"MissingNews": 3},
               "unreported": ["cached_tokens"]}  # fmt: skip
    Store(run).write([Result("1", to_row(record("1", folder)), costs["1"].usage)], [])
    if done:
        manifest.write_json(run / "plan.json", content)
    return run


def test_a_plan_shows_its_estimates_and_what_the_records_are_like(tmp_path: Path) -> None:
    run = planned(tmp_path, passes=("respond", "caption"))
    page = page_of(run)
    text = words(page)
    assert (
        "what 16 records will cost, from 6 of them" in text
        and f"imageref build --config … --output {run.parent}" in text
    )
    assert "money, EUR" in text and "… from the cache – –" in text and "GPU-hours" not in text
    assert text.count(" 95 % interval ") == 3
    assert "more images than max_images (50) 4 records" in text
    assert "MissingNews entries of the source that cannot be read 3" in text
    assert "What happened at fair 1?" in text and "1 sample of the 1 record" in text
    labels = [str(attributes.get("aria-label")) for tag, attributes in page.tags if tag == "svg"]
    assert "images per record: from 0 to 2, median 1" in labels
    assert "characters per record: from 1,200 to 1,200, median 1,200" in labels


def test_a_plan_is_found_where_the_build_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = planned(tmp_path)
    assert main(["inspect", str(run.parent), "--samples", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{run}: finished, 1 record measured; 1 sample in {run / 'inspect.html'}")


def test_a_plan_that_did_not_end_says_so_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    run = planned(tmp_path, done=False)
    assert "still running, or was stopped before it had an estimate" in words(page_of(run))
    (run / "reason.json").write_text(json.dumps({"message": EVIL}))
    assert f"It stopped: {EVIL}" in words(page_of(run))
    (run / "plan.json").write_text('{"records": 3}')
    with pytest.raises(ConfigError, match=r"plan.json is not a plan"):
        inspection.read_view(run, 3)


def test_an_interval_is_drawn_on_the_scale_of_its_measure() -> None:
    drawn = figures.interval(50.0, (0.0, 100.0), 0.0, 100.0)
    assert 'cx="70.0"' in drawn and "M6.0 12H134.0" in drawn
    assert figures.interval(None, None, 0.0, 1.0) == ""
