"""Labels beside the texts they are of: what does not belong together is told before anything is measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import Relevance, write_jsonl, write_labels
from imageref_ray.evaluation.labelled_set import LabelledSet, read_labelled_set

TEXT = "# Fair\nMuch to see.\nAnd to hear.\nIMAGE_1\n### Boats\nTwo boats came."  # 2 slots before, 3 after


def read(folder: Path, labels: dict[str, Relevance], policy: markdown.Policy, ids: str = "123") -> LabelledSet:
    write_labels(folder / "label.csv", labels)
    turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": TEXT}]
    write_jsonl(folder / "data.jsonl", ({"id": id, "image": ["5/0.jpg"], "conversations": turns} for id in ids))
    return read_labelled_set(folder / "label.csv", folder / "data.jsonl", folder, policy)


@pytest.mark.parametrize(
    ("last", "policy", "warning"),
    [
        ((2, 2, 2), "before", ""),
        ((3, 3, 2), "after", ""),
        (
            (3, 2, 2),
            "before",
            "1 of 3 events have labels at positions .* <Position 3>, but 2 slots.*; label_slots: after fits all",
        ),
        ((4, 3, 3), "before", "3 of 3 events .*; label_slots: after fits 2 events, more than these; check both"),
        ((4, 4, 4), "after", "3 of 3 events .*; label_slots: before fits no better; give the texts that were labelled"),
    ],
)
def test_labels_beyond_the_text_are_told_with_the_policy_that_fits(
    last: tuple[int, ...], policy: markdown.Policy, warning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels: dict[str, Relevance] = {
        str(n): {slot: {"5/0.jpg": 3} for slot in range(1, most + 1)} for n, most in enumerate(last, 1)
    }
    labelled = read(tmp_path, labels, policy)
    assert bool(labelled.beyond_text()) == bool(caplog.messages) == bool(warning)
    assert all(re.search(warning, message) for message in caplog.messages)


def test_labels_of_other_ids_or_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the labels of this test set"):
        read(tmp_path, {"9": {1: {"5/0.jpg": 3}}}, "before")
    with pytest.raises(
        ConfigError, match=r"in 1 of 1 events .* knows none of the images .* it knows 7/0\.jpg, not 5/0"
    ):
        read(tmp_path, {"1": {1: {"7/0.jpg": 3}}}, "before")
    assert list(read(tmp_path, {"3": {1: {}}, "1": {}}, "before").questions) == ["1", "3"]
