"""No document in two splits, and no event that moves because another came."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.config import ConfigError, SplitConfig, check
from imageref_ray.dataset.export.split import SPLITS, assign, names

THIRDS = SplitConfig(train=0.4, validation=0.3, test=0.3, seed=3)

events = st.dictionaries(
    st.integers(0, 200).map(str), st.lists(st.integers(0, 60).map(lambda n: f"d{n}"), max_size=3), max_size=40
)


def alone(count: int) -> list[tuple[str, list[str]]]:
    return [(str(n), [f"own {n}"]) for n in range(count)]


@given(events)
def test_no_document_is_in_two_splits_even_through_others(found: dict[str, list[str]]) -> None:
    placed = assign(found.items(), THIRDS)
    assert placed.keys() == found.keys()
    where: dict[str, set[str]] = {}
    for event, documents in found.items():
        for document in documents:
            where.setdefault(document, set()).add(placed[event])
    assert all(len(splits) == 1 for splits in where.values())


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_the_file_decides_nothing(found: dict[str, list[str]], random: object) -> None:
    shuffled = list(found.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign(shuffled, THIRDS) == assign(found.items(), THIRDS)


def test_added_events_move_no_other_unless_they_join_its_documents() -> None:
    before = assign(alone(300), THIRDS)
    after = assign([*alone(600), ("joins", ["own 5", "own 6"])], THIRDS)
    moved = {event for event in before if before[event] != after[event]}
    assert moved <= {"5", "6"}
    assert after["5"] == after["6"] == after["joins"]
    assert after["joins"] in {before["5"], before["6"], after["joins"]}


def test_shares_hold_for_single_events_and_for_groups_of_many() -> None:
    config = SplitConfig(train=0.8, validation=0.1, test=0.1)
    single = Counter(assign(alone(4000), config).values())
    assert single["train"] == pytest.approx(3200, abs=120)
    assert single["test"] == pytest.approx(400, abs=90)
    grouped = Counter(assign([(f"{n}", [f"shared {n // 8}"]) for n in range(8000)], config).values())
    assert grouped["train"] == pytest.approx(6400, abs=400)


def test_another_seed_is_another_split_and_the_same_seed_the_same() -> None:
    assert assign(alone(50), THIRDS) == assign(alone(50), THIRDS)
    assert assign(alone(50), THIRDS) != assign(alone(50), THIRDS.model_copy(update={"seed": 4}))


def test_a_split_without_a_share_gets_nothing_and_no_file() -> None:
    config = SplitConfig(train=0.9, test=0.1)
    assert names(config) == ("train", "test")
    assert set(assign(alone(200), config).values()) == {"train", "test"}
    assert names(None) == ("",)
    assert set(SPLITS) > set(names(config))


def test_shares_must_add_up_to_one() -> None:
    with pytest.raises(ConfigError, match=r"add up to 0\.95; they must add up to 1"):
        check(SplitConfig, {"train": 0.9, "test": 0.05}, "test")
