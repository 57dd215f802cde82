"""The pass on real Ray: two CPUs, actors that die, drivers that are killed, endpoints that are gone."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imageref_ray.batch import store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.ray_data import _width, run_pass
from imageref_ray.batch.watchdog import Stopped
from imageref_ray.batch.work_queue import WorkQueue
from imageref_ray.batch.worker import Pass, Row
from imageref_ray.commands.build import build
from imageref_ray.commands.plan import plan
from imageref_ray.commands.retry import retry
from imageref_ray.core.config import BuildConfig, ConfigError, OpenAIConfig, ScriptedConfig, check
from imageref_ray.engines.base import EngineError, Generate, Message, Request
from imageref_ray.picturenews import corpus
from tests.ray.echo_pass import driver

ROOT = Path(__file__).parents[2]


async def echo(row: Row, generate: Generate) -> Row:
    reply = await generate(Request((Message("user", (str(row["n"]),)),)))
    return {"text": reply.text}


def task(directory: Path, script: str, **more: Any) -> Pass:
    engine = ScriptedConfig(script=f"tests.scripted:{script}", concurrency=4, **more)
    return Pass("test", directory, echo, engine, commit_records=8)


def numbered(count: int) -> list[Row]:
    return [{"id": f"r{n}", "n": n} for n in range(count)]


def build_values(source: Path, output: Path, **engine: Any) -> dict[str, Any]:
    scripted = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator"}
    return {
        "source": {"root": str(source)},
        "output": str(output),
        "prompts": "compact",
        "engine": {**scripted, **engine},
        "commit_records": 4,
    }


def config(source: Path, output: Path, **engine: Any) -> BuildConfig:
    return check(BuildConfig, build_values(source, output, **engine), "test")


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve events as the embedded corpus writes them."""
    root = tmp_path_factory.mktemp("news")
    corpus.write(root, 12, 5)
    return root


