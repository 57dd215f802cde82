"""The benchmark of main content counts as scrapinghub's does."""

import gzip
import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def extraction(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("extraction")


def test_precision_and_recall_are_means_over_pages_of_shared_runs_of_four_words(extraction: ModuleType) -> None:
    pairs = [
        ("a b c d e", "a b c d e"),
        ("a b c d e f", "a b c d"),
        ("one two", "one two"),
        ("", "a b c d"),
        ("x y z w", ""),
    ]
    found = extraction.score(pairs)
    assert found["precision"] == pytest.approx((1 + 1 + 1 + 0) / 4)
    assert found["recall"] == pytest.approx((1 + 1 / 3 + 1 + 0) / 4)
    assert found["f1"] == pytest.approx(2 * 0.75 * (7 / 12) / (0.75 + 7 / 12))
    assert extraction.score([("a b c d a b c d", "a b c d")])["recall"] == pytest.approx(1 / 5)


def test_a_folder_is_measured(extraction: ModuleType, tmp_path: Path) -> None:
    text = "The boats came home to the harbour in the evening, all of them but one."
    (tmp_path / "html").mkdir()
    (tmp_path / "html/one.html.gz").write_bytes(gzip.compress(f"<body><p>{text}</p><img src=a.png></body>".encode()))
    (tmp_path / "html/two.html").write_text(f"<body><nav>Home</nav><p>{text}</p></body>")
    (tmp_path / "ground-truth.json").write_text(
        json.dumps({"one": {"articleBody": text}, "two": {"articleBody": text}})
    )
    found = extraction.measure(tmp_path)
    assert (found["pages"], found["f1"], found["precision"], found["recall"]) == (2, 1, 1, 1)
    assert found["pictures_a_page"] == 0.5 and found["processor_ms_a_page"]["median"] > 0
