"""`imageref …`: every sub-command is one job; arguments in, one function call, exit code out.

Nothing heavy is imported before a command runs. What the user gave wrong (`ConfigError`) is one line on
stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imageref_ray.config import C

Run = Callable[[argparse.Namespace], None]

PATIENCE = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""How long Ray Serve waits for its own proxy: on a busy laptop it is slow, not dead (set before Ray starts)."""

PURPOSE = """\
From documents with pictures to a vision-language model that answers with the right pictures in the right
places: build a training set, fine-tune InternVL, measure it, serve it.

  imageref demo           the whole way on the embedded corpus, in minutes on a laptop CPU
  imageref build …        your documents → training set
"""

BUILD = """\
Write a response to every sample, caption its images in the context of their documents, decide which image
belongs where, and write the training set: annotation JSONL (plain and with captions), Parquet, a dataset card.
Run it again after a crash: it goes on where it stood. What could not be read is in the run's quarantine.

example: imageref build --config jobs/configs/picturenews.yaml --set source.limit=8 --output runs/first
"""

TRAIN = """\
Fine-tune an InternVL checkpoint on a mixture of data sets (Ray Train + DeepSpeed). The result is a Hugging Face
checkpoint in <output>/model, which vLLM loads as it is.

example: imageref train --config jobs/configs/picturenews-train.yaml --set steps=200 --output runs/student
"""

PLACEMENT = """\
Answer a test set and measure where the images went: guided decoding (slot by slot) and free decoding (read from
the text), each as recall_1, recall_3, precision, F1 and score.

example: imageref evaluate placement --config jobs/configs/picturenews-evaluate.yaml --output runs/measured
"""

SCORE = """\
Score answers you already have against position labels, without any engine, and print one JSON object: events,
recall_1, recall_3, precision, f1, score, unparsed and intervals.

example: imageref score --labels label.csv --predictions insertion.jsonl
"""

PICTURENEWS = """\
Draw and write a small world of news in which everything is known: events, articles, pictures, reference answers,
position labels, questions. The same events and seed always give the same files.

example: imageref picturenews --events 48 --seed 3 --out runs/corpus
"""

DEMO = """\
Generate a corpus, build a training set with the embedded checkpoint as annotator, fine-tune a student, evaluate
base and student, and write a report with pictures. Killed? Run it again: it goes on where it stood.

example: imageref demo --set train_events=64 --output runs/small
"""

SERVE = """\
Start the endpoint on this machine or the cluster at hand: /v1/chat/completions (OpenAI-compatible, with images
and streaming) and /v1/reference (documents + images + question → Markdown with checked image references).

example: imageref serve --config serve/config.yaml
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 wrong input, 130 interrupted)."""
    arguments = parser().parse_args(argv)
    from imageref_ray.config import ConfigError

    try:
        arguments.run(arguments)
    except ConfigError as error:
        print(f"imageref: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("imageref: interrupted; the same command goes on where this one stood", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands with their help."""
    top = argparse.ArgumentParser(
        prog="imageref", description=PURPOSE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _job(commands, "build", "documents with images → training set", BUILD, _build)
    _job(commands, "train", "training set → fine-tuned InternVL checkpoint", TRAIN, _train)
    evaluate = _command(commands, "evaluate", "test set + checkpoint → metrics", "Measure a checkpoint.")
    measures = evaluate.add_subparsers(title="what to measure", metavar="MEASURE", required=True)
    _job(measures, "placement", "the right images in the right places?", PLACEMENT, _evaluate_placement)
    score = _command(commands, "score", "labels + predictions → the same metrics, no engine", SCORE, _score)
    score.add_argument("--labels", type=Path, required=True, metavar="CSV", help="position labels (label.csv)")
    score.add_argument("--predictions", type=Path, required=True, metavar="JSONL", help="one answer a line")
    score.add_argument("--paper", action="store_true", help="the paper's own conventions")
    corpus = _command(commands, "picturenews", "write the embedded corpus", PICTURENEWS, _picturenews)
    corpus.add_argument("--events", type=int, required=True, metavar="N", help="how many events")
    corpus.add_argument("--seed", type=int, metavar="S", help="another seed is another world (default 0)")
    corpus.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    corpus.add_argument("--skills", action="store_true", help="what the embedded checkpoint is trained on, instead")
    _job(commands, "demo", "the whole way, with a report", DEMO, _demo, config=Path("jobs/configs/demo.yaml"))
    serve = _command(commands, "serve", "start the HTTP endpoint", SERVE, _serve)
    serve.add_argument(
        "--config",
        type=Path,
        default=Path("serve/config.yaml"),
        metavar="FILE",
        help="Ray Serve config (default %(default)s)",
    )
    return top


def _command(commands: Any, name: str, short: str, text: str, run: Run | None = None) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=short, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.set_defaults(run=run)
    return made


def _job(commands: Any, name: str, short: str, text: str, run: Run, config: Path | None = None) -> None:
    """A command that takes `--config FILE --set key=value --output DIR`; `config` is the file where none is given."""
    made = _command(commands, name, short, text, run)
    note = f" (default {config})" if config else ""
    made.add_argument(
        "--config",
        type=Path,
        required=config is None,
        default=config,
        metavar="FILE",
        help=f"YAML file with the job's settings{note}",
    )
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting; repeatable")
    made.add_argument("--output", metavar="DIR", help="run directory (short for --set output=DIR)")


def _config(kind: type[C], arguments: argparse.Namespace) -> C:
    from imageref_ray.config import load

    overrides = [*arguments.set]
    if arguments.output is not None:
        overrides.append(f"output={json.dumps(arguments.output)}")
    return load(kind, arguments.config, overrides)


def _print(summary: Any) -> None:
    print(json.dumps(summary, indent=2, ensure_ascii=False, default=str))


def _build(arguments: argparse.Namespace) -> None:
    from imageref_ray.config import BuildConfig

    config = _config(BuildConfig, arguments)
    from imageref_ray.build import build

    build(config)


def _train(arguments: argparse.Namespace) -> None:
    from imageref_ray.config import TrainConfig

    config = _config(TrainConfig, arguments)
    from imageref_ray.training.loop import train

    _print(train(config))


def _evaluate_placement(arguments: argparse.Namespace) -> None:
    from imageref_ray.config import EvaluateConfig

    config = _config(EvaluateConfig, arguments)
    from imageref_ray.evaluation.run import evaluate_placement

    _print(evaluate_placement(config))


def _score(arguments: argparse.Namespace) -> None:
    from imageref_ray.evaluation.score import score

    _print(score(arguments.labels, arguments.predictions, arguments.paper))


def _picturenews(arguments: argparse.Namespace) -> None:
    from imageref_ray.picturenews import corpus, skills, tiny

    seed = arguments.seed
    if arguments.skills:
        seed = corpus.SEEDS["base"] if seed is None else seed
        counts = skills.write(arguments.out / "data", arguments.events, seed)
        tiny.create(arguments.out / "init", skills.texts(arguments.out / "data"))
    else:
        counts = corpus.write(arguments.out, arguments.events, seed or 0)
    print(f"{arguments.out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _demo(arguments: argparse.Namespace) -> None:
    from imageref_ray.config import DemoConfig

    config = _config(DemoConfig, arguments)
    from imageref_ray.demo import demo

    demo(config)


def _serve(arguments: argparse.Namespace) -> None:
    for name, seconds in PATIENCE.items():
        os.environ.setdefault(name, seconds)
    sys.path.insert(0, str(Path.cwd()))  # where serve/ is
    from serve.local import run

    run(arguments.config)


if __name__ == "__main__":
    sys.exit(main())
