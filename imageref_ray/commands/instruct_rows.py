"""`imageref instruct rows`: published annotations (LLaVA, OKVQA, A-OKVQA, VQAv2) → training rows and a mixture file.

annotations ─▶ questions ─▶ <task>.<use>.jsonl    rows (InternVL annotation lines), with their alternatives
                   └──────▶ <task>.rejects.jsonl  what cannot be used, and why
                            mixture.json          all sets in the folder, with their ratios
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from imageref_ray.batch import manifest
from imageref_ray.core.config import ConfigError
from imageref_ray.core.config.evaluate import names_by_number
from imageref_ray.core.durable import remove, replacing
from imageref_ray.core.json_files import read_json
from imageref_ray.core.records import Failure, VisualQuestion, to_row
from imageref_ray.core.text import json_text
from imageref_ray.dataset.export.instruction_rows import RATIOS, Use, rows
from imageref_ray.dataset.mixture import repeat_times
from imageref_ray.dataset.mixture_paths import relative
from imageref_ray.sources import vqa_sets
from imageref_ray.stages.prompts.instruct import load_instruct

T = TypeVar("T")

TASK = {"okvqa": "okvqa", "aokvqa": "a_okvqa", "vqav2": "vqav2"}
"""Data set → its task; LLaVA's three files are a task each."""

IMAGE_NAME = {
    "aokvqa": vqa_sets.COCO_2017,
    "okvqa": "COCO_train2014_{:012d}.jpg",
    "vqav2": "COCO_train2014_{:012d}.jpg",
}
"""Data set → how the images of its training split are named, which its files know by number."""


def run(
    source: str,
    data: Path,
    images: Path,
    out: Path,
    annotations: Path | None,
    task: str | None,
    image_name: str | None,
    prompts: str,
    uses: Sequence[Use],
    **options: Any,
) -> None:
    """Write the rows of one data set, add them to the mixture in `out`, and print what was written.

    `options` are those of `instruction_rows.rows`: draws, topk, score_thr, seed. Raises ConfigError for files that
    cannot be read, arguments that do not belong to the data set, and where nothing can be used.
    """
    task = _task(source, task, annotations, image_name)
    _check(images, image_name, options)
    _read_mixture(out / "mixture.json")  # may refuse, before anything is written
    pack = load_instruct(prompts)
    questions = _read(source, data, annotations, images, task, image_name)
    out.mkdir(parents=True, exist_ok=True)
    with _Lines(out / f"{task}.rejects.jsonl") as rejects, ExitStack() as stack:
        files = {use: stack.enter_context(_Lines(out / f"{task}.{use}.jsonl")) for use in dict.fromkeys(uses)}
        asked = _usable(_counted(questions, data.name), rejects)
        for row in rows(asked, list(files), pack, images, **options):
            if isinstance(row, Failure):
                rejects.add(to_row(row), row.error)
            else:
                files[row["id"].split(":")[-2]].add(row)
    lengths = {f"{task}.{use}": lines.count for use, lines in files.items() if lines.count}
    left_out = _told(rejects)
    if not lengths:
        raise ConfigError(f"{data}: no question can be used; {left_out or 'the file has none'}")
    _write_mixture(out, images, task, lengths)
    print("\n".join(f"{out / name}.jsonl: {count:,} rows" for name, count in lengths.items()))
    if left_out:
        print(left_out)
    print(f"{out / 'mixture.json'}: train with mixture: {out / 'mixture.json'}, group_by: dataset")


def _task(source: str, task: str | None, annotations: Path | None, image_name: str | None) -> str:
    if source != "llava":
        if task:
            raise ConfigError(f"--task {task} is for --from llava, whose three files are a task each; leave it out")
        return TASK[source]
    if not task:
        raise ConfigError("--from llava needs --task conversation, detail or reasoning: which of its files --data is")
    if annotations or image_name:
        raise ConfigError("--annotations and --image-name are not for --from llava, whose file has answers and images")
    return task


def _check(images: Path, image_name: str | None, options: dict[str, Any]) -> None:
    if not images.is_dir():
        raise ConfigError(f"--images {images} is no folder; give the one that the image names are relative to")
    for name in ("draws", "topk"):
        if options[name] is not None and options[name] < 1:
            raise ConfigError(f"--{name} {options[name]}: give a number of at least 1")
    if image_name is not None and not names_by_number(image_name):
        raise ConfigError(f"--image-name {image_name} has no place for a number; give e.g. {IMAGE_NAME['okvqa']}")


def _read(
    source: str, data: Path, annotations: Path | None, images: Path, task: str, image_name: str | None
) -> vqa_sets.Items:
    if source == "llava":
        return vqa_sets.read_llava(data, images, task)
    name = image_name or IMAGE_NAME[source]
    if annotations:
        return vqa_sets.read_official(data, annotations, images, task, name, annotators=1)
    return vqa_sets.read_flat(data, images, task, name, annotators=1)


def _usable(items: Iterable[VisualQuestion | Failure], rejects: _Lines) -> Iterator[VisualQuestion]:
    for item in items:
        if isinstance(item, Failure):
            rejects.add(to_row(item), item.error)
        else:
            yield item


def _counted(items: Iterable[T], what: str) -> Iterator[T]:
    """The items, with their number on the screen while they are read."""
    columns = (TextColumn("{task.description}: {task.completed:,.0f} questions"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, description=what)


class _Lines:
    """A JSONL file that is there completely or, without a line, not at all; `count` lines, by `reasons` if given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.reasons: Counter[str] = Counter()

    def __enter__(self) -> _Lines:
        self.writing = replacing(self.path)
        self.file = self.writing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writing.__exit__(kind, error, trace)
        if kind is None and not self.count:
            remove(self.path)

    def add(self, row: dict[str, Any], reason: str = "") -> None:
        self.file.write(json_text(row) + "\n")
        self.count += 1
        if reason:
            self.reasons[reason] += 1


def _told(rejects: _Lines) -> str:
    listed = ", ".join(f"{count:,} {reason}" for reason, count in rejects.reasons.most_common())
    return f"{rejects.count:,} entries are left out ({listed}): {rejects.path}" if rejects.count else ""


def _write_mixture(out: Path, images: Path, task: str, lengths: dict[str, int]) -> None:
    """Add the sets to the folder's mixture, in place of earlier ones of the same task, and weigh all of them anew."""
    path = out / "mixture.json"
    earlier = _read_mixture(path)
    sets = {name: entry for name, entry in earlier.items() if name.rpartition(".")[0] != task}
    for name, length in lengths.items():
        ratio = RATIOS.get(task) or round(math.sqrt(length))  # which the release's are, of the sizes of its sets
        places = {"root": relative(images, out), "annotation": f"{name}.jsonl"}
        sets[name] = {**places, "ratio": ratio, "length": length}
    counts = {name: int(entry["length"]) for name, entry in sets.items()}
    times = repeat_times(counts, {name: float(entry["ratio"]) for name, entry in sets.items()})
    sets = {name: {**entry, "repeat_time": round(times[name], 6)} for name, entry in sets.items()}
    manifest.write_json(path, sets)


def _read_mixture(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        sets = read_json(path)
        if all(entry["length"] > 0 and entry["ratio"] > 0 for entry in sets.values()):
            return dict(sets)
    except (ConfigError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigError(f"{path} is not a mixture of this command's; give another --out, or move the file away")
