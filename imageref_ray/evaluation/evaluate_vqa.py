"""Annotated questions + checkpoint → answers → VQA accuracy: `imageref evaluate vqa`.

    questions, images ─▶ one pass on the engine ─┬▶ direct: a short answer in the model's own words
                                                 └▶ choice: the log-likelihood of each given choice
    annotators' answers, right choices ─────────────▶ metrics.json, events.jsonl

Also written: `answers.jsonl` ({"set", "id", "answer"}), `choices.jsonl` ({"set", "id", "total", "mean", "logprobs"}).
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
from imageref_ray.evaluation import events, tables, vqa_metrics
from imageref_ray.evaluation.evaluate_placement import LIMITS
from imageref_ray.evaluation.vqa_events import choice_events, direct_events
from imageref_ray.sources.vqa_sets import read_flat, read_official
from imageref_ray.stages.prompts.instruct import InstructPack, load_instruct
from imageref_ray.stages.short_answer import answer, likelihoods

Sets = Mapping[str, Sequence[VisualQuestion]]
"""Set name → its questions, in the file's order."""

Rows = Mapping[str, Mapping[str, Row]]
"""Set name → question id → the row that the model's answers are in."""


def evaluate_vqa(
    config: VqaConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Metrics by mode and set (see `vqa_metrics.summarise` for direct, `summarise_choices` for choice), and the pass's
    own numbers (`run`).

    A question without an answer counts as answered wrongly. Resumes an interrupted run; of a finished run the metrics
    are read. Questions in the quarantine stay there, except those whose ids are in `again`. Raises as `run_job`.
    """
    if "choice" in config.mode:
        engines.check_scoring(config.engine)
    pack = load_instruct(config.prompts)
    sets, failures = _read_sets(config)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        return run_pass(_make_pass(config, pack), chain(failures, _pass_rows(config, sets)), again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any answer there is nothing to measure
        metrics = {**_score(config, sets), "run": summary}
        manifest.write_json(config.output / "metrics.json", metrics)
        return metrics

    def show(summary: Summary, console: Console) -> None:
        tables.show(console, tables.vqa(f"evaluate vqa: {config.output}", summary), summary)

    return run_job(Job(config, _settings(config, pack), run, finish, show, partial(show_again, show)), console)


def prepare(row: Row) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the row with its question's image verified, or the record's failure."""
    question = from_row(VisualQuestion, row["question"])
    verified = verify(question.image, LIMITS["bytes"], LIMITS["pixels"])
    if isinstance(verified, Problem):
        return row, (Failure(row["id"], "verify", verified.error, verified.message),)
    return {**row, "question": to_row(dataclasses.replace(question, image=verified))}, ()


async def answer_question(
    row: Row, generate: Generate, *, modes: Sequence[str], pack: InstructPack, max_tokens: int
) -> Row:
    """Answer one question in every mode: `{"id", "answer", "ended", "logprobs"}`, the last if it has choices."""
    question = from_row(VisualQuestion, row["question"])
    answers: Row = {"id": row["id"]}
    if "direct" in modes:
        with stage("direct"):
            reply = await answer(question, generate, pack, max_tokens)
        answers |= {"answer": reply.text.strip(), "ended": reply.finish_reasons[0]}
    if "choice" in modes and question.choices:
        with stage("choice"):
            answers["logprobs"] = [list(tokens) for tokens in await likelihoods(question, generate, pack)]
    return answers


def _read_sets(config: VqaConfig) -> tuple[Sets, list[Failure]]:
    """All sets, and a failure for each unusable entry. Raises ConfigError where a set cannot be measured at all."""
    sets: dict[str, list[VisualQuestion]] = {}
    all_failures: list[Failure] = []
    for name, source in config.sets.items():
        entries = list(_limit(_read_entries(name, source), config.limit))
        failures = [entry for entry in entries if isinstance(entry, Failure)]
        sets[name] = [entry for entry in entries if isinstance(entry, VisualQuestion)]
        all_failures += [dataclasses.replace(failure, record_id=_id(name, failure.record_id)) for failure in failures]
        _check_set(name, source, sets[name], failures)
    if "choice" in config.mode and not any(map(vqa_metrics.has_right_choice, chain.from_iterable(sets.values()))):
        raise ConfigError(
            "mode choice: no question of "
            f"{', '.join(sets)} has choices and a right one (choices, correct_choice_idx); set mode: [direct]"
        )
    return sets, all_failures


def _read_entries(name: str, source: QuestionsConfig) -> Iterator[VisualQuestion | Failure]:
    if source.annotations is None:
        return read_flat(source.questions, source.images, name, source.image_name)
    return read_official(source.questions, source.annotations, source.images, name, source.image_name)


def _limit(entries: Iterator[VisualQuestion | Failure], limit: int | None) -> Iterator[VisualQuestion | Failure]:
    """The entries up to question number `limit`."""
    count = 0
    for entry in entries:
        yield entry
        count += isinstance(entry, VisualQuestion)
        if count == limit:
            return


def _check_set(
    name: str, source: QuestionsConfig, questions: Sequence[VisualQuestion], failures: Sequence[Failure]
) -> None:
    """Raise ConfigError where no entry is a question, or no image exists where the settings say."""
    if not questions:
        reason = f"; the first entry: {failures[0].message}" if failures else " (the list is empty)"
        raise ConfigError(f"sets.{name}: {source.questions} holds no usable question{reason}")
    paths = [Path(question.image.uri) for question in questions]
    if not any(path.is_file() for path in paths):
        raise ConfigError(
            f"sets.{name}: none of the images of {len(paths):,} questions exists, e.g. {paths[0]}; "
            f"fix sets.{name}.images, or image_name where images are named by numbers"
        )


def _id(name: str, question: str) -> str:
    """The record id of a set's question: unique among all sets."""
    return f"{name}/{question}"


def _pass_rows(config: VqaConfig, sets: Sets) -> Iterator[Row]:
    """The rows of the pass: every question, or only those with choices where mode is only choice."""
    for name, questions in sets.items():
        for question in questions:
            if "direct" in config.mode or question.choices:
                yield {"id": _id(name, question.id), "question": to_row(question)}


def _make_pass(config: VqaConfig, pack: InstructPack) -> Pass:
    return pass_of(
        config,
        "evaluate vqa",
        partial(answer_question, modes=config.mode, pack=pack, max_tokens=config.max_tokens),
        prepare=prepare,
        weight=weight,
    )


def weight(row: Row) -> float:
    """A rough length of a question's prompts in tokens: four characters per token, each choice counted."""
    question = row["question"]
    return (len(question["question"]) + sum(map(len, question["choices"]))) / 4


def _score(config: VqaConfig, sets: Sets) -> dict[str, Any]:
    """Write the answers and score them: mode → set → metrics; a set without choices is left out of mode choice."""
    by_id = {result.id: result.row for result in store.results(config.output)}
    rows = {
        name: {question.id: by_id[id] for question in questions if (id := _id(name, question.id)) in by_id}
        for name, questions in sets.items()
    }
    events.write(config.output, _events(config, sets, rows))
    metrics: dict[str, Any] = {}
    if "direct" in config.mode:
        write_jsonl(config.output / "answers.jsonl", _answer_lines(rows))
        metrics["direct"] = {
            name: _score_direct(questions, rows[name], config.seed) for name, questions in sets.items()
        }
    if "choice" in config.mode:
        write_jsonl(config.output / "choices.jsonl", _choice_lines(sets, rows))
        metrics["choice"] = {
            name: vqa_metrics.summarise_choices(questions, _logprobs(rows[name]), config.seed)
            for name, questions in sets.items()
            if any(map(vqa_metrics.has_right_choice, questions))
        }
    return metrics


def _events(config: VqaConfig, sets: Sets, rows: Rows) -> Iterator[events.Event]:
    problems = events.problems(store.failures(config.output))
    for name, questions in sets.items():
        of_set = {question.id: problems.get(_id(name, question.id), "") for question in questions}
        if "direct" in config.mode:
            answers = {id: row["answer"] for id, row in rows[name].items()}
            yield from direct_events(name, questions, answers, of_set)
        if "choice" in config.mode:
            yield from choice_events(name, questions, _logprobs(rows[name]), of_set)


def _score_direct(questions: Sequence[VisualQuestion], rows: Mapping[str, Row], seed: int) -> dict[str, Any]:
    """`vqa_metrics.summarise`, and `cut`: how many answers ended at the token limit."""
    answers = {id: row["answer"] for id, row in rows.items()}
    cut = sum(row["ended"] == "length" for row in rows.values())
    return {**vqa_metrics.summarise(questions, answers, seed), "cut": cut}


def _logprobs(rows: Mapping[str, Row]) -> dict[str, list[list[float]]]:
    return {id: row["logprobs"] for id, row in rows.items() if "logprobs" in row}


def _answer_lines(rows: Rows) -> Iterator[Row]:
    for name, by_id in rows.items():
        yield from ({"set": name, "id": id, "answer": row["answer"]} for id, row in by_id.items())


def _choice_lines(sets: Sets, rows: Rows) -> Iterator[Row]:
    """The likeliest choice of every scored question, by total and by mean log-likelihood, and the log-probabilities."""
    for name, questions in sets.items():
        logprobs = _logprobs(rows[name])
        for question in questions:
            if question.id in logprobs:
                best = vqa_metrics.choose(logprobs[question.id])
                texts = {measure: question.choices[index] for measure, index in best._asdict().items()}
                yield {"set": name, "id": question.id, **texts, "logprobs": logprobs[question.id]}


def _settings(config: VqaConfig, pack: InstructPack) -> dict[str, Any]:
    """Every setting that changes the metrics: the run's fingerprint."""
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
