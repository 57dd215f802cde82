"""What the demo's report shows: test events with both models' answers, and corrected instructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from imageref_ray.commands.demo.report import ShownCorrection, ShownEvent, ShownImage, ShownSentence
from imageref_ray.core.config import DemoConfig
from imageref_ray.core.records import Instruction
from imageref_ray.core.sentences import split
from imageref_ray.dataset import paper_formats
from imageref_ray.dataset.paper_formats import Placed
from imageref_ray.evaluation.score import parse_insertion
from imageref_ray.picturenews import judge_answers
from imageref_ray.picturenews.events import Event, caption, response
from imageref_ray.picturenews.scene_facts import Picture


def events(config: DemoConfig, chosen: Iterable[Event]) -> list[ShownEvent]:
    """Test events with their images, labels, and both models' answers."""
    test = config.output / "corpus" / "test"
    labels = paper_formats.read_labels(test / "label.csv")
    runs = {name: config.output / "evaluate" / name for name in ("base", "tuned")}
    placements = {name: _read_placements(run / "guided.insertion.jsonl") for name, run in runs.items()}
    free = paper_formats.read_answers(runs["tuned"] / "free.jsonl")
    return [
        {
            "id": event.id,
            "question": event.title,
            "images": _images(event, test),
            "text": response(event),
            "relevance": labels[event.id],
            "base": placements["base"].get(event.id, {}),
            "tuned": placements["tuned"].get(event.id, {}),
            "policy": "before",
            "free": free.get(event.id, ""),
        }
        for event in chosen
    ]


def _images(event: Event, root: Path) -> list[ShownImage]:
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


def _read_placements(path: Path) -> dict[str, Placed]:
    return {id: parse_insertion(insertion) or {} for id, insertion in paper_formats.read_insertions(path).items()}


def corrections(
    runs: Mapping[str, Sequence[Instruction]], pictures: Mapping[str, Picture], limit: int
) -> list[ShownCorrection]:
    """At most `limit` instructions with the same draft in all runs, and each run's correction; changed ones first.

    `runs`: mode of correction → its instructions. `pictures`: image id → what was drawn.
    """
    by_draft: dict[tuple[str, str, str], dict[str, Instruction]] = {}
    for mode, items in runs.items():
        for item in items:
            by_draft.setdefault((item.id, item.question, item.draft), {})[mode] = item
    in_all_runs = (by_mode for by_mode in by_draft.values() if len(by_mode) == len(runs))
    shown = [correction for by_mode in in_all_runs if (correction := _correction(by_mode, pictures))]
    return sorted(shown, key=lambda correction: not _is_changed(correction))[:limit]


def _is_changed(correction: ShownCorrection) -> bool:
    return any(sentence["mark"] for sentences in correction["versions"].values() for sentence in sentences)


def _correction(by_mode: Mapping[str, Instruction], pictures: Mapping[str, Picture]) -> ShownCorrection | None:
    """None for an unusable instruction, and for a question to which the corpus does not know the answer."""
    first = next(iter(by_mode.values()))
    picture = pictures[first.image.id]
    if first.problem or judge_answers.judge(picture, first.question, first.draft) is None:
        return None
    draft = _judge_sentences(picture, first.question, first.draft)
    versions = {
        mode: _mark_changes(draft, _judge_sentences(picture, item.question, item.corrected))
        for mode, item in by_mode.items()
    }
    return ShownCorrection(path=first.image.uri, question=first.question, draft=draft, versions=versions)


def _judge_sentences(picture: Picture, question: str, text: str) -> list[ShownSentence]:
    sentences = [part.strip() for part in split(text.strip())]
    return [
        ShownSentence(text=sentence, true=judge_answers.judge(picture, question, sentence) == [True], mark="")
        for sentence in sentences
    ]


def _mark_changes(before: Sequence[ShownSentence], after: Sequence[ShownSentence]) -> list[ShownSentence]:
    """The sentences of `after`, new ones marked, and the removed ones of `before` where they were."""
    before_texts, after_texts = ([sentence["text"] for sentence in side] for side in (before, after))
    marked: list[ShownSentence] = []
    for kind, a, b, c, d in SequenceMatcher(None, before_texts, after_texts, autojunk=False).get_opcodes():
        if kind == "equal":
            marked += after[c:d]
        else:
            marked += [{**sentence, "mark": "removed"} for sentence in before[a:b]]
            marked += [{**sentence, "mark": "new"} for sentence in after[c:d]]
    return marked
