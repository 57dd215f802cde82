"""Test set + checkpoint → answers → image-placement metrics: `imageref evaluate placement`.

    annotation JSONL ─▶ one pass on the engine ─┬▶ guided: the reference's text, the model decides every slot
                                                └▶ free: the model's own text, placements read from it
    label CSV ─────────────────────────────────────▶ metrics.json

Also written: `<mode>.jsonl` ({"id", "result"}) and `<mode>.insertion.jsonl`, which `imageref score` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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
from imageref_ray.engines.base import Generate, Message, Request, RequestError, Sampling
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.evaluation.read_answer import read_answer, summarise_readings
from imageref_ray.stages.guided_decode import fill

LIMITS = {name: SourceConfig.model_fields[f"max_image_{name}"].default for name in ("bytes", "pixels")}
"""Larger images are refused, as in a build."""


def evaluate_placement(
    config: EvaluateConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Metrics by mode (`guided`, `free`; see `placement_metrics.summarise`) and the pass's own numbers (`run`).

    Only labelled questions are answered. Resumes an interrupted run; of a finished run the metrics are read. Questions
    in the quarantine stay there, except those whose ids are in `again`. Raises as `run_job`.
    """
    labels, questions = _read_test_set(config)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        return run_pass(_make_pass(config), [to_row(question) for question in questions.values()], again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any answer there is nothing to measure
        metrics = {**_score_modes(config, labels, questions), "run": summary}
        manifest.write_json(config.output / "metrics.json", metrics)
        return metrics

    def show(summary: Summary, console: Console) -> None:
        tables.show(console, tables.placement(f"evaluate placement: {config.output}", summary), summary)

    return run_job(Job(config, _settings(config), run, finish, show, partial(show_again, show)), console)


def _make_pass(config: EvaluateConfig) -> Pass:
    return pass_of(
        config,
        "evaluate placement",
        partial(
            answer_question,
            modes=config.mode,
            variant=config.variant,
            paper=config.paper,
            system=config.system,
            max_tokens=config.max_tokens,
        ),
        prepare=prepare,
        weight=weight,
    )


def _score_modes(
    config: EvaluateConfig, labels: Mapping[str, Relevance], questions: Mapping[str, Question]
) -> dict[str, Any]:
    """Write the answers of every mode; returns the metrics by mode."""
    rows = {result.id: result.row for result in store.results(config.output)}
    metrics: dict[str, Any] = {}
    for mode in config.mode:
        answers = {id: rows[id][mode] for id in questions if id in rows}
        metrics[mode] = _score_answers(config, mode, labels, questions, answers)
    return metrics


def weight(row: Row) -> float:
    """A rough length of a question's prompts in tokens: four characters per token, 256 tokens per image."""
    parts = [*row["prompt"], row["reference"]]
    return sum(len(part) / 4 if isinstance(part, str) else 256 for part in parts)


def prepare(row: Row) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the question's row with verified images (sha256, size). An unusable image fails the question."""
    question = _question_from_row(row)
    parts: list[str | Image] = []
    for part in question.prompt:
        verified = verify(part, LIMITS["bytes"], LIMITS["pixels"]) if isinstance(part, Image) else part
        if isinstance(verified, Problem):
            raise RequestError(f"{verified.error}: {verified.message}")
        parts.append(verified)
    return to_row(Question(question.id, tuple(parts), question.reference)), ()


async def answer_question(
    row: Row, generate: Generate, *, modes: tuple[str, ...], variant: Any, paper: bool, system: str, max_tokens: int
) -> Row:
    """Answer one question in every mode: `{"id", mode: text}`, the text with its image references."""
    question = _question_from_row(row)
    turns = (Message("user", question.prompt),)
    messages = (Message("system", (system,)), *turns) if system else turns
    answers: Row = {"id": question.id}
    if "guided" in modes:
        with stage("guided"):
            answers["guided"], _, _ = await fill(
                messages, question.images, question.reference, generate, variant, paper=paper
            )
    if "free" in modes:
        with stage("free"):
            answers["free"] = (await generate(Request(messages, Sampling(max_tokens=max_tokens)))).text
    return answers


def _score_answers(
    config: EvaluateConfig,
    mode: str,
    labels: Mapping[str, Relevance],
    questions: Mapping[str, Question],
    answers: Mapping[str, str],
) -> dict[str, Any]:
    """Write one mode's answers in the paper's formats and score them."""
    readings = {id: read_answer(answer, questions[id], config.label_slots) for id, answer in answers.items()}
    placements = {id: reading.placed if reading.aligned else None for id, reading in readings.items()}
    unknown = {id: reading.unknown for id, reading in readings.items()}
    paper_formats.write_jsonl(config.output / f"{mode}.jsonl", ({"id": id, "result": answers[id]} for id in answers))
    paper_formats.write_insertions(
        config.output / f"{mode}.insertion.jsonl",
        (_insertion(questions[id], placed, config.label_slots) for id, placed in placements.items()),
    )
    try:
        metrics = summarise(labels, placements, config.paper, config.seed, unknown=unknown)
    except ValueError as error:
        raise ConfigError(f"{config.output}: {error}; see why: imageref inspect {config.output}") from None
    return {**metrics, **summarise_readings(readings, questions)}


def _insertion(question: Question, placed: Placed | None, policy: markdown.Policy) -> paper_formats.Insertion:
    images = [image.id for image in question.images]
    if placed is None:
        return paper_formats.Insertion(question.id, tuple(images), "")
    slots = len(markdown.slots(markdown.strip_images(question.reference), policy))
    return paper_formats.insertion(question.id, images, placed, slots)


def _read_test_set(config: EvaluateConfig) -> tuple[dict[str, Relevance], dict[str, Question]]:
    """Labels and questions of the events that have both, at most `limit`, in the test set's order."""
    labels = paper_formats.read_labels(config.labels)
    questions = paper_formats.read_questions(config.data, config.root)
    ids = [id for id in questions if id in labels][: config.limit]
    if not ids:
        raise ConfigError(
            f"no id of {config.data} ({len(questions)} samples) is in {config.labels} ({len(labels)} events); "
            "give the labels of this test set"
        )
    return {id: labels[id] for id in ids}, {id: questions[id] for id in ids}


def _settings(config: EvaluateConfig) -> dict[str, Any]:
    """Every setting that changes the metrics: the run's fingerprint."""
    values = config.model_dump(
        mode="json", include={"mode", "variant", "paper", "system", "max_tokens", "limit", "label_slots", "seed"}
    )
    files = {"data": manifest.content_identity(config.data), "labels": manifest.content_identity(config.labels)}
    return {"job": "evaluate placement", **values, **files, "engine": manifest.engine_settings(config.engine)}


def _question_from_row(row: Row) -> Question:
    parts = tuple(part if isinstance(part, str) else from_row(Image, part) for part in row["prompt"])
    return Question(row["id"], parts, row["reference"])
