"""Test set + checkpoint → answers → image-placement metrics: `imageref evaluate placement`.

    annotation JSONL ─▶ one record a question and mode ─▶ one pass on the engine ─▶ answers (`answer_modes`)
    label CSV ─────────────────────────────────────────────────────────────────────▶ metrics.json

Also written: `<mode>.jsonl` ({"id", "result"}) and `<mode>.insertion.jsonl`, which `imageref score` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from rich.console import Console

from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.job import Job, Summary, pass_of, run_job, show_again
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError, EvaluateConfig, SourceConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Failure, Image, from_row, to_row
from imageref_ray.dataset import paper_formats
from imageref_ray.dataset.paper_formats import Placed, Question, Relevance
from imageref_ray.engines.base import Generate, RequestError, Sampling
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.answer_modes import MODES, Manner
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.evaluation.read_answer import read_answer, summarise_readings
from imageref_ray.stages import prompts

LIMITS = {name: SourceConfig.model_fields[f"max_image_{name}"].default for name in ("bytes", "pixels")}
"""Larger images are refused, as in a build."""

SETTINGS = {
    *("mode", "variant", "paper", "system", "max_tokens", "max_images", "context_tokens"),
    *("limit", "label_slots", "seed"),
}
"""Settings that change the metrics."""


def evaluate_placement(
    config: EvaluateConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Metrics by mode (`answer_modes`; see `placement_metrics.summarise`) and the pass's own numbers (`run`).

    Where there are labels, only labelled questions are answered. Resumes an interrupted run; of a finished run the
    metrics are read. Records in the quarantine stay there, except those whose ids (`mode:question`) are in `again`.
    Raises as `run_job`.
    """
    labels, questions = _read_test_set(config)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        return run_pass(_make_pass(config), _pass_rows(config, questions.values()), again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any answer there is nothing to measure
        metrics = {**_score_modes(config, labels, questions), "run": summary}
        manifest.write_json(config.output / "metrics.json", metrics)
        return metrics

    def show(summary: Summary, console: Console) -> None:
        tables.show(console, tables.placement(f"evaluate placement: {config.output}", summary), summary)

    return run_job(Job(config, _settings(config), run, finish, show, partial(show_again, show)), console)


def _make_pass(config: EvaluateConfig) -> Pass:
    manner = Manner(
        prompts.load_pack(config.prompts),
        config.variant,
        config.paper,
        config.system,
        Sampling(max_tokens=config.max_tokens),
        config.context_tokens,
    )
    return pass_of(
        config,
        "evaluate placement",
        partial(answer_question, manner=manner),
        prepare=partial(prepare, max_images=config.max_images),
        weight=weight,
    )


def _pass_rows(config: EvaluateConfig, questions: Iterable[Question]) -> list[Row]:
    """One record for every question and mode: where one mode fails, the others' answers are kept."""
    rows = [(question, to_row(question)) for question in questions]
    return [{**row, "id": _key(mode, question.id), "mode": mode} for question, row in rows for mode in config.mode]


def _key(mode: str, question_id: str) -> str:
    """A record's id."""
    return f"{mode}:{question_id}"


def _score_modes(
    config: EvaluateConfig, labels: Mapping[str, Relevance] | None, questions: Mapping[str, Question]
) -> dict[str, Any]:
    """Write the answers of every mode; returns the metrics by mode. Raises ConfigError if no mode can be scored."""
    rows = {result.id: result.row for result in store.results(config.output)}
    metrics: dict[str, Any] = {}
    for mode in config.mode:
        answers = {id: rows[key] for id in questions if (key := _key(mode, id)) in rows}
        metrics[mode] = _score_answers(config, mode, labels, questions, answers)
    problems = [one["problem"] for one in metrics.values() if "problem" in one]
    if len(problems) == len(metrics):
        raise ConfigError(f"{config.output}: {problems[0]}; see why: imageref inspect {config.output}")
    return metrics


def weight(row: Row) -> float:
    """A rough length of a question's prompts in tokens: four characters per token, 256 tokens per image."""
    parts = [*row["prompt"], row["reference"]]
    return sum(len(part) / 4 if isinstance(part, str) else 256 for part in parts)


def prepare(row: Row, max_images: int | None = None) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the question's row with verified images (sha256, size). An unusable image fails the record."""
    question = _question_from_row(row)
    if max_images is not None and len(question.images) > max_images:
        raise RequestError(f"{len(question.images)} images, more than the {max_images} of max_images")
    parts: list[str | Image] = []
    for part in question.prompt:
        verified = verify(part, LIMITS["bytes"], LIMITS["pixels"]) if isinstance(part, Image) else part
        if isinstance(verified, Problem):
            raise RequestError(f"{verified.error}: {verified.message}")
        parts.append(verified)
    return {**row, "prompt": to_row(Question(question.id, tuple(parts), question.reference))["prompt"]}, ()


async def answer_question(row: Row, generate: Generate, manner: Manner) -> Row:
    """Answer one question in one mode: `{"id", "text", "made"}`, the text with its image references."""
    with stage(row["mode"]):
        answered = await MODES[row["mode"]](_question_from_row(row), generate, manner)
    return {"id": row["id"], **to_row(answered)}


def _score_answers(
    config: EvaluateConfig,
    mode: str,
    labels: Mapping[str, Relevance] | None,
    questions: Mapping[str, Question],
    answers: Mapping[str, Row],
) -> dict[str, Any]:
    """Write one mode's answers in the paper's formats and score them, the text alone where there are no labels."""
    made = Counter(row["made"] for row in answers.values())
    readings = {id: read_answer(row["text"], questions[id], config.label_slots) for id, row in answers.items()}
    placements = {id: reading.placed if reading.aligned else None for id, reading in readings.items()}
    unknown = {id: reading.unknown for id, reading in readings.items()}
    paper_formats.write_jsonl(
        config.output / f"{mode}.jsonl", ({"id": id, "result": row["text"]} for id, row in answers.items())
    )
    paper_formats.write_insertions(
        config.output / f"{mode}.insertion.jsonl",
        (_insertion(questions[id], placed, config.label_slots) for id, placed in placements.items()),
    )
    metrics = {"made": dict(made), "answers": len(answers), "intervals": {}, **summarise_readings(readings, questions)}
    if not answers:
        return {**metrics, "problem": f"{mode}: none of {len(questions)} questions has an answer"}
    if labels is None:
        return metrics
    try:
        return {**metrics, **summarise(labels, placements, config.paper, config.seed, unknown=unknown)}
    except ValueError as error:
        return {**metrics, "problem": f"{mode}: {error}"}


def _insertion(question: Question, placed: Placed | None, policy: markdown.Policy) -> paper_formats.Insertion:
    images = [image.id for image in question.images]
    if placed is None:
        return paper_formats.Insertion(question.id, tuple(images), "")
    slots = len(markdown.slots(markdown.strip_images(question.reference), policy))
    return paper_formats.insertion(question.id, images, placed, slots)


def _read_test_set(config: EvaluateConfig) -> tuple[dict[str, Relevance] | None, dict[str, Question]]:
    """Labels and questions of the events that have both, at most `limit`, in the test set's order.

    Without a label file, all questions.
    """
    questions = paper_formats.read_questions(config.data, config.root)
    if config.labels is None:
        return None, dict(islice(questions.items(), config.limit))
    labels = paper_formats.read_labels(config.labels)
    ids = [id for id in questions if id in labels][: config.limit]
    if not ids:
        raise ConfigError(
            f"no id of {config.data} ({len(questions)} samples) is in {config.labels} ({len(labels)} events); "
            "give the labels of this test set"
        )
    return {id: labels[id] for id in ids}, {id: questions[id] for id in ids}


def _settings(config: EvaluateConfig) -> dict[str, Any]:
    """Every setting that changes the metrics: the run's fingerprint."""
    values = config.model_dump(mode="json", include=SETTINGS)
    files = {"data": manifest.content_identity(config.data)}
    files |= {"labels": manifest.content_identity(config.labels)} if config.labels else {}
    pack = manifest.digest(prompts.load_pack(config.prompts).model_dump())
    engine = manifest.engine_settings(config.engine)
    return {"job": "evaluate placement", **values, **files, "prompts": pack, "engine": engine}


def _question_from_row(row: Row) -> Question:
    parts = tuple(part if isinstance(part, str) else from_row(Image, part) for part in row["prompt"])
    return Question(row["id"], parts, row["reference"])
