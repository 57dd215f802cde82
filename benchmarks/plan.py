"""How often a plan's 95 % intervals hold the truth: 40 plans of each corpus, beside what the whole of it costs.

    python benchmarks/plan.py [--pages NAME=FOLDER …] [--limit N] [--events 240] [--trials 40] [--records 24]
        [--work FOLDER] [--out results.json]

A scripted annotator writes replies whose lengths vary (log-normal) and counts their tokens. Every record of a corpus is
annotated once: the truth. A trial is `imageref plan` with its seed, on the same machinery but in this process: it
draws its records, annotates them with a reply cache of its own, and estimates, once as a plan does, and once where only
the images of these few records were opened (as where images are fetched). Corpora: folders of pages (the figures in
the docs are of Debian's packages gimp-help-en and wireshark-doc, unpacked with `dpkg -x`), the embedded news, the
news with every document in five events, and the news with three of a hundred images damaged.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deduplication import share
from setting import tell

from imageref_ray.batch.reply_cache import SqliteReplyCache
from imageref_ray.batch.worker import Pass, Row, Worker, packed, prepared
from imageref_ray.commands import cost_estimator, plan
from imageref_ray.commands.annotation.input_files import Inputs
from imageref_ray.commands.annotation.passes import annotate, records, verify
from imageref_ray.commands.annotation.stage_inputs import Recipe, make_recipe
from imageref_ray.commands.plan_population import LOOKED_INTO, Population
from imageref_ray.core.config import BuildConfig, ScriptedConfig, check
from imageref_ray.core.records import Record, Usage, from_row, to_row
from imageref_ray.core.subset import choose
from imageref_ray.engines.base import Reply, Request
from imageref_ray.engines.scripted import ScriptedEngine
from imageref_ray.picturenews import corpus

PRICES = {"prompt": 2.5, "cached": 1.25, "generated": 10}
NEWS = (("picturenews", 1, 0.0), ("picturenews, shared", 5, 0.0), ("picturenews, damaged", 1, 0.03))
"""Corpora of the embedded news: in how many events each document is, and the fraction of images that is damaged."""

IMAGE_TOKENS, TOKENS_A_WORD = 256, 1.4


def annotator(request: Request) -> Reply:
    """A response, a description, a caption or a placement, short or long as the request's hash has it."""
    asked = "\n".join(part for message in request.messages for part in message.parts if isinstance(part, str))
    names = "".join(image.sha256 for image in request.images)
    draw = random.Random(zlib.crc32((asked + names).encode()))

    def words(median: float, spread: float) -> str:
        return " ".join(["word"] * max(1, round(median * draw.lognormvariate(0, spread)))) + "."

    if request.guide:
        entries = request.guide.value["properties"]["predictions"]["prefixItems"]
        said = [
            {name: _chosen(name, entry, words(12, 0.6)) for name, entry in one["properties"].items()} for one in entries
        ]
        text = json.dumps({"predictions": said})
    elif request.images:
        text = words(45, 0.5)
    else:
        sections = max(1, round(3 * draw.lognormvariate(0, 0.5)))
        text = "\n".join(["# An answer", words(30, 0.4), *(f"### Part {n}\n{words(60, 0.6)}" for n in range(sections))])
    prompt = round(TOKENS_A_WORD * len(asked.split())) + IMAGE_TOKENS * len(request.images)
    usage = Usage(1, prompt, IMAGE_TOKENS * len(request.images), 0, round(TOKENS_A_WORD * len(text.split())))
    return Reply((text,), usage=usage, images_counted=True)


