"""How well the main content of pages is found, on a folder in the format of scrapinghub's article-extraction benchmark.

    python benchmarks/extraction.py FOLDER [--out results.json]

FOLDER holds `ground-truth.json` (page id → `{"articleBody": text}`) and `html/<page id>.html.gz` (or `.html`).
Precision, recall and F1 are that benchmark's own: the words of a text in runs of four, as a multiset; precision is the
mean over pages of the share of our runs that the true text has, recall of the share of its runs that ours has; F1 is
made of these two means. Beside them: milliseconds of processor time and pictures a page.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from setting import tell

from imageref_ray.core.records import MARKER
from imageref_ray.sources.pages import html_page

RUN = 4
"""Words in a run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.folder is None:
        print("no folder of pages was given: nothing to measure")
        return
    tell(measure(options.folder), options.out)


def measure(folder: Path) -> dict[str, Any]:
    """Precision, recall and F1 (0..1) over the pages of a folder, with the time and the pictures of a page."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    pairs: list[tuple[str, str]] = []
    milliseconds: list[float] = []
    pictures = 0
    for name, page in truth.items():
        data = _read(folder / "html" / name)
        begin = time.process_time()
        found = html_page.parse_html(data)
        milliseconds.append((time.process_time() - begin) * 1000)
        pairs.append((page.get("articleBody") or "", MARKER.sub(" ", found.text)))
        pictures += len(found.images)
    return {
        "pages": len(pairs),
        **{key: round(value, 4) for key, value in score(pairs).items()},
        "pictures_a_page": round(pictures / len(pairs), 2),
        "processor_ms_a_page": {
            "median": round(statistics.median(milliseconds), 1),
            "mean": round(statistics.mean(milliseconds), 1),
            "largest": round(max(milliseconds), 1),
        },
    }


def score(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Precision, recall and F1 of (true, found) texts; a page without words counts in neither mean that it cannot bear
    on."""
    precisions, recalls = [], []
    for true, found in pairs:
        wanted, given = runs(true), runs(found)
        common = (wanted & given).total()
        if given:
            precisions.append(common / given.total())
        if wanted:
            recalls.append(common / wanted.total())
    precision, recall = (statistics.mean(values or [0.0]) for values in (precisions, recalls))
    return {"f1": 2 * precision * recall / (precision + recall or 1), "precision": precision, "recall": recall}


def runs(text: str) -> Counter[tuple[str, ...]]:
    """The runs of four words of a text with their numbers; a shorter text is one run."""
    words = re.findall(r"\w+", text)
    found = Counter(tuple(words[start : start + RUN]) for start in range(max(1, len(words) - RUN + 1)))
    return Counter() if not words else found


def _read(stem: Path) -> bytes:
    packed = stem.with_name(stem.name + ".html.gz")
    return gzip.decompress(packed.read_bytes()) if packed.exists() else stem.with_name(stem.name + ".html").read_bytes()


if __name__ == "__main__":
    main()
