"""Does a model get better by training on what it generated itself, and does correcting that first help?

    python benchmarks/instruction_training.py [--folder runs/instruction-training] [--own 400] [--generated 1600]
        [--base-steps 400] [--steps 600] [--seeds 3] [--parallel 1] [--gpus 0] [--engine transformers] [--out FILE]

The protocol of the VIGC paper's tables 1 and 4 on the embedded corpus, whose every sentence about an image is true or
false by construction. A base model that can see and describe (the embedded vision tower, all else from random weights,
trained on one-line descriptions) is trained on true instructions about some images (`own`). That model generates
instructions about other images. From the base again, as many steps on: own alone; own and the drafts; own and the
corrected ones. Measured on images of no training set: VQA accuracy, and the share of false sentences in descriptions.
Every step is an `imageref` job: run the same command again to resume.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from setting import ARGS, ENV, tell

from imageref_ray.commands.instruct import instructions
from imageref_ray.core.records import Answer, Image, VisualQuestion
from imageref_ray.dataset.export.instruction_rows import Use, as_questions, rows
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.evaluation import events
from imageref_ray.evaluation.bootstrap import bounds, draws
from imageref_ray.picturenews import corpus, descriptions, judge_answers, skill_data
from imageref_ray.picturenews.events import Event, questions
from imageref_ray.stages.prompts.instruct import load_instruct

ARMS = ("own", "own + drafts", "own + corrected")
RESAMPLES = 2000
USES: tuple[Use, ...] = ("vig", "vic")
Scores = dict[str, dict[str, float]]
"""Measure → image id → its mean value (per cent)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/instruction-training"))
    parser.add_argument("--own", type=int, default=400, help="images with true instructions")
    parser.add_argument("--generated", type=int, default=1600, help="images with generated ones")
    parser.add_argument("--tested", type=int, default=400, help="images measured on")
    parser.add_argument("--base-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=1, help="jobs at once")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs a job")
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="transformers")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    tell(measured(options), options.out)


def measured(options: Any) -> dict[str, Any]:
    """The whole protocol."""
    folder: Path = options.folder
    own, other, tested = (
        drawn(folder / name, corpus.SEEDS[seed], images)
        for name, seed, images in (
            ("own", "train", options.own),
            ("other", "validation", options.generated),
            ("test", "test", options.tested),
        )
    )
    write_own(folder, own)
    base = train(options, "base", {"describe": folder / "own/describe.jsonl"}, "embedded", options.base_steps, 0)
    seeds = range(options.seeds)
    with ThreadPoolExecutor(options.parallel) as pool:
        student = partial(arm, options, base)
        first = list(pool.map(lambda seed: student("own", seed), seeds))
        made = generate(options, first[0], options.generated)
        judged = judge_answers.measure(instructions(made), judge_answers.pictures_by_id(other))
        write_generated(folder, made)
        wanted = [(name, seed) for name in ARMS[1:] for seed in seeds]
        more = dict(zip(wanted, pool.map(lambda one: student(*one), wanted), strict=True))
        models = {("own", seed): model for seed, model in zip(seeds, first, strict=True)} | more
        found = pool.map(lambda one: score(options, one[0], one[1], tested), models.items())
        scores = dict(zip(models, found, strict=True))
    return {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "generated": {**judged, "rows": row_counts(folder)},
        "arms": {name: table([scores[name, seed] for seed in seeds]) for name in ARMS},
        "differences": {
            f"{name} – {than}": compared([scores[name, s] for s in seeds], [scores[than, s] for s in seeds])
            for name, than in ((ARMS[1], ARMS[0]), (ARMS[2], ARMS[0]), (ARMS[2], ARMS[1]))
        },
    }


