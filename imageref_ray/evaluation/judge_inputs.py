"""What an evaluation by a judge reads: the answers to judge, people's ratings, and what other judges said.

Invalid input raises a ConfigError that says the file, the line, what is wrong and how to fix it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imageref_ray.core.config import ConfigError, JudgeConfig
from imageref_ray.core.config.judge import REFERENCE
from imageref_ray.core.files import read_csv
from imageref_ray.dataset.paper_formats import Question, read_answers, read_questions
from imageref_ray.evaluation import events
from imageref_ray.evaluation.agreement_metrics import Key
from imageref_ray.stages.judge import Item
from imageref_ray.stages.prompts.rubric import Rubric

Values = Mapping[Key, Mapping[str, float]]
"""(system, question id) → measure → value."""

WINS = {"win": 1.0, "tie": 0.5, "loss": 0.0}
"""How people write what an answer does against the baseline; the numbers are understood as well."""

SHOWN = 60
"""Characters of a wrong value in a message."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one system to the test set's questions, by question id; `unknown` others were in its file."""

    texts: Mapping[str, str]
    unknown: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is judged: the questions in order, the answers by system (the baseline's among them), and the rubric."""

    questions: Mapping[str, Question]
    answers: Mapping[str, Answers]
    rubric: Rubric
    baseline: str = REFERENCE

    @property
    def systems(self) -> list[str]:
        """The systems that are judged: all but the baseline."""
        return [name for name in self.answers if name != self.baseline]

    @property
    def keys(self) -> set[Key]:
        """What is judged: (system, question id)."""
        return set(itertools.product(self.systems, self.questions))

    def item(self, system: str, id: str) -> Item:
        """One system's answer to one question, as a record; a missing answer is an empty one."""
        question, unit = self.questions[id], self.rubric.unit
        baseline = question.reference if self.baseline == REFERENCE else self.answers[self.baseline].texts.get(id, "")
        return Item(
            id=record_id(system, id),
            question=question.text,
            reference=question.reference,
            answer=self.answers[system].texts.get(id, ""),
            baseline=baseline if unit == "pair" else "",
            images=question.images if unit == "image" else (),
        )


def record_id(system: str, question: str) -> str:
    """The id of an answer's record in the run."""
    return f"{system}/{question}"


def read_inputs(config: JudgeConfig, rubric: Rubric) -> Inputs:
    """The first `limit` questions and every system's answers to them.

    Raises ConfigError also where a file has no answer to any of the questions.
    """
    if config.baseline != REFERENCE and rubric.unit != "pair":
        raise ConfigError(f"baseline: rubric {rubric.name} compares no answers; take pairwise, or remove baseline")
    questions = read_questions(config.data, config.root)
    chosen = {id: questions[id] for id in list(questions)[: config.limit]}
    systems = {}
    for name, path in config.answers.items():
        texts = read_answers(path)
        if not texts.keys() & chosen.keys():
            raise ConfigError(
                f"answers.{name}: no id of {path} ({len(texts)} answers) is among the {len(chosen)} questions of "
                f"{config.data}; give answers to this test set"
            )
        known = {id: text for id, text in texts.items() if id in chosen}
        systems[name] = Answers(known, sum(id not in questions for id in texts))
    return Inputs(chosen, systems, rubric, config.baseline)


def read_raters(config: JudgeConfig, inputs: Inputs) -> dict[str, Values]:
    """What people (`human`) and other judges say, by rater. Raises ConfigError for one who rates no answer of these."""
    raters = {name: read_judge(run) for name, run in config.judges.items()}
    raters |= {"human": read_ratings(config.human, inputs)} if config.human else {}
    measures = inputs.rubric.measures
    for name, values in raters.items():
        if not any(values[key].keys() & set(measures) for key in inputs.keys & values.keys()):
            path = config.judges.get(name, config.human)
            raise ConfigError(
                f"{path} ({len(values)} answers) rates none of the answers that are judged here; give ratings "
                f"({', '.join(measures)}) of the same systems and questions"
            )
    return raters


def read_ratings(path: Path, inputs: Inputs) -> Values:
    """People's ratings: a CSV with the columns id, system (not needed where there is one) and one or more measures.

    Empty cells are no ratings; other columns are ignored.
    """
    rubric, measures, systems = inputs.rubric, inputs.rubric.measures, inputs.systems
    least, most = (0.0, 1.0) if rubric.unit == "pair" else (rubric.least, rubric.most)
    names, rows = _read_ratings_csv(path)
    columns = [name for name in measures if name in names]
    if "id" not in names or not columns:
        raise ConfigError(f"{path}: its first line must name the columns id, system, and one of {', '.join(measures)}")
    if "system" not in names and len(systems) > 1:
        raise ConfigError(f"{path}: column system is missing; it says whose answer is rated: {', '.join(systems)}")
    ratings: dict[Key, dict[str, float]] = {}
    for line, row in rows:
        where = f"{path} line {line}"
        key = ((row.get("system") or systems[0]).strip(), row["id"].strip())
        if key in ratings:
            raise ConfigError(f"{where}: the answer of {key[0]} to {key[1]} is rated again; keep one of the lines")
        cells = {name: row[name].strip() for name in columns}
        ratings[key] = {name: _number(cell, name, least, most, where) for name, cell in cells.items() if cell}
    return {key: values for key, values in ratings.items() if values}


def read_judge(run: Path) -> Values:
    """What a finished run of another judge says of every answer."""
    found = events.read(run)
    rated = ((system, id, event.values) for system, mine in found.items() for id, event in mine.items())
    return {
        (system, id): {name: value for name, value in values.items() if value is not None}
        for system, id, values in rated
        if values
    }


def _read_ratings_csv(path: Path) -> tuple[Sequence[str], list[tuple[int, dict[str, str]]]]:
    try:
        return read_csv(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give the CSV of people's ratings") from None


def _number(cell: str, measure: str, least: float, most: float, where: str) -> float:
    if measure == "win" and cell.lower() in WINS:
        return WINS[cell.lower()]
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not least <= value <= most or (measure == "win" and value not in WINS.values()):
        expected = "win, tie or loss" if measure == "win" else f"a number from {least:g} to {most:g}"
        raise ConfigError(f"{where}: {measure} is {cell[:SHOWN]!r}; expected {expected}")
    return value
