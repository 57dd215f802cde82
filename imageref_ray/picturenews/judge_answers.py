"""Instructions about the embedded corpus, unit by unit: the share of false units in drafts and in corrected answers.

Instruction ─split─▶ units ─ground truth of the picture─▶ true or false ─▶ shares, and the effect of correction
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from imageref_ray.core.records import Instruction
from imageref_ray.core.sentences import split
from imageref_ray.picturenews import descriptions
from imageref_ray.picturenews.events import Event, questions
from imageref_ray.picturenews.scene_facts import Picture

VERSIONS = {"draft": "draft", "answer": "one pass", "corrected": "corrected"}
"""Field of an instruction's text → its name in reports; the answer in one pass is the result of mode `continue`."""


def pictures_by_id(events: Iterable[Event]) -> dict[str, Picture]:
    """Image id in the corpus folder (`<news>/<k>.jpg`) → its picture."""
    return {shot.id: shot.picture for event in events for shot in event.shots}


def judge(picture: Picture, question: str, text: str) -> list[bool] | None:
    """Whether each unit of an answer is true; None if the corpus does not know the answer to the question.

    The answer to a short question of the corpus is one unit and must match exactly; a description has one fact per
    sentence. A sentence that is none of the known facts is false.
    """
    if question == descriptions.QUESTION:
        return [descriptions.is_true(picture, unit) for unit in split(text)] if text.strip() else []
    known = dict(questions(picture))
    return [text.strip().rstrip(".") == known[question]] if question in known else None


def measure(
    items: Iterable[Instruction], pictures: Mapping[str, Picture], seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """The units and share of false ones per version of the answers, and each later version compared with the draft.

    `difference` is its share minus the draft's, `interval` the 95 % percentile bootstrap over images, paired. `unknown`
    counts instructions whose question the corpus cannot answer, `unusable` those with a problem; both are left out.
    Raises ValueError if nothing is left.
    """
    counts = {"judged": 0, "unknown": 0, "unusable": 0}
    by_image: dict[str, Any] = {}
    for item in items:
        verdicts = [judge(pictures[item.image.id], item.question, getattr(item, name)) for name in VERSIONS]
        known = [verdict for verdict in verdicts if verdict is not None]
        kind = "unusable" if item.problem else "judged" if len(known) == len(verdicts) else "unknown"
        counts[kind] += 1
        if kind == "judged":
            row = np.array([(verdict.count(False), len(verdict)) for verdict in known], dtype=float)
            by_image[item.image.id] = by_image.get(item.image.id, 0) + row
    if not by_image:
        raise ValueError(
            f"no answer to judge: {counts['unusable']} unusable, {counts['unknown']} with unknown questions"
        )
    # [images, versions, (false, all)], in an order that does not depend on which image was finished first
    table = np.array([by_image[id] for id in sorted(by_image)])
    draws = np.random.default_rng(seed).multinomial(len(table), [1 / len(table)] * len(table), size=resamples)
    resampled = _shares(np.tensordot(draws, table, axes=1))
    observed = _shares(table.sum(axis=0))
    result: dict[str, Any] = {**counts, "images": len(table)}
    for k, name in enumerate(VERSIONS.values()):
        false, units = (int(number) for number in table[:, k].sum(axis=0))
        result[name] = {"units": units, "false": false, "share": round(float(observed[k]), 4)}
        if k:
            bounds = np.percentile(resampled[:, k] - resampled[:, 0], [2.5, 97.5])
            result[name]["difference"] = round(float(observed[k] - observed[0]), 4)
            result[name]["interval"] = [round(float(bound), 4) for bound in bounds]
    return result


def _shares(counts: Any) -> Any:
    """The share of false units, from (false, all) in the last axis."""
    return counts[..., 0] / np.maximum(counts[..., 1], 1)
