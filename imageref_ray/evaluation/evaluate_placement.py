"""Test set + checkpoint → answers → image-placement metrics: `imageref evaluate placement`.

    annotation JSONL ─▶ one record a question and mode ─▶ one pass on the engine ─▶ answers (`answer_modes`)
    label CSV ─────────────────────────────────────────────────────────────────────▶ metrics.json, events.jsonl

Also written: `<mode>.jsonl` ({"id", "result"}) and `<mode>.insertion.jsonl`, which `imageref score` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from rich.console import Console

from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.job import Job, Summary, pass_of, run_job, show_again
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.core import markdown, tiles
from imageref_ray.core.config import EvaluateConfig, SourceConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Failure, Image, from_row, to_row
from imageref_ray.core.tiles import Tiles
from imageref_ray.dataset import paper_formats
from imageref_ray.dataset.paper_formats import Placed, Question
from imageref_ray.engines.base import Generate, RequestError, Sampling
from imageref_ray.evaluation import events, tables
from imageref_ray.evaluation.answer_modes import MODES, Manner
from imageref_ray.evaluation.labelled_set import LabelledSet, read_labelled_set, slots
from imageref_ray.evaluation.placement_events import placement_events
from imageref_ray.evaluation.read_answer import Reading
from imageref_ray.evaluation.score import measure, read_texts
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
    labelled = read_labelled_set(config.labels, config.data, config.root, config.label_slots, config.limit)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        return run_pass(_make_pass(config), _pass_rows(config, labelled.questions.values()), again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any answer there is nothing to measure
        metrics = {**_score_modes(config, labelled), "run": summary}
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
        weight=partial(weight, tiles=tiles.expected(config.engine)),
    )


def _pass_rows(config: EvaluateConfig, questions: Iterable[Question]) -> list[Row]:
    """One record for every question and mode: where one mode fails, the others' answers are kept."""
    rows = [(question, to_row(question)) for question in questions]
    return [{**row, "id": _key(mode, question.id), "mode": mode} for question, row in rows for mode in config.mode]


def _key(mode: str, question_id: str) -> str:
    """A record's id."""
    return f"{mode}:{question_id}"


def _score_modes(config: EvaluateConfig, labelled: LabelledSet) -> dict[str, Any]:
    """Write the answers of every mode and their events; returns the metrics by mode.

    Raises RunFailed where there are labels and no answer of any mode has a section of its reference.
    """
    rows = {result.id: result.row for result in store.results(config.output)}
    problems = events.problems(store.failures(config.output))
    metrics: dict[str, Any] = {}
    found: list[events.Event] = []
    usable = labelled.labels is None
    for mode in config.mode:
        answers = {id: rows[key] for id in labelled.questions if (key := _key(mode, id)) in rows}
        texts = {id: row["text"] for id, row in answers.items()}
        readings = read_texts(labelled, texts)
        _write_answers(config, mode, labelled, texts, readings)
        metrics[mode] = {"made": dict(Counter(row["made"] for row in answers.values())), "answers": len(answers)}
        metrics[mode] |= _measure(config, mode, labelled, readings)
        why = {id: problems[key] for id in labelled.questions if (key := _key(mode, id)) in problems}
        found += placement_events(mode, labelled, texts, readings, why, config.paper)
        usable = usable or any(reading.aligned for reading in readings.values())
    if not usable:
        raise RunFailed(
            f"{config.output}: no answer has a section of its reference, so nothing was measured; "
            f"see the answers in {config.output / f'{config.mode[0]}.jsonl'}"
        )
    events.write(config.output, found)
    return metrics


def _measure(
    config: EvaluateConfig, mode: str, labelled: LabelledSet, readings: Mapping[str, Reading]
) -> dict[str, Any]:
    """One mode's metrics, or the `problem` because of which there are none."""
    if not readings:
        return {"problem": f"{mode}: no question has an answer; the quarantine says why"}
    try:
        return measure(labelled, readings, config.paper, config.seed)
    except ValueError as error:
        return {"problem": f"{mode}: {error}"}


def weight(row: Row, tiles: Tiles | None = None) -> float:
    """A rough length of a question's prompts in tokens: four characters per token, 256 tokens per tile.

    An image has one tile where `tiles` are not known, else as many as it may have.
    """
    texts = [part for part in (*row["prompt"], row["reference"]) if isinstance(part, str)]
    images = len(row["prompt"]) + 1 - len(texts)
    return sum(map(len, texts)) / 4 + 256 * (tiles.at_most(images) if tiles else images)


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


def _write_answers(
    config: EvaluateConfig,
    mode: str,
    labelled: LabelledSet,
    answers: Mapping[str, str],
    readings: Mapping[str, Reading],
) -> None:
    """One mode's answers in the paper's formats."""
    questions = labelled.questions
    paper_formats.write_answers(config.output / f"{mode}.jsonl", questions, answers)
    paper_formats.write_insertions(
        config.output / f"{mode}.insertion.jsonl",
        (_insertion(questions[id], reading.placements, labelled.policy) for id, reading in readings.items()),
    )


def _insertion(question: Question, placed: Placed | None, policy: markdown.Policy) -> paper_formats.Insertion:
    images = [image.id for image in question.images]
    if placed is None:
        return paper_formats.Insertion(question.id, tuple(images), "")
    return paper_formats.insertion(question.id, images, placed, slots(question, policy))


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
