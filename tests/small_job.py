"""A build as it is on disk, without Ray and without an engine: attempts, commits, quarantine, export, manifest, each by
the product's own functions and in the product's order (`run_job`). `wrong` says what no kill, power cut or full disk
may ever leave."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from imageref_ray.batch import attempts, manifest, store
from imageref_ray.batch.job import Job, run_job
from imageref_ray.batch.store import Result, Store
from imageref_ray.commands import build
from imageref_ray.core.config import BuildConfig, check
from imageref_ray.core.records import Document, Failure, Image, Placement, Record, Sample, Usage, from_row, to_row
from imageref_ray.dataset.export import export, make_target
from imageref_ray.stages import prompts

IDS = ("a", "b", "c", "d")
FIRST: dict[str, Any] = {"formats": ["plain", "llava"]}
"""The settings of `export` at first, and others that write files of the same names with other content, new ones and
fewer."""
OTHER: dict[str, Any] = {"formats": ["plain", "responses"], "split": {"train": 0.5, "test": 0.5, "seed": 3}}
SAME_NAMES: dict[str, Any] = {"formats": ["plain", "llava"], "variant": "caption", "license": "mit"}
SETTINGS = {"job": "build", "engine": {}, "inputs": {}, "prompts": {"name": "compact"}}
PAID = Usage(1, 10, 2, 1, 5)
PACK = prompts.load_pack("compact")


class Claim(NamedTuple):
    """What the user has been told, or could have read, up to now: it must stay true whatever happens."""

    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    requests: int = 0
    attempt: int = 0
    engines: int = 0
    begun: bool = False
    finished: bool = False


def result(id: str) -> Result:
    sample = Sample(id, "The day", (Document(f"n{id}", "T", "Boats. [Image 0]", (Image(f"n{id}/0.jpg", "/x/0.jpg"),)),))
    record = Record(sample, "# Day\nOverview.\n### Harbour\nBoats came.", (), (Placement(1), Placement(2)))
    return Result(id, to_row(record), PAID)


def failure(id: str, tries: int = 1) -> Failure:
    return Failure(id, "place", "ParseError", "no predictions", attempt=tries, usage=PAID)


def begin(run: Path) -> None:
    """What a job does first."""
    manifest.begin(run, SETTINGS, _config(run, FIRST).model_dump(mode="json"))


def open_attempt(run: Path, told: Callable[[], None] = lambda: None) -> Store:
    """A new attempt's writer, its engine ready."""
    number = attempts.begin(run)
    told()
    store.sweep(run)
    writer = Store(run, number)
    writer.ready()
    return writer


