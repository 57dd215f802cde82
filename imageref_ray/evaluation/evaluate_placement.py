"""Test set + checkpoint → where the images went → metrics: `imageref evaluate placement`.

    annotation JSONL ─▶ one pass on the engine ─┬▶ guided: the reference's text, every slot decided by the model
                                                └▶ free: the model's own text, placements read from it
    label CSV ─────────────────────────────────────▶ metrics.json

Beside it: `<mode>.jsonl` ({"id", "result"}) and `<mode>.insertion.jsonl`, which `imageref score` reads.
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
from imageref_ray.stages.guided_decode import fill

LIMITS = {name: SourceConfig.model_fields[f"max_image_{name}"].default for name in ("bytes", "pixels")}
"""Larger pictures are refused, as in a build."""


def evaluate_placement(
    config: EvaluateConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Metrics by mode (`guided`, `free`; see `placement_metrics.summarise`) and the pass's own numbers (`run`).

    Only labelled questions are asked. Resumes an interrupted run; a finished one is read, not repeated. Questions in
    the quarantine stay there, except those whose ids are in `again`. Raises as `run_job`.
    """
    labels, questions = _matching(config)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        return run_pass(_task(config), [to_row(question) for question in questions.values()], again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any answer there is nothing to measure
        metrics = {**_measured(config, labels, questions), "run": summary}
        manifest.write_json(config.output / "metrics.json", metrics)
        return metrics

    def show(summary: Summary, console: Console) -> None:
        tables.show(console, tables.placement(f"evaluate placement: {config.output}", summary), summary)

    return run_job(Job(config, _settings(config), run, finish, show, partial(show_again, show)), console)


def _task(config: EvaluateConfig) -> Pass:
    return pass_of(
        config,
        "evaluate placement",
        partial(
            ask,
            modes=config.mode,
            variant=config.variant,
            paper=config.paper,
            system=config.system,
            max_tokens=config.max_tokens,
        ),
        prepare=prepare,
        weight=weight,
    )


def _measured(
    config: EvaluateConfig, labels: Mapping[str, Relevance], questions: Mapping[str, Question]
) -> dict[str, Any]:
    """Write the answers of every mode and score them."""
    rows = {result.id: result.row for result in store.results(config.output)}
    metrics: dict[str, Any] = {}
    for mode in config.mode:
        answers = {id: rows[id][mode] for id in questions if id in rows}
        metrics[mode] = _judged(config, mode, labels, questions, answers)
    return metrics


def weight(row: Row) -> float:
    """How long a question's prompts are, roughly, in tokens: four characters a token, 256 tokens an image."""
    parts = [*row["prompt"], row["reference"]]
    return sum(len(part) / 4 if isinstance(part, str) else 256 for part in parts)


def prepare(row: Row) -> tuple[Row, tuple[Failure, ...]]:
    """The question's row with verified images (sha256, size); one that cannot be used fails the question."""
    question = _question(row)
    parts: list[str | Image] = []
    for part in question.prompt:
        found = verify(part, LIMITS["bytes"], LIMITS["pixels"]) if isinstance(part, Image) else part
        if isinstance(found, Problem):
            raise RequestError(f"{found.error}: {found.message}")
        parts.append(found)
    return to_row(Question(question.id, tuple(parts), question.reference)), ()


async def ask(
    row: Row, generate: Generate, *, modes: tuple[str, ...], variant: Any, paper: bool, system: str, max_tokens: int
) -> Row:
    """One question in every mode: `{"id", mode: text}`, the text with its images."""
    question = _question(row)
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


def read(answer: str, question: Question, policy: markdown.Policy) -> Placed | None:
    """Slot of the reference text under `policy` → image id; None where the answer shares no line with the reference."""
    text = markdown.strip_images(question.reference)
    if not set(markdown.lines(markdown.strip_images(answer))) & set(markdown.lines(text)):
        return None
    numbers = markdown.extract_placements(text, answer)
    known = {slot: question.images[k - 1].id for slot, k in numbers.items() if 1 <= k <= len(question.images)}
    return markdown.convert(known, text, "after", policy)


def _judged(
    config: EvaluateConfig,
    mode: str,
    labels: Mapping[str, Relevance],
    questions: Mapping[str, Question],
    answers: Mapping[str, str],
) -> dict[str, Any]:
    """Write one mode's answers in the paper's formats and score them."""
    placed = {id: read(answer, questions[id], config.label_slots) for id, answer in answers.items()}
    paper_formats.write_jsonl(config.output / f"{mode}.jsonl", ({"id": id, "result": answers[id]} for id in answers))
    paper_formats.write_insertions(
        config.output / f"{mode}.insertion.jsonl",
        (_insertion(questions[id], chosen, config.label_slots) for id, chosen in placed.items()),
    )
    try:
        return summarise(labels, placed, config.paper, config.seed)
    except ValueError as error:
        raise ConfigError(f"{config.output}: {error}; look at its quarantine and run.log") from None


def _insertion(question: Question, placed: Placed | None, policy: markdown.Policy) -> paper_formats.Insertion:
    images = [image.id for image in question.images]
    if placed is None:
        return paper_formats.Insertion(question.id, tuple(images), "")
    slots = len(markdown.slots(markdown.strip_images(question.reference), policy))
    return paper_formats.insertion(question.id, images, placed, slots)


def _matching(config: EvaluateConfig) -> tuple[dict[str, Relevance], dict[str, Question]]:
    """Labels and questions of the events that have both, at most `limit`, in the test set's order."""
    labels = paper_formats.read_labels(config.labels)
    questions = paper_formats.read_questions(config.data, config.root)
    both = [id for id in questions if id in labels][: config.limit]
    if not both:
        raise ConfigError(
            f"no id of {config.data} ({len(questions)} samples) is in {config.labels} ({len(labels)} events); "
            "give the labels of this test set"
        )
    return {id: labels[id] for id in both}, {id: questions[id] for id in both}


def _settings(config: EvaluateConfig) -> dict[str, Any]:
    """What changes the numbers: the work's fingerprint."""
    plain = config.model_dump(
        mode="json", include={"mode", "variant", "paper", "system", "max_tokens", "limit", "label_slots", "seed"}
    )
    files = {"data": manifest.content_identity(config.data), "labels": manifest.content_identity(config.labels)}
    return {"job": "evaluate placement", **plain, **files, "engine": manifest.engine_settings(config.engine)}


def _question(row: Row) -> Question:
    parts = tuple(part if isinstance(part, str) else from_row(Image, part) for part in row["prompt"])
    return Question(row["id"], parts, row["reference"])
