"""Instructions about the embedded corpus, unit by unit: how many are false in drafts and in corrected answers.

Instruction ─split─▶ units ─truth of the picture─▶ true or false ─▶ shares, and by how much correction lowers them
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
"""An instruction's texts and their names for people; the answer in one pass is what mode `continue` gives."""


def pictures(events: Iterable[Event]) -> dict[str, Picture]:
    """Every picture by its image's id in the corpus folder (`<news>/<k>.jpg`)."""
    return {shot.id: shot.picture for event in events for shot in event.shots}


def judge(picture: Picture, question: str, text: str) -> list[bool] | None:
    """Whether each unit of an answer is true; None where the corpus does not know the question's answer.

    An answer to one of the corpus's short questions is one unit, right word for word; what can be seen is told in
    sentences, one fact each. A sentence that says nothing the corpus can check is false.
    """
    if question == descriptions.QUESTION:
        return [descriptions.holds(picture, unit) for unit in split(text)] if text.strip() else []
    known = dict(questions(picture))
    return [text.strip().rstrip(".") == known[question]] if question in known else None


def measure(
    items: Iterable[Instruction], shown: Mapping[str, Picture], seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Units and the share of false ones in every version of the answers, and each later version against the draft.

    `difference` is its share minus the draft's, `interval` the 95 % percentile bootstrap over images, paired. `unknown`
    counts instructions whose question the corpus cannot answer, `unusable` those with a problem; both are left out.
    Raises ValueError where nothing is left.
    """
    counts = {"judged": 0, "unknown": 0, "unusable": 0}
    by_image: dict[str, Any] = {}
    for item in items:
        verdicts = [judge(shown[item.image.id], item.question, getattr(item, name)) for name in VERSIONS]
        known = [verdict for verdict in verdicts if verdict is not None]
        kind = "unusable" if item.problem else "judged" if len(known) == len(verdicts) else "unknown"
        counts[kind] += 1
        if kind == "judged":
            row = np.array([(verdict.count(False), len(verdict)) for verdict in known], dtype=float)
            by_image[item.image.id] = by_image.get(item.image.id, 0) + row
    if not by_image:
        raise ValueError(f"no answer to judge: {counts['unusable']} unusable, {counts['unknown']} of unknown questions")
    # Images × versions × (false, all), in an order that does not hang on which image was finished first.
    table = np.array([by_image[id] for id in sorted(by_image)])
    draws = np.random.default_rng(seed).multinomial(len(table), [1 / len(table)] * len(table), size=resamples)
    again = np.tensordot(draws, table, axes=1)
    whole, drawn = _shares(table.sum(axis=0)), _shares(again)
    found: dict[str, Any] = {**counts, "images": len(table)}
    for k, name in enumerate(VERSIONS.values()):
        false, units = (int(number) for number in table[:, k].sum(axis=0))
        found[name] = {"units": units, "false": false, "share": round(float(whole[k]), 4)}
        if k:
            bounds = np.percentile(drawn[:, k] - drawn[:, 0], [2.5, 97.5])
            found[name]["difference"] = round(float(whole[k] - whole[0]), 4)
            found[name]["interval"] = [round(float(bound), 4) for bound in bounds]
    return found


def _shares(counts: Any) -> Any:
    """False units of all, over the last axis."""
    return counts[..., 0] / np.maximum(counts[..., 1], 1)
