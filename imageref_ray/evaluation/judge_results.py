"""A run's judgements → the values of every answer → its lines in files, and the numbers of every system."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageref_ray.batch.worker import Row
from imageref_ray.core import markdown
from imageref_ray.evaluation import judge_metrics
from imageref_ray.evaluation.agreement_metrics import Key, agreement
from imageref_ray.evaluation.events import Event
from imageref_ray.evaluation.judge_inputs import Inputs, Values, record_id
from imageref_ray.evaluation.judge_metrics import Judged
from imageref_ray.stages.judge import Judgement, references, unasked_response
from imageref_ray.stages.prompts.rubric import Rubric

Said = Mapping[Key, Sequence[Judgement]]
"""(system, question id) → the judgements of that answer, by system and question; failed ones are missing."""


def merge(inputs: Inputs, said: Said) -> dict[Key, Judged]:
    """Every answer's judgements as one; an answer without an image to judge is left out."""
    judged = {}
    for key, judgements in said.items():
        values = [one.values for one in judgements]
        if inputs.rubric.unit == "pair":
            item = inputs.item(*key)
            longer = len(markdown.strip_images(item.answer)) - len(markdown.strip_images(item.baseline))
            judged[key] = Judged(*judge_metrics.merge_pair(values), longer)
        elif values:
            judged[key] = Judged(judge_metrics.mean_values(values))
    return judged


def summarise(inputs: Inputs, said: Said, judged: Mapping[Key, Judged], seed: int = 0) -> dict[str, Any]:
    """`systems` (name → metrics and counts), the metrics' names (`measures`, the first is that of the `ranking`)."""
    rubric = inputs.rubric
    systems = {name: _summarise(inputs, name, said, judged, seed) for name in inputs.systems}
    measures = judge_metrics.PAIR if rubric.unit == "pair" else (*["relative"] * rubric.ratio, *rubric.measures)
    ranking = judge_metrics.ranking(systems, measures[0])
    return {"rubric": rubric.name, "measures": [*measures, "unrated"], "systems": systems, "ranking": ranking}


def agreements(rubric: Rubric, raters: Mapping[str, Values], seed: int = 0) -> list[dict[str, Any]]:
    """The agreement of every two raters in every measure that both know."""
    found = []
    for (one, its), (other, others) in itertools.combinations(raters.items(), 2):
        for measure in rubric.measures:
            x, y = ({key: v[measure] for key, v in values.items() if measure in v} for values in (its, others))
            if x.keys() & y.keys():
                numbers = agreement(x, y, rubric.unit == "pair", seed)
                found.append({"raters": [one, other], "measure": measure, **numbers})
    return found


def judgement_lines(rubric: Rubric, said: Said) -> Iterator[Row]:
    """One line a judgement; where no judge was asked, the prompt is empty and the response what it would have been."""
    for (system, id), judgements in said.items():
        for one in judgements:
            response = one.response if one.prompt else unasked_response(one, rubric)
            asked = {"id": id, "prompt": one.prompt, "response": response}
            yield {**asked, "system": system, "about": one.about, "values": one.values}


def judge_events(
    inputs: Inputs, said: Said, judged: Mapping[Key, Judged], problems: Mapping[str, str]
) -> Iterator[Event]:
    """One event an answer, its mode the system's name; `problems`: record id → why it failed."""
    for key in itertools.product(inputs.systems, inputs.questions):
        problem = ""
        if key not in said:
            problem = problems.get(record_id(*key), "it was not judged")
        elif key not in judged:
            problem = "the answer has no image to judge"
        elif not judged[key].values:
            problem = "no reply of the judge has a rating"
        system, id = key
        item = inputs.item(system, id)
        yield Event(
            id=id,
            mode=system,
            values=judged[key].values if key in judged else {},
            problem=problem,
            question=item.question,
            answer=item.answer,
            expected=item.baseline or item.reference,
            images=inputs.questions[id].images,
        )


def _summarise(inputs: Inputs, system: str, said: Said, judged: Mapping[Key, Judged], seed: int) -> dict[str, Any]:
    """One system's metrics, and what became of its answers."""
    rubric, questions, answers = inputs.rubric, inputs.questions, inputs.answers[system]
    mine = {id: judged[system, id] for id in questions if (system, id) in judged}
    if rubric.unit == "pair":
        metrics = judge_metrics.summarise_pairs(mine, seed)
    else:
        metrics = judge_metrics.summarise_ratings(mine, rubric.measures, rubric.ratio, seed)
    return {
        **metrics,
        "questions": len(questions),
        "missing_answers": sum(id not in answers.texts for id in questions),
        "empty_answers": sum(not text.strip() for text in answers.texts.values()),
        "unknown_answers": answers.unknown,
        "failed_answers": sum((system, id) not in said for id in questions),
        **(_image_counts(inputs, system, said) if rubric.unit == "image" else {}),
        **({"missing_baselines": _missing_baselines(inputs)} if rubric.unit == "pair" else {}),
    }


def _image_counts(inputs: Inputs, system: str, said: Said) -> dict[str, int]:
    mine = [said[system, id] for id in inputs.questions if (system, id) in said]
    images = [one for judgements in mine for one in judgements]
    written = [inputs.answers[system].texts.get(id, "") for id in inputs.questions]
    left_out = sum(len(markdown.references(text)) - len(references(text, inputs.rubric)) for text in written)
    return {
        "images": len(images),
        "unrated_images": sum(not one.values for one in images),
        "uncaptioned_images": left_out,
        "without_images": sum(not judgements for judgements in mine),
    }


def _missing_baselines(inputs: Inputs) -> int:
    """How many questions the baseline has not answered: there it counts as an empty answer."""
    baseline = inputs.answers.get(inputs.baseline)
    return sum(id not in baseline.texts for id in inputs.questions) if baseline else 0