def spoil(root: Path) -> tuple[list[str], str]:
    """Break one thing in each of the first events; returns their ids and the document whose JSON is torn."""
    events = [json.loads(line) for line in (root / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    folders = [[root / "image" / source["newsID"] for source in event["sources"]] for event in events]
    pictures = [sorted(path for folder in folder_list for path in folder.glob("*")) for folder_list in folders]
    pictures[0][0].unlink()
    pictures[1][0].write_bytes(b"")
    pictures[2][0].write_text("this is not a picture")
    pictures[3][0].write_bytes(pictures[3][0].read_bytes()[:200])
    for path in pictures[4]:
        path.write_bytes(b"\xff\xd8\xff")
    torn = events[5]["sources"][0]["newsID"]
    (root / "news" / f"{torn}.json").write_text('{"title": "half')
    (root / "news" / f"{events[6]['sources'][0]['newsID']}.json").unlink()
    return [event["paasEventID"] for event in events], torn


@pytest.mark.parametrize(
    ("concurrency", "batches", "actors", "width"),
    [(16, 1000, 1, 1), (64, 1000, 1, 4), (256, 1000, 1, 16), (256, 12, 1, 3), (256, 1000, 64, 3), (256, 3, 2, 1)],
)
def test_blocks_grow_with_the_engine_and_leave_some_for_each(
    tmp_path: Path, concurrency: int, batches: int, actors: int, width: int
) -> None:
    engine = ScriptedConfig(script="tests.scripted:annotator", concurrency=concurrency, actors=(1, actors))
    work = WorkQueue(tmp_path, 8, 8 * batches, batches, "")
    assert _width(Pass("wide", tmp_path, echo, engine), work) == width


def test_everything_broken_is_named_and_everything_else_is_built(local_ray: None, news: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(news, spoiled)
    names, torn = spoil(spoiled)
    screen = io.StringIO()
    summary = build(config(spoiled, tmp_path / "run"), Console(file=screen, width=100))
    assert (summary["records"], summary["quarantined"]) == (11, 1)
    problems = {(f.record_id, f.error) for f in store.failures(tmp_path / "run")}
    assert (names[4], "NoImages") in problems
    assert {(names[0], "MissingImage"), (names[1], "EmptyImage"), (names[2], "NotAnImage")} <= problems
    assert {(names[3], "BrokenImage"), (names[5], "BrokenDocument"), (names[6], "MissingDocument")} <= problems
    for reason in ("MissingImage", "EmptyImage", "NotAnImage", "BrokenImage", "BrokenDocument", "MissingDocument"):
        assert reason in screen.getvalue()
    assert torn in {f.item for f in store.failures(tmp_path / "run")}
    lines = Path(summary["files"]["plain"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [name for name in names if name != names[4]]


def test_a_done_run_says_so_and_other_settings_are_refused(local_ray: None, news: Path, tmp_path: Path) -> None:
    first = build(config(news, tmp_path / "run"), Console(file=io.StringIO()))
    screen = io.StringIO()
    again = build(config(news, tmp_path / "run", concurrency=2), Console(file=screen, width=200))
    assert again == first
    assert "is done: 12 records" in screen.getvalue()
    with pytest.raises(ConfigError, match=r"engine\.script .*annotator' → .*slow_annotator'"):
        build(config(news, tmp_path / "run", script="tests.scripted:slow_annotator"), Console(file=io.StringIO()))


def test_two_actors_and_the_cpu_step_fit_on_two_cpus(local_ray: None, news: Path, tmp_path: Path) -> None:
    summary = build(config(news, tmp_path / "run", actors=[2, 2]), Console(file=io.StringIO()))
    assert summary["records"] == 12


def test_what_an_actor_has_loaded_is_not_looked_through_for_garbage(local_ray: None, tmp_path: Path) -> None:
    run_pass(task(tmp_path, "frozen"), numbered(1))
    (result,) = store.results(tmp_path)
    assert int(result.row["text"]) > 10_000


def test_a_dead_actor_is_replaced_and_nothing_doubles(local_ray: None, tmp_path: Path) -> None:
    run = task(tmp_path, "dies_once", env={"DIES_ONCE": str(tmp_path / "died")})
    summary = run_pass(run, numbered(40))
    assert (tmp_path / "died").exists()
    assert summary["records"] == 40
    assert summary["problems"] == {}
    parts = [row["id"] for row in store._rows(tmp_path, store.RECORDS)]
    assert Counter(parts) == Counter(row["id"] for row in numbered(40))


def test_only_the_records_that_kill_their_engine_are_given_up(local_ray: None, tmp_path: Path) -> None:
    summary = run_pass(task(tmp_path, "deadly", env={"POISON": "20 33"}), numbered(60))
    assert {failure.record_id for failure in store.failures(tmp_path)} == {"r20", "r33"}
    assert (summary["records"], summary["problems"]) == (58, {"EngineDied": 2})


def test_an_engine_that_always_dies_ends_the_run_and_condemns_few(local_ray: None, tmp_path: Path) -> None:
    run = task(tmp_path, "deadly", env={"POISON": " ".join(map(str, range(40)))})
    with pytest.raises(EngineError, match=r"^(9|1[0-2]) engines crashed before finishing a record \(log"):
        run_pass(run, numbered(40))
    assert len(store.failures(tmp_path)) < 8


def test_an_endpoint_that_is_gone_is_one_clear_error(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^nobody answers at http://localhost:1/v1 \(log: .*run.log\)$"):
        run_pass(task(tmp_path, "broken"), numbered(4))


def test_a_wrong_engine_setting_is_the_users_to_mend(local_ray: None, tmp_path: Path) -> None:
    engine = OpenAIConfig(model="gpt", api_key_env="NO_SUCH_KEY")
    with pytest.raises(ConfigError, match="set NO_SUCH_KEY"):
        run_pass(Pass("test", tmp_path, echo, engine), numbered(4))


def test_failed_records_stay_in_the_quarantine_until_they_are_asked_for(local_ray: None, tmp_path: Path) -> None:
    first = run_pass(task(tmp_path, "broken_for_three"), numbered(5))
    assert (first["records"], first["problems"]) == (4, {"RequestError": 1})
    second = run_pass(task(tmp_path, "echoes"), numbered(5))
    assert (second["records"], second["problems"]) == (4, {"RequestError": 1})
    third = run_pass(task(tmp_path, "echoes"), numbered(5), again=frozenset({"r3"}))
    assert (third["records"], third["problems"], third["requests"]) == (5, {}, 5)


def test_retry_runs_what_matches_and_the_training_set_grows(local_ray: None, news: Path, tmp_path: Path) -> None:
    flag = tmp_path / "mended"
    values = build_values(news, tmp_path / "run", script="tests.scripted:moody_annotator", env={"MENDED": str(flag)})
    told = r"0 of 12 records succeeded; most often RequestError in respond \(12 times\), for example: not in the mood"
    for _ in ("at its end", "when it is done"):
        with pytest.raises(RunFailed, match=told):
            build(check(BuildConfig, {**values, "preflight": False}, "test"), Console(file=io.StringIO()))
    with pytest.raises(RunFailed, match="no estimate: 0 of 12"):
        elsewhere = {**values, "output": str(tmp_path / "planned"), "preflight": False}
        plan(check(BuildConfig, elsewhere, "test"), 12, console=Console(file=io.StringIO()))
    with pytest.raises(ConfigError, match="no quarantined record matches; it has --stage respond --error RequestError"):
        retry(tmp_path / "run", stage="place")
    flag.touch()
    second = retry(tmp_path / "run", error="RequestError", console=Console(file=io.StringIO()))
    assert (second["records"], second["quarantined"], second["problems"]) == (12, 0, {})
    assert len(Path(second["files"]["plain"]).read_text(encoding="utf-8").splitlines()) == 12


def test_half_an_emoji_in_replies_costs_no_record(local_ray: None, news: Path, tmp_path: Path) -> None:
    summary = build(config(news, tmp_path / "run", script="tests.scripted:half_an_emoji"), Console(file=io.StringIO()))
    assert (summary["records"], summary["quarantined"]) == (12, 0)
    rows = [result.row for result in store.results(tmp_path / "run")]
    assert all(row["placements"][0]["analysis"] == "two boats \ufffd" for row in rows)
    assert all(caption["caption"] == "Two red boats \ufffd." for row in rows for caption in row["captions"])


def test_two_engines_make_two_passes_over_the_same_records(local_ray: None, news: Path, tmp_path: Path) -> None:
    other = {"kind": "scripted", "model": "other", "script": "tests.scripted:annotator"}
    values = build_values(news, tmp_path / "run") | {"respond": {"engine": other}}
    summary = build(check(BuildConfig, values, "test"), Console(file=io.StringIO()))
    together = build(config(news, tmp_path / "together"), Console(file=io.StringIO()))
    assert (summary["records"], summary["requests"]) == (12, together["requests"])
    assert len(list(store.results(tmp_path / "run/passes/1-respond"))) == 12


def test_a_shared_document_is_captioned_once(local_ray: None, tmp_path: Path) -> None:
    root = tmp_path / "news"
    corpus.write(root, 4, 5)
    once = build(config(root, tmp_path / "once"), Console(file=io.StringIO()))
    events = [json.loads(line) for line in (root / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    copies = [{**event, "paasEventID": f"{k}{event['paasEventID']}"} for k in range(1, 6) for event in events]
    (root / "events.jsonl").write_text("".join(json.dumps(copy) + "\n" for copy in copies))
    shared = build(config(root, tmp_path / "shared"), Console(file=io.StringIO()))
    captions = once["requests"] - 2 * once["records"]
    assert shared["records"] == 5 * once["records"]
    assert shared["requests"] - 2 * shared["records"] == captions


def test_a_budget_ends_the_build_in_good_order(local_ray: None, news: Path, tmp_path: Path) -> None:
    slow = build_values(news, tmp_path / "run", script="tests.scripted:slow_annotator", concurrency=1)
    values = slow | {"max_budget": "1 tokens", "commit_records": 1}
    with pytest.raises(Stopped, match=r"the budget of 1 tokens is used up: \d+ of 12 records done"):
        build(check(BuildConfig, values, "test"), Console(file=io.StringIO()))
    done = len(store.Store(tmp_path / "run").done())
    assert 0 < done < 12
    with pytest.raises(Stopped, match=rf"no engine was started for the {12 - done} remaining records"):
        build(check(BuildConfig, values, "test"), Console(file=io.StringIO()))
    assert build(check(BuildConfig, slow, "test"), Console(file=io.StringIO()))["records"] == 12


def test_a_plan_tells_what_the_build_will_cost(local_ray: None, news: Path, tmp_path: Path) -> None:
    settings = config(news, tmp_path / "run")
    cramped = settings.model_copy(update={"max_budget": "1 tokens"})  # the build's, not the plan's
    planned = plan(cramped, 8, console=Console(file=io.StringIO()))
    screen = io.StringIO()
    summary = build(settings, Console(file=screen, width=100))
    assert "plan, prompt tokens" in screen.getvalue()
    assert (planned.records, planned.measured) == (12, 8)
    for name in ("requests", "generated_tokens"):
        assert abs(summary["plan"][name]["relative"]) < 0.1


def test_a_run_in_which_nothing_moves_is_given_up(ray_address: str, tmp_path: Path, calls: Path) -> None:
    process = driver(tmp_path, ray_address, script="hangs", patience_s=5)  # in this process its engine would live on
    printed, _ = process.communicate()
    assert process.returncode == 1
    assert re.search(r"EngineError: no record was finished .*: 0 of 240 records done.* CPUs free.* \(log:", printed), (
        printed
    )


def test_a_killed_driver_leaves_work_that_the_next_one_finishes(news: Path, tmp_path: Path) -> None:
    values = build_values(news, tmp_path / "run", script="tests.scripted:slow_annotator", concurrency=2)
    (tmp_path / "build.yaml").write_text(json.dumps(values))
    command = [sys.executable, "-m", "imageref_ray", "build", "--config", str(tmp_path / "build.yaml")]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "screen").open("w") as screen:
        driver = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=screen, stderr=screen)
        while not (done := store.Store(tmp_path / "run").done()):
            assert driver.poll() is None, (tmp_path / "screen").read_text(encoding="utf-8")
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert 0 < len(done) < 12
    assert not (tmp_path / "run" / "manifest.json").exists()
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "Traceback" not in again.stdout + again.stderr
    ids = [
        json.loads(line)["id"]
        for line in (tmp_path / "run/dataset/annotation.plain.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(ids) == len(set(ids)) == 12