def drawn(root: Path, seed: int, images: int) -> list[Event]:
    """Events with so many images, their files in `root`."""
    made: list[Event] = []
    for event in corpus.make_events(seed, images):
        made.append(event)
        if sum(len(one.shots) for one in made) >= images:
            break
    if not (root / "questions.json").is_file():
        corpus.write_images(root, made)
        asked = [{"image": f"image/{shot.id}", "question_id": shot.id, "question": descriptions.QUESTION,
                  "direct_answers": [" ".join(descriptions.sentences(shot.picture))]}
                 for event in made for shot in event.shots]  # fmt: skip
        (root / "descriptions.json").write_text(json.dumps(asked), encoding="utf-8")
        corpus.write_truth(root, made)
    return made


def write_own(folder: Path, shown: Iterable[Event]) -> None:
    """True instructions, once as vig and once as vic, and the one-line descriptions of the same images."""
    root, asked, told = folder / "own", dict[str, list[VisualQuestion]](detail=[], conversation=[]), list[Any]()
    for event in shown:
        told += skill_data.describing(event, None)  # type: ignore[arg-type]  # draws nothing
        for shot in event.shots:
            image = Image(shot.id, str(root / "image" / shot.id))
            facts = Answer(" ".join(descriptions.sentences(shot.picture)))
            asked["detail"].append(VisualQuestion(shot.id, image, "detail", descriptions.QUESTION, (facts,)))
            asked["conversation"] += [
                VisualQuestion(f"{shot.id}:{number}", image, "conversation", question, (Answer(answer),))
                for number, (question, answer) in enumerate(questions(shot.picture))
            ]
    write_jsonl(root / "describe.jsonl", told)
    for task, known in asked.items():
        write_rows(root, task, known, root)


def write_generated(folder: Path, run: Path) -> None:
    """The usable instructions of a run, once with their drafts and once with the corrected answers."""
    items = list(instructions(run))
    for kind in ("drafts", "corrected"):
        for task in ("detail", "conversation"):
            known = as_questions([item for item in items if item.task == task], kind == "corrected")
            asked = [one for one in known if isinstance(one, VisualQuestion)]
            write_rows(folder / kind, task, asked, folder / "other")