def work(
    run: Path, failing: frozenset[str], again: frozenset[str] = frozenset(), told: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """What a pass does: commits an outcome for every record without one, two at a time; `told` after every step."""
    told()
    writer = open_attempt(run, told)
    told()
    account = store.account(run)
    tries = store.tries(account.failures)
    left = [id for id in IDS if id not in account.done and (id not in tries or id in again)]
    for pair in (left[n : n + 2] for n in range(0, len(left), 2)):
        failures = [failure(id, tries.get(id, 0) + 1) for id in pair if id in failing]
        writer.write([result(id) for id in pair if id not in failing], failures)
        told()
    account = store.account(run)
    quarantined = {one.record_id for one in account.failures}
    return {"records": len(account.done), "quarantined": len(quarantined), "problems": {}, "seconds": 1.0}


def job(run: Path, do: Callable[[], dict[str, Any]], settings: dict[str, Any] = FIRST) -> dict[str, Any]:
    """One call of the command: `do` is the pass, `settings` those of `export`; returns the summary."""
    config = _config(run, settings)
    target = make_target(Path("/x"), PACK, config.export)

    def records() -> Iterator[Record]:
        return (from_row(Record, one.row) for one in store.results_of(run, IDS))

    def finish(summary: dict[str, Any]) -> dict[str, Any]:
        origin = build._origin(config, SETTINGS, summary, "r1")
        return {**summary, "files": export(run / build.DATASET, records, target, origin)}

    def repeat(_: dict[str, Any], console: Console) -> dict[str, Any]:
        return build._export_again(config, SETTINGS, records, target, console)

    return run_job(Job(config, SETTINGS, do, finish, lambda *_: None, repeat), Console(file=io.StringIO()))


def _config(run: Path, settings: dict[str, Any]) -> BuildConfig:
    engine = {"kind": "scripted", "model": "none", "script": "tests.scripted:broken"}
    values = {"source": {"root": "/x"}, "output": str(run), "engine": engine, "export": settings, "prompts": "compact"}
    return check(BuildConfig, values, "test")


def claim(run: Path) -> Claim:
    """What a run directory says of itself."""
    return _claim(run, store.account(run))


def _claim(run: Path, account: store.Account) -> Claim:
    path = run / "manifest.json"
    return Claim(
        done=frozenset(account.done),
        failed=frozenset(one.record_id for one in account.failures),
        requests=account.spent.requests,
        attempt=attempts.newest(run),
        engines=len([*(run / store.ENGINES).glob("[0-9]*")]),
        begun=(run / "fingerprint.json").is_file() and bool(manifest.job_and_config(run)),
        finished=path.is_file() and "revising" not in manifest.finished(run),
    )


def wrong(run: Path, told: Claim, may_finish: bool = True) -> list[str]:
    """What is wrong with a run directory that an interrupted job left, after this had been told.

    `may_finish`: whether the job may have been finished, or reopened, since.
    """
    account, ids = store.account(run), [one.id for one in store.results(run)]
    found = _claim(run, account)
    wrong = [] if len(ids) == len(set(ids)) else [f"doubled: {ids}"]
    wrong += [f"lost: {told.done - found.done}"] if told.done - found.done else []
    lost = told.failed - found.failed - found.done
    wrong += [f"quarantine lost: {lost}"] if lost else []
    numbers = ("requests", "attempt", "engines", "begun")
    wrong += [f"{name} shrank" for name in numbers if getattr(found, name) < getattr(told, name)]
    if found.finished != told.finished and not may_finish:
        wrong.append("no longer done" if told.finished else "done again")
    return wrong + (_wrong_when_done(run, found) if (run / "manifest.json").is_file() else [])


def _wrong_when_done(run: Path, found: Claim) -> list[str]:
    finished = manifest.finished(run)
    wrong = []
    counts = (finished["summary"]["records"], finished["summary"]["quarantined"])
    if counts != (len(found.done), len(found.failed)) or found.done | found.failed != {*IDS}:
        wrong.append(f"done with {counts}, but {found.done} are there and {found.failed} in the quarantine")
    if found.finished and files(run) != _exported(run, finished, sorted(found.done)):
        wrong.append("the data set is not what manifest.json says")
    return wrong


def files(run: Path) -> dict[str, str]:
    """The data set as it is."""
    return {path.name: path.read_text(encoding="utf-8") for path in (run / build.DATASET).glob("*")}


_EXPORTED: dict[str, dict[str, str]] = {}


def _exported(run: Path, finished: dict[str, Any], ids: list[str]) -> dict[str, str]:
    """The data set as the manifest's settings write it from these records."""
    settings = finished["config"]["export"]
    summary = {key: value for key, value in finished["summary"].items() if key != "files"}
    key = json.dumps([settings, ids, summary])
    if key not in _EXPORTED:
        config = _config(run, settings)
        target, folder = make_target(Path("/x"), PACK, config.export), run.parent / "expected" / build.DATASET
        origin = build._origin(config, SETTINGS, summary, "r1")
        export(folder, lambda: (from_row(Record, result(id).row) for id in ids), target, origin)
        _EXPORTED[key] = files(folder.parent)
    return _EXPORTED[key]
