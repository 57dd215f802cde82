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

from imageref_ray.commands import help, streams

if TYPE_CHECKING:
    from imageref_ray.core.config import C

Run = Callable[[argparse.Namespace], int | None]

PATIENCE = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""How long Ray Serve waits for its own proxy: on a busy laptop it is slow, not dead (set before Ray starts)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed or breaches found, 2 wrong input, 130 ended, 141
    nobody reads on (`… | head`)."""
    return streams.guarded(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = parser().parse_args(argv)
    from imageref_ray.batch.outcome import RunFailed
    from imageref_ray.batch.watchdog import Stopped
    from imageref_ray.core.config import ConfigError
    from imageref_ray.engines.base import EngineError

    try:
        return arguments.call(arguments) or 0
    except ConfigError as error:
        print(f"imageref: {error}", file=sys.stderr)
        return 2
    except EngineError as error:
        print(f"imageref: {error}; the same command goes on where this one stood", file=sys.stderr)
        return 1
    except RunFailed as failed:
        print(f"imageref: {failed}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"imageref: {stopped}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("imageref: interrupted; the same command goes on where this one stood", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands with their help."""
    top = argparse.ArgumentParser(
        prog="imageref", description=help.PURPOSE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    build = _job(commands, "build", "documents with images → training set", help.BUILD, _build)
    build.add_argument("--max-budget", metavar="AMOUNT", help="stop at so much: `2000000 tokens`, or money: `20`")
    plan = _job(commands, "plan", "what a build will cost, from a few of its records", help.PLAN, _plan)
    plan.add_argument("--records", type=int, default=24, metavar="N", help="records to run (default %(default)s)")
    plan.add_argument("--seed", type=int, default=0, metavar="S", help="another seed draws other records")
    _job(commands, "instruct", "images → visual instructions, corrected against the image", help.INSTRUCT, _instruct)
    retry = _command(commands, "retry", "a run's quarantined records, once more", help.RETRY, _retry)
    retry.add_argument("run", type=_path, metavar="RUN", help="the output of build, instruct or evaluate")
    retry.add_argument("--stage", help="only records that failed in this stage: verify, respond, caption, place, …")
    retry.add_argument("--error", help="only records that failed with this error: ParseError, RequestError, …")
    _job(commands, "train", "training set → fine-tuned InternVL checkpoint", help.TRAIN, _train)
    _measures(commands)
    check = _command(commands, "check", "training set → breaches of the reference contract", help.CHECK, _check)
    check.add_argument("dataset", type=_path, metavar="DATASET", help="JSONL, JSON list or Parquet")
    check.add_argument("--root", type=_path, metavar="DIR", help="folder that image paths are relative to")
    check.add_argument("--first", type=int, default=20, metavar="N", help="breaches to show (default %(default)s)")
    corpus = _command(commands, "picturenews", "write the embedded corpus", help.PICTURENEWS, _picturenews)
    corpus.add_argument("--events", type=int, required=True, metavar="N", help="how many events")
    corpus.add_argument("--seed", type=int, metavar="S", help="another seed is another world (default 0)")
    corpus.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder to write to")
    corpus.add_argument("--skills", action="store_true", help="what the embedded checkpoint is trained on, instead")
    _job(commands, "demo", "the whole way, with a report", help.DEMO, _demo, config=Path("jobs/configs/demo.yaml"))
    look = _command(commands, "inspect", "a run directory → one page to look at", help.INSPECT, _inspect)
    look.add_argument("directory", type=_path, metavar="RUN", help="run directory of a build or an evaluation")
    look.add_argument("--out", type=_path, metavar="FILE", help="page to write (default RUN/inspect.html)")
    look.add_argument(
        "--samples", type=int, default=48, metavar="N", help="samples shown at most (default %(default)s)"
    )
    look.add_argument("--seed", type=int, default=0, metavar="S", help="another seed draws other samples")
    serve = _command(commands, "serve", "start the HTTP endpoint", help.SERVE, _serve)
    serve.add_argument(
        "--config",
        type=_path,
        default=Path("serve/config.yaml"),
        metavar="FILE",
        help="Ray Serve config (default %(default)s)",
    )
    return top


def _measures(commands: Any) -> None:
    """The commands that measure: with an engine, or answers that are there."""
    evaluate = _command(commands, "evaluate", "test set + checkpoint → metrics", "Measure a checkpoint.")
    measures = evaluate.add_subparsers(title="what to measure", metavar="MEASURE", required=True)
    _job(measures, "placement", "the right images in the right places?", help.PLACEMENT, _evaluate_placement)
    _job(measures, "vqa", "short answers and choices right?", help.VQA, _evaluate_vqa)
    score = _command(commands, "score", "labels + predictions → the same metrics, no engine", help.SCORE, _score)
    score.add_argument("--labels", type=_path, required=True, metavar="CSV", help="position labels (label.csv)")
    score.add_argument("--predictions", type=_path, required=True, metavar="JSONL", help="one answer a line")
    score.add_argument("--paper", action="store_true", help="the paper's own conventions")


def _command(commands: Any, name: str, short: str, text: str, run: Run | None = None) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=short, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.set_defaults(call=run)  # the name of no argument: a command's own `run` would take its place
    return made


def _job(
    commands: Any, name: str, short: str, text: str, run: Run, config: Path | None = None
) -> argparse.ArgumentParser:
    """A command that takes `--config FILE --set key=value --output DIR`; `config` is the file where none is given."""
    made = _command(commands, name, short, text, run)
    note = f" (default {config})" if config else ""
    made.add_argument(
        "--config",
        type=_path,
        required=config is None,
        default=config,
        metavar="FILE",
        help=f"YAML file with the job's settings{note}",
    )
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting; repeatable")
    made.add_argument("--output", metavar="DIR", help="run directory (short for --set output=DIR)")
    return made


def _path(text: str) -> Path:
    """An argument that is a path: an address would become a folder called `s3:`."""
    from imageref_ray.core.config.places import no_address

    try:
        return Path(no_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _config(kind: type[C], arguments: argparse.Namespace) -> C:
    from imageref_ray.core.config import check_places, load

    overrides = [*arguments.set]
    if arguments.output is not None:
        overrides.append(f"output={json.dumps(arguments.output)}")
    if getattr(arguments, "max_budget", None) is not None:
        overrides.append(f"max_budget={json.dumps(arguments.max_budget)}")
    config = load(kind, arguments.config, overrides)
    check_places(config)
    return config


def _print(summary: Any) -> None:
    print(json.dumps(summary, indent=2, ensure_ascii=False, default=str))


def _build(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import BuildConfig

    config = _config(BuildConfig, arguments)
    from imageref_ray.commands.build import build

    build(config)


def _instruct(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import InstructConfig

    config = _config(InstructConfig, arguments)
    from imageref_ray.commands.instruct import instruct

    instruct(config)


def _plan(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import BuildConfig

    config = _config(BuildConfig, arguments)
    from imageref_ray.commands.plan import plan

    plan(config, arguments.records, arguments.seed)


def _retry(arguments: argparse.Namespace) -> None:
    from imageref_ray.commands.retry import retry

    retry(arguments.run, arguments.stage, arguments.error)


def _train(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import TrainConfig

    config = _config(TrainConfig, arguments)
    from imageref_ray.training.train import train

    _print(train(config))


def _evaluate_placement(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import EvaluateConfig

    config = _config(EvaluateConfig, arguments)
    from imageref_ray.evaluation.evaluate_placement import evaluate_placement

    evaluate_placement(config)


def _evaluate_vqa(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import VqaConfig

    config = _config(VqaConfig, arguments)
    from imageref_ray.evaluation.evaluate_vqa import evaluate_vqa

    evaluate_vqa(config)


def _score(arguments: argparse.Namespace) -> None:
    from imageref_ray.evaluation.score import score

    _print(score(arguments.labels, arguments.predictions, arguments.paper))


def _check(arguments: argparse.Namespace) -> int:
    from imageref_ray.dataset.check import check, told

    report = check(arguments.dataset, arguments.root, arguments.first)
    print(*told(report), sep="\n")
    return 1 if report.kinds else 0


def _picturenews(arguments: argparse.Namespace) -> None:
    from imageref_ray.picturenews import corpus, skill_data, tiny_internvl

    seed = arguments.seed
    if arguments.skills:
        seed = corpus.SEEDS["base"] if seed is None else seed
        counts = skill_data.write(arguments.out / "data", arguments.events, seed)
        tiny_internvl.create(arguments.out / "init", skill_data.texts(arguments.out / "data"))
    else:
        counts = corpus.write(arguments.out, arguments.events, seed or 0)
    print(f"{arguments.out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _demo(arguments: argparse.Namespace) -> None:
    from imageref_ray.core.config import DemoConfig

    config = _config(DemoConfig, arguments)
    from imageref_ray.commands.demo import demo

    demo(config)


def _inspect(arguments: argparse.Namespace) -> None:
    from imageref_ray.commands import inspection

    run = inspection.read(arguments.directory, arguments.samples, arguments.seed)
    print(inspection.line(run, inspection.write(run, arguments.out or run.directory / "inspect.html")))


def _serve(arguments: argparse.Namespace) -> None:
    for name, seconds in PATIENCE.items():
        os.environ.setdefault(name, seconds)
    sys.path.insert(0, str(Path.cwd()))
    from imageref_ray.serving.local import run

    run(arguments.config)


if __name__ == "__main__":
    sys.exit(main())
