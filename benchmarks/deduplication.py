"""What shared documents cost: the captions of a corpus, and of one in which five samples share every document.

    python benchmarks/deduplication.py [--events 24] [--samples 5] [--out results.json]

Two builds of the embedded corpus, with every event once and with every event under `--samples` ids. Captions are
written by real vLLM, whose own count of requests and tokens is compared; the other stages are scripted, since only
descriptions and captions can be shared (a response and its placement belong to their sample).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from setting import ARGS, ENV, MODEL, tell

from imageref_ray.batch import store
from imageref_ray.commands.annotation.passes import passes
from imageref_ray.commands.build import build
from imageref_ray.core import markdown
from imageref_ray.core.config import BuildConfig, check
from imageref_ray.core.records import to_row
from imageref_ray.engines.base import Request
from imageref_ray.picturenews import corpus
from imageref_ray.stages import prompts

VLLM: dict[str, Any] = {"kind": "vllm", "model": MODEL, "args": ARGS, "env": ENV}
RESPONSE = "# The news\nWhat happened, in short.\n### More of it\nWhat else happened."


def told(request: Request) -> str:
    """A response, or a placement of nothing."""
    asked = str(request.messages[-1].parts[-1])
    if asked.endswith("Write the response."):
        return RESPONSE
    return prompts.predictions([None] * len(markdown.slots(RESPONSE, "before")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=24)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = corpus.write(folder / "news", options.events, corpus.SEEDS["train"])
        one = captions(folder, "one")
        share(folder / "news" / "events.jsonl", options.samples)
        shared = captions(folder, "shared")
    ratios = {key: round(shared[key] / one[key], 4) for key in ("requests", "prompt_tokens", "generated_tokens")}
    result = {"documents": counts["articles"], "images": counts["images"], "samples_a_document": options.samples}
    result |= {"ratios": ratios, "one": one, "shared": shared}
    tell(result, options.out)


def share(events: Path, samples: int) -> None:
    """Every event so many times, each under its own id."""
    rows = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    copies = [{**row, "paasEventID": f"{n}{row['paasEventID']}"} for n in range(1, samples + 1) for row in rows]
    events.write_text("".join(json.dumps(row) + "\n" for row in copies), encoding="utf-8")


def captions(folder: Path, name: str) -> dict[str, Any]:
    """One build; what its captions cost."""
    values = {
        "source": {"root": folder / "news"},
        "output": folder / name,
        "prompts": "compact",
        "engine": {"kind": "scripted", "model": "none", "script": "deduplication:told"},
        "caption": {"engine": VLLM},
    }
    config = check(BuildConfig, values, "deduplication")
    summary = build(config)
    (place,) = (directory for directory, _, stages in passes(config) if stages == ("caption",))
    return {"samples": summary["records"], **to_row(store.spent(place))}


if __name__ == "__main__":
    main()
