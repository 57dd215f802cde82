"""How near the build comes to the engine's own speed: the build pass against `LLM.generate` over the same requests.

    python benchmarks/efficiency.py [--events 768] [--pairs 5] [--out results.json]

Pair by pair, on one machine: a build of the embedded corpus, whose requests are noted, and then the same requests
given to vLLM's `LLM.generate` all at once in one process. Both are timed from the first request to the last reply, the
opening of pictures among it, so that starting up is left out. The ratio is of generated tokens a second.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from setting import ARGS, ENV, MODEL, tell

from imageref_ray.commands.build import build
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import BuildConfig, VllmConfig, check
from imageref_ray.engines import make
from imageref_ray.engines.base import Reply, Request
from imageref_ray.picturenews import corpus

NOTES = "EFFICIENCY_NOTES"
_engine: Any = None
_notes = 0


async def noted(request: Request) -> Reply:
    """vLLM's answer; when it came and what was asked are written down."""
    global _engine, _notes
    if _engine is None:
        _notes = os.open(Path(os.environ[NOTES], str(os.getpid())), os.O_WRONLY | os.O_CREAT)
        _engine = make(VllmConfig(model=MODEL, args=ARGS))
        await _engine.generate(Request(request.messages, request.sampling))  # what is slow only once is over
    asked = time.time()
    reply: Reply = await _engine.generate(request)
    os.write(_notes, pickle.dumps((asked, time.time(), reply.usage.generated_tokens, request)))
    return reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=768)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--direct", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.direct:
        print(json.dumps(direct(options.direct)))
        return
    pairs = [pair(options.events) for _ in range(options.pairs)]
    ratios = [one["build"]["tokens_per_second"] / one["generate"]["tokens_per_second"] for one in pairs]
    result = {
        "events": options.events,
        "requests": pairs[0]["build"]["requests"],
        "median_ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "pairs": pairs,
    }
    tell(result, options.out)


def pair(events: int) -> dict[str, Any]:
    """One build and the same requests without it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus.write(folder / "news", events, corpus.SEEDS["train"])
        (folder / "notes").mkdir()
        engine = {
            "kind": "scripted",
            "model": MODEL,
            "script": "efficiency:noted",
            "concurrency": 256,
            "env": {**ENV, NOTES: str(folder / "notes")},
        }
        values = {"source": {"root": folder / "news"}, "output": folder / "run", "prompts": "compact", "engine": engine}
        build(check(BuildConfig, values, "efficiency"))
        command = [sys.executable, __file__, "--direct", str(folder / "notes")]
        environment = {**os.environ, **ENV}
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
        return {"build": built(folder / "notes"), "generate": json.loads(printed.splitlines()[-1])}


def notes(folder: Path) -> list[Any]:
    found = []
    for path in folder.iterdir():
        with path.open("rb") as file:
            while True:
                try:
                    found.append(pickle.load(file))
                except EOFError:
                    break
    return found


def built(folder: Path) -> dict[str, Any]:
    found = notes(folder)
    seconds = max(note[1] for note in found) - min(note[0] for note in found)
    return speed(len(found), sum(note[2] for note in found), seconds)


def direct(folder: Path) -> dict[str, Any]:
    """All noted requests through `LLM.generate`."""
    from vllm import LLM
    from vllm.sampling_params import RequestOutputKind

    from imageref_ray.engines.vllm import AS_IT_STANDS, DEFAULTS, template
    from imageref_ray.engines.vllm_sampling import sampling

    llm = LLM(model=resolve_model(MODEL), **{**DEFAULTS, **ARGS})
    written = template(llm.model_config)
    requests = [note[3] for note in notes(folder)]
    wanted = [sampling(request, RequestOutputKind.FINAL_ONLY) for request in requests]
    llm.generate(_prompts(written, requests[:1]), wanted[:1], use_tqdm=False, tokenization_kwargs=AS_IT_STANDS)
    began = time.time()
    outputs = llm.generate(_prompts(written, requests), wanted, use_tqdm=False, tokenization_kwargs=AS_IT_STANDS)
    seconds = time.time() - began
    tokens = sum(len(one.token_ids) for output in outputs for one in output.outputs)
    return speed(len(requests), tokens, seconds)


def _prompts(template: Any, requests: list[Request]) -> list[Any]:
    """What vLLM is given: text, and opened pictures under their names."""
    from imageref_ray.core.images import open_rgb

    prompts: list[Any] = []
    for request in requests:
        prompt: dict[str, Any] = {"prompt": template.render(request)}
        if request.images:
            prompt["multi_modal_data"] = {"image": [open_rgb(image.uri) for image in request.images]}
            prompt["multi_modal_uuids"] = {"image": [image.sha256 or None for image in request.images]}
        prompts.append(prompt)
    return prompts


def speed(requests: int, tokens: int, seconds: float) -> dict[str, Any]:
    return {
        "requests": requests,
        "generated_tokens": tokens,
        "seconds": round(seconds, 2),
        "requests_per_second": round(requests / seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
    }


if __name__ == "__main__":
    main()
