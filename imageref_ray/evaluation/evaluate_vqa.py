"""Annotated questions + checkpoint → answers → VQA accuracy: `imageref evaluate vqa`.

    questions, images ─▶ one pass on the engine ─┬▶ direct: a short answer in the model's own words
                                                 └▶ choice: how likely each given choice is as the answer
    annotators' answers, right choices ─────────────▶ metrics.json

Beside it: `answers.jsonl` ({"set", "id", "answer"}) and `choices.jsonl` ({"set", "id", "total", "mean", "logprobs"}).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray import engines
from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.job import Job, Summary, pass_of, run_job, show_again
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.core.config import ConfigError, QuestionsConfig, VqaConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Failure, VisualQuestion, from_row, to_row
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.engines.base import Generate
from imageref_ray.evaluation import tables, vqa_metrics
from imageref_ray.evaluation.evaluate_placement import LIMITS
from imageref_ray.sources.vqa_sets import read_flat, read_official
from imageref_ray.stages.prompts.instruct import InstructPack, load_instruct
from imageref_ray.stages.short_answer import answer, likelihoods

Sets = Mapping[str, Sequence[VisualQuestion]]
"""Set name → its questions, in the file's order."""


def evaluate_vqa(
    config: VqaConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Metrics by mode and set, see `vqa_metrics.summarise` (direct) and `summarise_choices`, and the pass (`run`).

    A question that could not be answered counts as answered wrongly. Resumes an interrupted run; a finished one is
    read, not repeated. Questions in the quarantine stay there, except those whose ids are in `again`. Raises as
    `run_job`.
    """
    if "choice" in config.mode:
        engines.check_scoring(config.engine)
    pack = load_instruct(config.prompts)
    sets, early = _read(config)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        return run_pass(_task(config, pack), chain(early, _rows(config, sets)), again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any answer there is nothing to measure
        metrics = {**_measured(config, sets), "run": summary}
        manifest.write_json(config.output / "metrics.json", metrics)
        return metrics

    def show(summary: Summary, console: Console) -> None:
        tables.show(console, tables.vqa(f"evaluate vqa: {config.output}", summary), summary)

    return run_job(Job(config, _settings(config, pack), run, finish, show, partial(show_again, show)), console)


def prepare(row: Row) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the question's picture verified, or the record's failure."""
    question = from_row(VisualQuestion, row["question"])
    found = verify(question.image, LIMITS["bytes"], LIMITS["pixels"])
    if isinstance(found, Problem):
        return row, (Failure(row["id"], "verify", found.error, found.message),)
    return {**row, "question": to_row(dataclasses.replace(question, image=found))}, ()


async def work(row: Row, generate: Generate, *, modes: Sequence[str], pack: InstructPack, max_tokens: int) -> Row:
    """One question in every mode: `{"id", "answer", "ended", "logprobs"}`, the last for questions with choices."""
    question = from_row(VisualQuestion, row["question"])
    told: Row = {"id": row["id"]}
    if "direct" in modes:
        with stage("direct"):
            reply = await answer(question, generate, pack, max_tokens)
        told |= {"answer": reply.text.strip(), "ended": reply.finish_reasons[0]}
    if "choice" in modes and question.choices:
        with stage("choice"):
            told["logprobs"] = [list(tokens) for tokens in await likelihoods(question, generate, pack)]
    return told


def _read(config: VqaConfig) -> tuple[Sets, list[Failure]]:
    """All sets, and what of their files cannot be used. Raises ConfigError where a set cannot be measured at all."""
    sets: dict[str, list[VisualQuestion]] = {}
    early: list[Failure] = []
    for name, source in config.sets.items():
        found = list(_limited(_entries(name, source), config.limit))
        failures = [one for one in found if isinstance(one, Failure)]
        sets[name] = [one for one in found if isinstance(one, VisualQuestion)]
        early += [dataclasses.replace(one, record_id=_id(name, one.record_id)) for one in failures]
        _check_set(name, source, sets[name], failures)
    if "choice" in config.mode and not any(map(_chosen, (one for asked in sets.values() for one in asked))):
        raise ConfigError(
            "mode choice: no question of "
            f"{', '.join(sets)} has choices and a right one (choices, correct_choice_idx); set mode: [direct]"
        )
    return sets, early


def _entries(name: str, source: QuestionsConfig) -> Iterator[VisualQuestion | Failure]:
    if source.annotations is None:
        return read_flat(source.questions, source.images, name, source.image_name)
    return read_official(source.questions, source.annotations, source.images, name, source.image_name)


def _limited(found: Iterator[VisualQuestion | Failure], limit: int | None) -> Iterator[VisualQuestion | Failure]:
    """All up to the question of that number."""
    count = 0
    for one in found:
        yield one
        count += isinstance(one, VisualQuestion)
        if count == limit:
            return


def _check_set(
    name: str, source: QuestionsConfig, questions: Sequence[VisualQuestion], failures: Sequence[Failure]
) -> None:
    """Raise ConfigError where no entry is a question, or no picture is where the settings look for them."""
    if not questions:
        why = f", the first one because: {failures[0].message}" if failures else " (the list is empty)"
        raise ConfigError(f"sets.{name}: {source.questions} holds no question that can be asked{why}")
    places = [Path(question.image.uri) for question in questions]
    if not any(place.is_file() for place in places):
        raise ConfigError(
            f"sets.{name}: not one of {len(places):,} questions has its picture, the first not {places[0]}; "
            f"mend sets.{name}.images, or image_name where images are named by numbers"
        )


def _id(name: str, question: str) -> str:
    """The id of a set's question among those of all sets."""
    return f"{name}/{question}"


def _chosen(question: VisualQuestion) -> bool:
    """Whether it is a multiple-choice question whose right choice is known."""
    return 0 <= question.correct < len(question.choices)


def _rows(config: VqaConfig, sets: Sets) -> Iterator[Row]:
    """What is asked: every question, or where only choices are scored those that have any."""
    for name, questions in sets.items():
        for question in questions:
            if "direct" in config.mode or question.choices:
                yield {"id": _id(name, question.id), "question": to_row(question)}


def _task(config: VqaConfig, pack: InstructPack) -> Pass:
    return pass_of(
        config,
        "evaluate vqa",
        partial(work, modes=config.mode, pack=pack, max_tokens=config.max_tokens),
        prepare=prepare,
        weight=weight,
    )


def weight(row: Row) -> float:
    """How long a question's prompts are, roughly, in tokens: four characters a token, its choices one by one."""
    question = row["question"]
    return (len(question["question"]) + sum(map(len, question["choices"]))) / 4


def _measured(config: VqaConfig, sets: Sets) -> dict[str, Any]:
    """Write the answers and score them: mode → set → metrics; a set without choices has none of mode choice."""
    rows = {result.id: result.row for result in store.results(config.output)}
    told = {
        name: {question.id: rows[id] for question in asked if (id := _id(name, question.id)) in rows}
        for name, asked in sets.items()
    }
    metrics: dict[str, Any] = {}
    if "direct" in config.mode:
        write_jsonl(config.output / "answers.jsonl", _answers(told))
        metrics["direct"] = {name: _direct(asked, told[name], config.seed) for name, asked in sets.items()}
    if "choice" in config.mode:
        write_jsonl(config.output / "choices.jsonl", _choices(sets, told))
        metrics["choice"] = {
            name: vqa_metrics.summarise_choices(asked, _logprobs(told[name]), config.seed)
            for name, asked in sets.items()
            if any(map(_chosen, asked))
        }
    return metrics


def _direct(asked: Sequence[VisualQuestion], told: Mapping[str, Row], seed: int) -> dict[str, Any]:
    """`vqa.summarise` and `cut`, how many answers the token limit ended."""
    answers = {id: row["answer"] for id, row in told.items()}
    cut = sum(row["ended"] == "length" for row in told.values())
    return {**vqa_metrics.summarise(asked, answers, seed), "cut": cut}


def _logprobs(told: Mapping[str, Row]) -> dict[str, list[list[float]]]:
    return {id: row["logprobs"] for id, row in told.items() if "logprobs" in row}


def _answers(told: Mapping[str, Mapping[str, Row]]) -> Iterator[Row]:
    for name, rows in told.items():
        yield from ({"set": name, "id": id, "answer": row["answer"]} for id, row in rows.items())


def _choices(sets: Sets, told: Mapping[str, Mapping[str, Row]]) -> Iterator[Row]:
    """The likeliest choice of every scored question, by total and by mean log-likelihood, and what they rest on."""
    for name, asked in sets.items():
        scored = _logprobs(told[name])
        for question in asked:
            if question.id in scored:
                best = vqa_metrics.choose(scored[question.id])
                chosen = {way: question.choices[at] for way, at in best._asdict().items()}
                yield {"set": name, "id": question.id, **chosen, "logprobs": scored[question.id]}


def _settings(config: VqaConfig, pack: InstructPack) -> dict[str, Any]:
    """What changes the numbers: the work's fingerprint."""
    files = {
        name: {
            "questions": manifest.content_identity(source.questions),
            "annotations": manifest.content_identity(source.annotations) if source.annotations else None,
            "image_name": source.image_name,
        }
        for name, source in config.sets.items()
    }
    return {
        "job": "evaluate vqa",
        **config.model_dump(mode="json", include={"mode", "max_tokens", "limit", "seed"}),
        "prompts": {"name": config.prompts, "content": manifest.digest(pack.model_dump())},
        "sets": files,
        "engine": manifest.engine_settings(config.engine),
    }
