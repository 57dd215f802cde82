"""Two real manuals through reading, `imageref preview` and `imageref build` with a scripted annotator.

    python benchmarks/manuals.py FOLDER [--skip-build] [--out results.json]        (`make real`: FOLDER is runs/real)

FOLDER gets the Debian packages `gimp-help-en` and `debian-handbook`, downloaded by `apt-get download` where they are
not there yet and unpacked by `dpkg -x`. Measured per manual: the share of the text's words that is kept, outside title,
navigation and contents, counted by their characters; the pictures kept, left out (with the reasons) and neither; the
samples read, previewed and built.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from selectolax.lexbor import LexborHTMLParser
from setting import tell

from imageref_ray import sources
from imageref_ray.commands.build import build
from imageref_ray.commands.preview import preview
from imageref_ray.core import markdown
from imageref_ray.core.config import BuildConfig, ScriptedConfig, SourceConfig
from imageref_ray.core.records import MARKER, Failure, Record
from imageref_ray.engines.base import Request
from imageref_ray.sources.pages import page_formats
from imageref_ray.stages import prompts

MANUALS = {
    "gimp-help-en": "usr/share/gimp/2.0/help/en",
    "debian-handbook": "usr/share/doc/debian-handbook/html/en-US",
}
"""Debian package → the folder of its pages."""

FRAME = "title, .navheader, .navfooter, .docnav, .toc, #chrometwo, script, style"
"""The manuals' title, navigation and contents."""

RESPONSE = "# The manual\nIn short.\n### What it is\nA page of it.\n### How it is used\nStep by step."


def annotator(request: Request) -> str:
    """A response, the same caption for every picture, and the first pictures at the first slots."""
    asked = "".join(part for part in request.messages[-1].parts if isinstance(part, str))
    if asked.endswith("Write the response."):
        return RESPONSE
    if asked.endswith("Place the pictures."):
        captions = sum(line.startswith("IMAGE_") for line in asked.splitlines())
        slots = len(markdown.slots(RESPONSE, "before"))
        return prompts.predictions([k if k <= captions else None for k in range(1, slots + 1)])
    return "A part of the manual."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--skip-build", action="store_true", help="read and preview only")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.folder is None:
        print("no folder for the manuals was given: nothing to measure")
        return
    tell({name: measure(options.folder, name, not options.skip_build) for name in MANUALS}, options.out)


def measure(folder: Path, name: str, with_build: bool) -> dict[str, Any]:
    """Everything about one manual."""
    root = unpacked(folder, name) / MANUALS[name]
    items = list(sources.read(SourceConfig(kind="folder", root=root)))
    config = BuildConfig(
        source=SourceConfig(kind="folder", root=root),
        prompts="compact",
        engine=ScriptedConfig(kind="scripted", model="none", script="manuals:annotator"),
        output=folder / "runs" / name,
    )
    preview(config, 200, 0)
    result: dict[str, Any] = {"text": text_kept(root), "pictures": pictures(root, items)}
    result["samples"] = sum(isinstance(item, Record) for item in items)
    with (config.output / "preview" / "samples.jsonl").open(encoding="utf-8") as previewed:
        result["previewed"] = sum(1 for _ in previewed)
    if with_build:
        summary = build(config)
        result["built"] = {key: summary[key] for key in ("records", "quarantined", "problems")}
    return result


def unpacked(folder: Path, name: str) -> Path:
    """The package's files, downloaded and unpacked once."""
    target = folder / name
    if not (target / MANUALS[name]).is_dir():
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", name], cwd=target, check=True)
        (package,) = target.glob("*.deb")
        subprocess.run(["dpkg", "-x", package.name, "."], cwd=target, check=True)
    return target


def text_kept(root: Path) -> dict[str, Any]:
    """How many pages there are, and the share of their words that is in their texts, by characters."""
    there = kept = pages = 0
    for path in sorted(root.glob("*.html")):
        tree = LexborHTMLParser(path.read_bytes())
        for node in tree.css(FRAME):
            node.decompose()
        page = page_formats.read_page(path)
        wanted = words(tree.body.text(separator=" ") if tree.body else "")
        found = words(f"{page.title} {MARKER.sub(' ', page.text)}")
        there += characters(wanted)
        kept += characters(wanted & found)
        pages += 1
    return {"pages": pages, "kept": round(kept / there, 4)}


def pictures(root: Path, items: list[Record | Failure]) -> dict[str, Any]:
    """How many different picture files of the pages are kept and left out; `lost` are in neither list."""
    kept = [image.uri for item in items if isinstance(item, Record) for image in item.sample.images]
    rows = [item for item in items if isinstance(item, Failure) and item.error == "Furniture"]
    left_out = {str(root / row.item) for row in rows}
    named = {
        str(root / address)
        for path in root.glob("*.html")
        for image in LexborHTMLParser(path.read_bytes()).css("img[src]")
        if (address := image.attributes["src"])
    }
    reasons = Counter(re.sub(r"\d+", "N", row.message.partition(": ")[2]) for row in rows)
    return {
        "kept": len(set(kept)),
        "places": len(kept),
        "left_out": dict(reasons),
        "lost": sorted(named - set(kept) - left_out),
    }


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def characters(found: Counter[str]) -> int:
    return sum(len(word) * number for word, number in found.items())


if __name__ == "__main__":
    main()
