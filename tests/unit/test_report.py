"""The report: every number and image in one page, nothing from outside, nothing unescaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from imageref_ray.commands.demo.report import render, write_report
from imageref_ray.commands.pages import figures
from imageref_ray.evaluation.compare_runs import Comparison, Pair, System
from imageref_ray.evaluation.comparison import Difference
from imageref_ray.evaluation.placement_metrics import summarise

TEXT = "# A fair\nMuch to see.\n### Boats\nTwo <boats> came.\n### Charts\nSongs were counted."
RELEVANCE = {1: {}, 2: {"5/0.jpg": 3}, 3: {"5/1.jpg": 3}}


DIFFERENCES = (
    Difference("f1", 48, 0.1, 0.85, 0.75, (0.6, 0.9), 0.0001, 0.2, p_holm=0.0002),
    Difference("precision", 48, None, 0.9),
)
COMPARISON = Comparison(
    "guided",
    tuple(System(name, Path(name), {}, {}, 48, 0) for name in ("base", "tuned")),
    (Pair("base", "tuned", DIFFERENCES),),
)


def sentence(text, true, mark=""):
    return {"text": text, "true": true, "mark": mark}


@pytest.fixture
def data(tmp_path):
    Image.new("RGB", (800, 400), "teal").save(tmp_path / "0.png")
    (tmp_path / "1.jpg").write_text("no image")
    images = [
        {"id": f"5/{k}.jpg", "number": k + 1, "path": str(tmp_path / name), "caption": f"cap {k}", "document": "Post"}
        for k, name in enumerate(("0.png", "1.jpg"))
    ]
    draft = {"units": 20, "false": 5, "share": 0.25}
    corrected = {"units": 20, "false": 2, "share": 0.1, "difference": -0.15, "interval": [-0.25, -0.05]}
    measured = {"judged": 8, "cached_share": 0.31, "draft": draft, "one pass": corrected, "corrected": corrected}
    answers = {"base": {2: "5/1.jpg"}, "tuned": {2: "5/0.jpg"}}
    event = {"id": "1", "question": "<script>alert(1)</script>", "images": images, "text": TEXT}
    return {
        "title": "A run",
        "lead": "What was done.",
        "corpus": {"training_events": 1920, "seed": "7"},
        "build": {
            "records": 10, "quarantined": 1, "requests": 50, "prompt_tokens": 12345, "image_tokens": 9,
            "cached_tokens": 8, "generated_tokens": 7, "seconds": 60,
            "agreement": {"precision": 0.9, "recall": 0.8, "captions": 0.7},
        },
        "train": {"steps": 30, "first_loss": 2.5, "last_loss": 0.25, "seconds": 75},
        "evaluate": {who: summarise({"1": RELEVANCE}, {"1": placed}) for who, placed in answers.items()},
        "comparisons": [COMPARISON],
        "instruct": {"after": measured},
        "corrections": [
            {
                "path": str(tmp_path / "0.png"),
                "question": "What is <shown>?",
                "draft": [sentence("Two boats.", True), sentence("A dog.", False)],
                "versions": {
                    "after": [
                        sentence("Two boats.", True),
                        sentence("A dog.", False, "removed"),
                        sentence("A cat.", True, "new"),
                    ]
                },
            }
        ],
        "loss": [(1, 2.5), (15, 1.0), (30, 0.25)],
        "stages": [("build", 60), ("train", 75)],
        "seconds": 135,
        "events": [{**event, "relevance": RELEVANCE, **answers, "free": "# A fair\nIMAGE_1\nIMAGE_7"}],
    }  # fmt: skip


def test_documents_and_models_cannot_put_markup_into_the_page(data):
    page = render(data)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Two &lt;boats&gt; came." in page


def test_the_page_needs_nothing_from_outside(data):
    sources = re.findall(r"""(?:src|href)="([^"]{0,11})""", render(data))
    assert sources
    assert set(sources) == {"data:image/"}


def test_right_wrong_and_missed_are_said_in_words(data):
    page = " ".join(re.sub(r"<[^>]*>", " ", render(data).split("Answers, side by side")[1]).split())
    tuned, base = page.split("Base", 1)
    assert "✓ 1 right" in tuned and "○ 1 missed" in tuned
    assert "✓ Right IMAGE_1" in tuned and "○ Missed expected: IMAGE_2" in tuned
    assert "✕ Wrong IMAGE_2 expected: IMAGE_1" in base


def test_the_difference_is_shown_with_its_significance(data):
    text = " ".join(re.sub(r"<[^>]*>", " ", render(data)).split())
    assert "guided, base 0.000" in text and "guided, fine-tuned 0.667" in text
    assert "difference +0.750 p &lt; 0.001 – p –" in text
    assert "guided: tuned is better than base: F1 +0.750 (+0.600 to +0.900), p &lt; 0.001." in text


def test_what_correction_changed_is_said_and_marked(data):
    page = render(data).split("drafted and corrected")[1]
    assert "What is &lt;shown&gt;?" in page
    assert "<del>A dog.</del>" in page and "<ins>A cat.</ins>" in page
    assert page.count('aria-label="false"') == 2  # in the draft, and where it is removed
    assert "25.0 %" in page and "-15.0 points" in page and "-25.0 to -5.0" in page and "31 %" in page


def test_an_image_that_does_not_open_leaves_a_note(data):
    assert "image could not be opened" in render(data)


def test_the_page_is_well_formed_and_lands_where_it_was_asked(data, tmp_path):
    write_report(tmp_path / "new" / "report.html", data)
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            open_tags.extend([] if tag in {"meta", "img", "br"} else [tag])

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

        def handle_startendtag(self, tag, attrs):
            pass

    Checker().feed((tmp_path / "new" / "report.html").read_text(encoding="utf-8"))
    assert open_tags == []


def test_figures_carry_their_numbers_as_text(data):
    bars = figures.metric_bars(data["evaluate"]["base"], data["evaluate"]["tuned"])
    assert "Precision 0.00 before, 1.00 after" in bars
    assert "Training loss from 2.50 to 0.25" in figures.loss_curve(data["loss"])
    assert "build 1 min 00 s, train 1 min 15 s" in figures.time_bar(data["stages"])


def test_a_curve_needs_two_points():
    assert figures.loss_curve([(1, 2.0)]) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7625, "2 h 07 min")],
)
def test_durations_read_like_a_clock(seconds, words):
    assert figures.duration(seconds) == words
