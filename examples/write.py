"""Writes the documents of the examples: events of the small world that the checkpoint in the package knows.

python examples/write.py

They are committed, so this need not be run again.
"""

import json
from pathlib import Path
from typing import Any

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
    corpus.write_images(samples, [market, evening])
    rows: list[dict[str, Any]] = [
        {"id": "thornby", "instruction": f"What did {market.facets[0].person} do?"},
        {"id": "ardenfeld", "instruction": evening.title, "response": response(evening)},
    ]
    for row, event in zip(rows, (market, evening), strict=True):
        row["documents"] = [corpus.sent(article) for article in event.articles]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (samples / "markets.jsonl").write_text("".join(lines), encoding="utf-8")


def write_page(root: Path, file: Path, event: Event) -> None:
    """The event's articles as one Markdown page, its pictures in `image` of `root`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_images(root, [event])
    up = "../" * (len(file.relative_to(root).parts) - 1)
    parts = [f"# {event.title}"]
    for article in event.articles:
        text = article.text
        for k, shot in enumerate(article.shots):
            text = text.replace(f"[Image {k}]", f"![]({up}image/{shot.id})")
        parts += text.split("\n")
    file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