def write_rows(folder: Path, task: str, asked: Sequence[VisualQuestion], root: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for use in USES:
        made = rows(asked, [use], load_instruct("compact"), root)
        write_jsonl(folder / f"{task}.{use}.jsonl", (row for row in made if isinstance(row, dict)))


def row_counts(folder: Path) -> dict[str, int]:
    return {
        f"{kind}/{path.stem}": sum(1 for _ in path.open(encoding="utf-8"))
        for kind in ("own", "drafts", "corrected")
        for path in sorted((folder / kind).glob("*.vi?.jsonl"))
    }


def arm(options: Any, base: Path, name: str, seed: int) -> Path:
    """One student, trained from the base."""
    kinds = ["own", *name.split(" + ")[1:]]
    files = {
        f"{kind}-{path.stem}": path for kind in kinds for path in sorted((options.folder / kind).glob("*.vi?.jsonl"))
    }
    return train(options, f"{name.replace(' + ', '-')}-{seed}", files, str(base), options.steps, seed)


def train(options: Any, name: str, files: Mapping[str, Path], model: str, steps: int, seed: int) -> Path:
    """`imageref train`; the trained checkpoint."""
    roots = {
        name: options.folder / ("other" if name.split("-")[0] in ("drafts", "corrected") else "own") for name in files
    }
    config = {
        "model": model,
        "mixture": {name: {"annotation": str(path), "root": str(roots[name])} for name, path in files.items()},
        "fresh": ["projector", "language"] if model == "embedded" else [],
        "workers": 1,
        "gpus_per_worker": options.gpus,
        "zero_stage": 0,
        "steps": steps,
        "global_batch": 1,
        "per_device_batch": 1,
        "batch_tokens": options.batch_tokens,
        "learning_rate": 7.0e-4,
        "warmup_ratio": 0.05,
        "betas": [0.9, 0.98],
        "precision": "auto",
        "sequence_length": 512,
        "freeze": ["vision"],
        "gradient_checkpointing": False,
        "max_tiles": 1,
        "checkpoint_every": steps,
        "log_every": min(steps, 50),
        "seed": seed,
    }
    return run(options, "train", name, config) / "model"


def generate(options: Any, model: Path, limit: int) -> Path:
    """`imageref instruct` by the first student over images that it was not trained on, with corrections."""
    config = {
        "images": {"root": str(options.folder / "other/image"), "limit": limit},
        "prompts": "compact",
        "tasks": ["detail", "conversation"],
        "questions": 2,
        "generate": {"temperature": 1.0, "max_tokens": 64},
        "answer": {"max_tokens": 64},
        "correct": {"reread": "after"},
        "engine": engine(options, model),
        "min_success": 0,
    }
    return run(options, "instruct", "generated", config)


def score(options: Any, key: tuple[str, int], model: Path, shown: Sequence[Event]) -> Scores:
    """`imageref evaluate vqa` on the test images, whose descriptions are asked for as one more set."""
    root, name = options.folder / "test", f"measured-{key[0].replace(' + ', '-')}-{key[1]}"
    pictures = judge_answers.pictures_by_id(shown)
    config = {
        "sets": {
            "questions": {"questions": str(root / "questions.json"), "images": str(root)},
            "descriptions": {"questions": str(root / "descriptions.json"), "images": str(root)},
        },
        "prompts": "compact",
        "max_tokens": 64,
        "engine": engine(options, model),
    }
    found: dict[str, dict[str, list[float]]] = {"VQA accuracy": {}, "false sentences": {}}
    for line in (run(options, "evaluate vqa", name, config) / events.FILE).open(encoding="utf-8"):
        event = json.loads(line)
        image = event["images"][0]["uri"].removeprefix(f"{root}/image/")
        if event["mode"].startswith("questions"):
            found["VQA accuracy"].setdefault(image, []).append(event["values"]["official"])
        else:
            units = judge_answers.judge(pictures[image], descriptions.QUESTION, event["answer"])
            found["false sentences"].setdefault(image, []).append(
                100 * units.count(False) / len(units) if units else 100
            )
    return {measure: {image: float(np.mean(some)) for image, some in by.items()} for measure, by in found.items()}


def engine(options: Any, model: Path) -> dict[str, Any]:
    if options.engine == "vllm":
        return {"kind": "vllm", "model": str(model), "args": ARGS, "env": ENV, "concurrency": 64, "gpus": options.gpus}
    settings = {"batch": 64, "dtype": "float32", "device": "cuda" if options.gpus else "cpu"}
    return {"kind": "transformers", "model": str(model), "concurrency": 128, "gpus": options.gpus, **settings}


def run(options: Any, command: str, name: str, config: dict[str, Any]) -> Path:
    """One job, in its folder; nothing where it is done already."""
    output: Path = options.folder / name
    file = options.folder / f"{name}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    words = [*command.split(), "--config", str(file), "--output", str(output)]
    done = subprocess.run([sys.executable, "-m", "imageref_ray", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return output


def table(students: Sequence[Scores]) -> dict[str, Any]:
    """Each student's mean over images, and their mean, by measure."""
    found = {}
    for measure in students[0]:
        means = [round(float(np.mean(list(one[measure].values()))), 2) for one in students]
        found[measure] = {"mean": round(float(np.mean(means)), 2), "students": means}
    return found


def compared(these: Sequence[Scores], those: Sequence[Scores]) -> dict[str, Any]:
    """The difference of two arms: the mean over images and students, with a 95 % bootstrap over images, paired."""
    found = {}
    for measure in these[0]:
        images = sorted(these[0][measure])
        by_image = np.array([[one[measure][image] for image in images] for one in these]).mean(0)
        by_image -= np.array([[one[measure][image] for image in images] for one in those]).mean(0)
        resampled = np.concatenate([some @ by_image / len(images) for some in draws(len(images), 0, RESAMPLES)])
        interval = bounds(resampled)
        assert interval
        found[measure] = {"difference": round(float(by_image.mean()), 2), "interval": [round(x, 2) for x in interval]}
    return found


if __name__ == "__main__":
    main()
