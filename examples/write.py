"""Writes the documents of the examples: events of the small world that the checkpoint in the package knows.

python examples/write.py

They are committed, so this need not be run again.
"""

import json
import tempfile
from pathlib import Path

from imageref_ray.picturenews import corpus
from imageref_ray.picturenews.events import Event, make_event, response

HERE = Path(__file__).parent
SEED = 77
"""Of no other corpus: the checkpoint has not seen these events."""


def main() -> None:
    pages = HERE / "markdown-pages" / "pages"
    write_page(pages, pages / "harvest-feast.md", make_event(SEED, 0))
    write_page(pages, pages / "spring-fair.md", make_event(SEED, 1))
    write_page(pages, pages / "velmora" / "open-day.md", make_event(SEED, 2))
    samples = HERE / "samples" / "samples"
    market, evening = make_event(SEED, 4), make_event(SEED, 3)
    rows = [
        {"id": "thornby", "instruction": f"What did {market.facets[0].person} do?", **documents(samples, market)},
        {"id": "ardenfeld", "instruction": evening.title, "response": response(evening), **documents(samples, evening)},
    ]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (samples / "markets.jsonl").write_text("".join(lines), encoding="utf-8")


def write_page(root: Path, file: Path, event: Event) -> None:
    """The event's articles as one Markdown page, its pictures in `images` of `root`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * (len(file.relative_to(root).parts) - 1)
    parts = [f"# {event.title}"]
    for article, names in zip(event.articles, pictures(root, event), strict=True):
        text = article.text
        for k, name in enumerate(names):
            text = text.replace(f"[Image {k}]", f"![]({up}{name})")
        parts += text.split("\n")
    file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def documents(root: Path, event: Event) -> dict[str, list[dict[str, object]]]:
    """The event's articles as the documents of a sample."""
    told = zip(event.articles, pictures(root, event), strict=True)
    return {
        "documents": [
            {"id": f"report-{number}", "title": article.title, "text": article.text, "images": names}
            for number, (article, names) in enumerate(told, 1)
        ]
    }


def pictures(root: Path, event: Event) -> list[list[str]]:
    """Copies the event's pictures; the paths of each article's."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    names = []
    with tempfile.TemporaryDirectory() as folder:
        corpus.write_images(Path(folder), [event])
        for article in event.articles:
            names.append([f"images/{shot.id.replace('/', '-')}" for shot in article.shots])
            for shot, name in zip(article.shots, names[-1], strict=True):
                (root / name).write_bytes((Path(folder) / "image" / shot.id).read_bytes())
    return names


if __name__ == "__main__":
    main()
