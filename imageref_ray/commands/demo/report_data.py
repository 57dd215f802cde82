"""What the demo's report shows: test events with both models' answers, and corrected instructions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from imageref_ray.commands.demo.report import Correction, Picture, Sentence
from imageref_ray.commands.demo.report import Event as Shown
from imageref_ray.core.config import DemoConfig
from imageref_ray.core.records import Instruction
from imageref_ray.core.sentences import split
from imageref_ray.dataset import paper_formats
from imageref_ray.dataset.paper_formats import Placed, Relevance
from imageref_ray.evaluation.score import parse_insertion
from imageref_ray.picturenews import judge_answers
from imageref_ray.picturenews.events import Event, caption, response
from imageref_ray.picturenews.scene_facts import Picture as Truth


def events(config: DemoConfig, chosen: Iterable[Event]) -> list[Shown]:
    """Test events with their pictures, truth, and both models' answers."""
    test = config.output / "corpus" / "test"
    labels = paper_formats.read_labels(test / "label.csv")
    runs = {name: config.output / "evaluate" / name for name in ("base", "tuned")}
    answers = {name: _placed(run / "guided.insertion.jsonl", labels) for name, run in runs.items()}
    free = _results(runs["tuned"] / "free.jsonl")
    return [
        {
            "id": event.id,
            "question": event.title,
            "pictures": _pictures(event, test),
            "text": response(event),
            "relevance": labels[event.id],
            "base": answers["base"].get(event.id, {}),
            "tuned": answers["tuned"].get(event.id, {}),
            "policy": "before",
            "free": free.get(event.id, ""),
        }
        for event in chosen
    ]


def _pictures(event: Event, root: Path) -> list[Picture]:
    titles = {shot.id: article.title for article in event.articles for shot in article.shots}
    return [
        {
            "id": shot.id,
            "number": k,
            "path": str(root / "image" / shot.id),
            "caption": caption(event, shot),
            "document": titles[shot.id],
        }
        for k, shot in enumerate(event.shots, 1)
    ]


def _placed(path: Path, labels: Mapping[str, Relevance]) -> dict[str, Placed]:
    found = paper_formats.read_insertions(path)
    return {id: parse_insertion(insertion, labels[id]) or {} for id, insertion in found.items()}


def _results(path: Path) -> dict[str, str]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["result"] for row in rows}


def corrections(
    runs: Mapping[str, Sequence[Instruction]], pictures: Mapping[str, Truth], most: int
) -> list[Correction]:
    """At most `most` instructions with one draft in all runs and every correction of it, changed ones first."""
    by_draft: dict[tuple[str, str, str], dict[str, Instruction]] = {}
    for mode, items in runs.items():
        for item in items:
            by_draft.setdefault((item.id, item.question, item.draft), {})[mode] = item
    made = [_correction(items, pictures) for items in by_draft.values() if len(items) == len(runs)]
    known = [found for found in made if found]
    return sorted(known, key=lambda found: not any(s["mark"] for told in found["versions"].values() for s in told))[
        :most
    ]


def _correction(items: Mapping[str, Instruction], pictures: Mapping[str, Truth]) -> Correction | None:
    """None for an instruction without a question whose answer the corpus knows."""
    some = next(iter(items.values()))
    truth = pictures[some.image.id]
    if some.problem or judge_answers.judge(truth, some.question, some.draft) is None:
        return None
    draft = _sentences(truth, some.question, some.draft)
    versions = {mode: _changes(draft, _sentences(truth, item.question, item.corrected)) for mode, item in items.items()}
    return Correction(path=some.image.uri, question=some.question, draft=draft, versions=versions)


def _sentences(truth: Truth, question: str, text: str) -> list[Sentence]:
    told = [part.strip() for part in split(text.strip())]
    return [
        Sentence(text=part, true=bool(judge_answers.judge(truth, question, part) == [True]), mark="") for part in told
    ]


def _changes(before: Sequence[Sentence], after: Sequence[Sentence]) -> list[Sentence]:
    """What is said afterwards in order, new sentences marked, and those that are gone where they were."""
    before_texts, after_texts = ([sentence["text"] for sentence in side] for side in (before, after))
    changed: list[Sentence] = []
    for kind, a, b, c, d in SequenceMatcher(None, before_texts, after_texts, autojunk=False).get_opcodes():
        if kind == "equal":
            changed += after[c:d]
        else:
            changed += [{**sentence, "mark": "gone"} for sentence in before[a:b]]
            changed += [{**sentence, "mark": "new"} for sentence in after[c:d]]
    return changed
