"""`Survey` → one HTML file of bounded size: samples are added until the page is full."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from imageref_ray import sources
from imageref_ray.commands import pages
from imageref_ray.commands.inspection.pictures import Pictures
from imageref_ray.commands.inspection.run_state import group_by_error
from imageref_ray.commands.pages import figures
from imageref_ray.commands.preview.survey import Shown, Survey
from imageref_ray.core.config import BuildConfig, SourceConfig
from imageref_ray.core.records import MARKER, Document, Failure, Image
from imageref_ray.dataset.cards.card import shorten
from imageref_ray.sources import folder

MAX_BYTES = 20_000_000
"""Size limit of the whole page: a phone's browser can still open it."""

PICTURE_BYTES, FRAME_BYTES = 12_000_000, 2_000_000
"""Bytes of it for the pictures, and for everything but pictures and samples."""

MOST_FURNITURE = 300
"""Pictures of furniture that are shown; left-out.jsonl has all."""

FOLDER = Path(__file__).parent

View = dict[str, Any]
"""Plain values for a template."""


def write_page(survey: Survey, config: BuildConfig, source: Mapping[str, Any], out: Path) -> int:
    """Write the page; `source` are the settings that read the `samples` file. Returns its bytes."""
    shown = sum(len(one.record.sample.images) for one in survey.shown)
    furniture = [failure for failure in survey.failures if failure.error == "Furniture"]
    pictures = Pictures(shown + min(len(furniture), MOST_FURNITURE), PICTURE_BYTES)
    views = [_furniture(failure, config.source.root, pictures) for failure in furniture[:MOST_FURNITURE]]
    cards = _cards(survey, config.source, pictures)
    ignored = [failure for failure in survey.failures if failure.error == "IgnoredFiles"]
    listed = [one for one in survey.failures if one.error not in ("Furniture", "IgnoredFiles")]
    limit = config.source.sections.max_tokens if config.source.kind == "folder" else None
    html = pages.render(
        FOLDER / "preview.html",
        script=pages.BROWSE.read_text(encoding="utf-8"),
        root=str(config.source.root),
        survey=survey,
        groups=group_by_error(listed, 0),
        furniture=views,
        more_furniture=len(furniture) - len(views),
        ignored=ignored,
        cards=cards,
        megabytes=MAX_BYTES // 1_000_000,
        max_tokens=limit,
        max_images=config.max_images,
        token_chart=Markup(figures.histogram(survey.tokens, "estimated tokens", limit=limit)),
        picture_chart=Markup(figures.histogram(survey.pictures, "pictures", limit=config.max_images)),
        source=yaml.safe_dump({"source": dict(source)}, sort_keys=False, allow_unicode=True),
        pictures=pictures.css(),
        shorten=shorten,
    )
    return pages.write(out, html)


def _furniture(failure: Failure, root: Path, pictures: Pictures) -> View:
    """A picture that belongs to the frame of the pages; one on the web is not fetched."""
    known = re.match(r"https?:", failure.item)
    css, problem = ("", "on the web") if known else pictures.find(Image(failure.item, str(root / failure.item)), root)
    return {"name": failure.item, "picture": css, "problem": problem, "message": failure.message}


def _cards(survey: Survey, source: SourceConfig, pictures: Pictures) -> list[Markup]:
    """The chosen samples as HTML, as many as fit."""
    template = pages.environment(FOLDER).get_template("preview_card.html")
    files = _files(source)
    left = MAX_BYTES - PICTURE_BYTES - FRAME_BYTES
    cards: list[Markup] = []
    for number, shown in enumerate(survey.shown, 1):
        html = template.render(card=_card(shown, source.root, files, pictures), number=number)
        size = len(html.encode("utf-8", "replace"))
        if size <= left:
            left -= size
            cards.append(Markup(html))
    return cards


def _card(shown: Shown, root: Path, files: Mapping[str, Path], pictures: Pictures) -> View:
    sample = shown.record.sample
    return {
        "id": sample.id,
        "title": shorten(sample.instruction, 500) or sample.id,
        "response": shorten(shown.record.response),
        "failures": shown.failures,
        "documents": [
            {
                "id": document.id,
                "title": shorten(document.title, 500),
                "url": document.url,
                "lines": list(_lines(document, checked, shown.failures, root, pictures)),
                "left_out": _left_out(document.id, files),
            }
            for document, checked in zip(sample.documents, shown.checked.sample.documents, strict=True)
        ],
        "images": len(shown.checked.sample.images),
        "words": any(image.words for image in sample.images),
    }


def _lines(
    document: Document, checked: Document, failures: tuple[Failure, ...], root: Path, pictures: Pictures
) -> Iterator[View]:
    """The text line by line, each with its pictures where they stand."""
    usable = {image.index: image for image in checked.images}
    given = {image.index: image for image in document.images}
    reasons = {failure.item: failure.message for failure in failures}
    for line in shorten(document.text, 100_000).split("\n"):
        found = [given[k] for k in map(int, MARKER.findall(line)) if k in given]
        views = []
        for image in found:
            css, problem = pictures.find(usable[image.index], root) if image.index in usable else ("", "")
            problem = reasons.get(image.id, problem)
            name = f"[Image {image.index}] {image.uri}"
            views.append({"name": name, "picture": css, "problem": problem, "words": image.words})
        text = line.lstrip("#") if re.match(r"#{1,6} ", line) else line
        yield {"heading": text != line, "text": text, "images": views}


def _left_out(document: str, files: Mapping[str, Path]) -> list[tuple[str, str]]:
    """The texts of a document's page that were left out, each with the reason; a section has its page's."""
    path = files.get(document) or files.get(document.rpartition("-")[0])
    if path is None:
        return []
    from imageref_ray.sources.pages.html_page import left_out_of

    return [(reason, shorten(text, 2_000)) for reason, text in left_out_of(path.read_bytes())]


def _files(source: SourceConfig) -> dict[str, Path]:
    """Document id → the HTML file that it is made of."""
    if source.kind != "folder":
        return {}
    html = (path for path in sources.files(source) if path.suffix.lower() in folder.HTML)
    return {folder.make_id(path.relative_to(source.root)): path for path in html}