def _chosen(name: str, entry: dict[str, Any], text: str) -> str:
    if "const" in entry:
        return str(entry["const"])
    return str(entry["enum"][-1]) if "enum" in entry else text[: entry["maxLength"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--events", type=int, default=240, help="0: without the embedded news")
    parser.add_argument("--limit", type=int, help="records of a folder, at most")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--records", type=int, default=24)
    parser.add_argument("--work", type=Path, help="keep what was annotated here, and use what is there")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = options.work or Path(name)
        sources = dict(one.split("=", 1) for one in options.pages)
        for corpus_name, root in sources.items():
            found[corpus_name] = measure(
                {"kind": "folder", "root": root, "limit": options.limit}, folder / corpus_name, options
            )
        for corpus_name, copies, broken in NEWS if options.events else ():
            root = folder / f"{corpus_name}, news"
            if not root.is_dir():
                corpus.write(root, options.events // copies, corpus.SEEDS["train"])
                share(root / "events.jsonl", copies)
                damage(root, broken)
            found[corpus_name] = measure({"root": str(root)}, folder / corpus_name, options)
    tell({"trials": options.trials, "records_measured": options.records, "corpora": found}, options.out)


def damage(root: Path, fraction: float) -> None:
    """Cut off the second half of so many of the images, drawn with a seed."""
    images = sorted(path for path in (root / "image").rglob("*.*") if path.is_file())
    for path in random.Random(0).sample(images, round(fraction * len(images))):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def measure(source: dict[str, Any], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Of one corpus: its true cost, and by figure how many trials' intervals hold it, how far off they are (median of
    the error's size) and how wide (median of half the interval), both in shares of the truth."""
    engine = {"kind": "scripted", "model": "none", "script": "plan:annotator", "concurrency": 64}
    values = {"source": source, "output": str(folder), "engine": engine, "prices": PRICES}
    config = check(BuildConfig, values, "plan")
    recipe = make_recipe(config)
    population = Population()
    usable = list(population.usable(records(config, Inputs()), config))
    prepare = partial(verify, source=config.source, folder=folder / "images", max_images=config.max_images)
    task = Pass("plan", folder, partial(annotate, recipe=recipe), config.engine, prepare)
    rows = {one.id: prepared(task, packed({"id": one.id, "record": to_row(one)})) for one in usable}
    if not (folder / "truth").is_dir():
        run(config, recipe, rows.values(), folder / "truth")
    truth = cost_estimator.totals(plan.costs(at(config, folder / "truth"), rows), config.prices, gpus=1)
    found = {opened: Trials() for opened in (options.records, LOOKED_INTO)}
    for seed in range(options.trials):
        for opened, trials in found.items():
            seen = dataclasses.replace(population, known=dict(population.known), opened={"local": [], "fetched": []})
            chosen = choose(usable, max(opened, options.records), seed, lambda record: record.id)
            ids = [one.id for one in seen.look_into(chosen, options.records, config, folder / "images")]
            if not (folder / f"{seed}").is_dir():
                run(config, recipe, [rows[id] for id in ids], folder / f"{seed}")
            left = plan.parts_left(config, at(config, folder / f"{seed}"), seen.known, ids)
            parts = [part for _, of_pass in left for part in of_pass]
            estimates = cost_estimator.estimate(parts, config.prices, gpus=1, seed=seed, losses=seen.losses())
            trials.add(estimates, truth)
    return {
        "records": len(rows),
        "left_out": population.left_out,
        "unusable": sum(len(usable_one.sample.images) for usable_one in usable) - pictures(rows),
        "truth": {name: round(value, 2) for name, value in truth.items() if value},
        "opened": {str(opened): trials.figures() for opened, trials in found.items()},
    }


@dataclasses.dataclass
class Trials:
    """Of each figure in how many trials its interval held the truth, the errors, and half of the intervals' widths."""

    inside: Counter[str] = dataclasses.field(default_factory=Counter)
    errors: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    widths: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def add(self, estimates: cost_estimator.Plan, truth: dict[str, float]) -> None:
        for name, deviation in cost_estimator.compare(estimates, truth).items():
            figure = estimates.figures[name]
            if truth[name]:
                self.inside[name] += deviation.inside
                self.errors.setdefault(name, []).append(abs(deviation.relative))
                self.widths.setdefault(name, []).append((figure.high - figure.low) / 2 / truth[name])

    def figures(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "inside": self.inside[name],
                "error": middle(self.errors[name]),
                "half_width": middle(self.widths[name]),
            }
            for name in self.errors
        }


def pictures(rows: dict[str, Row]) -> int:
    """How many images of all records can be used."""
    found = (json.loads(row["row"])["record"] for row in rows.values())
    return sum(len(from_row(Record, record).sample.images) for record in found)


def middle(values: Sequence[float]) -> float:
    return round(sorted(values)[len(values) // 2], 4)


def at(config: BuildConfig, directory: Path) -> BuildConfig:
    return config.model_copy(update={"output": directory})


def run(config: BuildConfig, recipe: Recipe, rows: Iterable[Row], directory: Path) -> None:
    """Annotate these records, as a plan does, with a reply cache of their own."""
    work = partial(annotate, recipe=dataclasses.replace(recipe, count_shared=True))
    assert isinstance(config.engine, ScriptedConfig)
    task = Pass("plan", directory, work, config.engine, commit_records=256)
    directory.mkdir(parents=True)
    cache = SqliteReplyCache(directory / "replies.sqlite")
    asyncio.run(Worker(task, ScriptedEngine(config.engine), cache).run([*rows]))
    cache.close()


if __name__ == "__main__":
    main()
