"""How near a pass comes to the engine's own speed on a GPU: Ray Data over vLLM beside `LLM.generate`, same requests.

    python benchmarks/gpu_engine.py [--cases embedded 1b] [--requests 4096] [--pairs 3] [--out results.json]

One request a record: a picture of its own, some text, and always 64 generated tokens. `embedded` is the shipped
checkpoint of 3 million parameters, where everything that is not the GPU shows most; `1b` has the shape of InternVL3-1B
and random weights (gpu_training.py). Both are timed from the first request to the last reply, pictures opened between.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_training import made, versions
from PIL import Image as Pillow
from setting import MODEL, tell

from imageref_ray.batch import store
from imageref_ray.batch.ray_data import run_pass
from imageref_ray.batch.worker import Pass, Row
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import VllmConfig
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Generate, Message, Request, Sampling

ARGS: dict[str, dict[str, Any]] = {
    case: {"max_model_len": 2048, "max_num_seqs": 256, "max_num_batched_tokens": 16_384} for case in ("embedded", "1b")
}
"""vLLM's defaults are other ones for `LLM` than for its asynchronous engine."""

SIZES, WORDS, TOKENS = {"embedded": 112, "1b": 448}, 200, 64
BEHIND = 4
"""Requests in flight, as a multiple of those that vLLM runs at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=ARGS, default=list(ARGS))
    parser.add_argument("--requests", type=int, default=4096)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--args", type=json.loads, default={}, help="further engine arguments, JSON")
    parser.add_argument("--scratch", type=Path, help="folder where the 1b checkpoint may be already (gpu_training.py)")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", nargs=4, metavar=("WAY", "MODEL", "CASE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        way, model, case, folder = options.measure
        args = {**ARGS[case], **options.args}
        print(json.dumps({"built": built, "direct": direct}[way](model, args, rows(Path(folder), options.requests))))
        return
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return
    found: dict[str, Any] = {"versions": versions(), "requests": options.requests, "tokens": TOKENS}
    for case in options.cases:
        found[case] = compare(case, options)
    found["card"] = torch.cuda.get_device_name()  # asked last: it takes memory of the card
    tell(found, options.out)


def compare(case: str, options: Any) -> dict[str, Any]:
    """Pairs of the two ways over the same requests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = MODEL if case == "embedded" else str((options.scratch or folder) / case)
        if not Path(model).is_dir():
            made(Path(model), case)
        draw, size = random.Random(0), SIZES[case]
        for number in range(options.requests):
            picture = Pillow.frombytes("RGB", (28, 28), draw.randbytes(3 * 28 * 28))
            picture.resize((size, size)).save(folder / f"{number}.jpg")
        pairs = [
            {way: run(way, model, case, folder, options) for way in ("built", "direct")} for _ in range(options.pairs)
        ]
    ratios = [pair["built"]["requests_per_second"] / pair["direct"]["requests_per_second"] for pair in pairs]
    return {"median_ratio": round(statistics.median(ratios), 3), "pairs": pairs}


def run(way: str, model: str, case: str, folder: Path, options: Any) -> dict[str, Any]:
    """One measurement in a process of its own."""
    given = ["--requests", str(options.requests), "--args", json.dumps(options.args)]
    command = [sys.executable, __file__, "--measure", way, model, case, str(folder), *given]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(next(line for line in reversed(printed.splitlines()) if line[:1] == "{"))
    print(case, way, found, file=sys.stderr)
    return found


def rows(folder: Path, count: int) -> Iterator[Row]:
    words = ["two", "red", "boats", "at", "the", "harbour", "of", "Velmora", "five", "blue", "kites", "over", "market"]
    draw = random.Random(1)
    for number in range(count):
        text = " ".join(draw.choices(words, k=WORDS))
        yield {"id": f"r{number:06d}", "picture": str(folder / f"{number}.jpg"), "text": text}


def request(row: Row) -> Request:
    picture = Image(row["id"], row["picture"], row["id"])  # its name stands for its digest
    sampling = Sampling(min_tokens=TOKENS, max_tokens=TOKENS)
    return Request((Message("user", (picture, f"\n{row['text']}\nDescribe the picture.")),), sampling)


async def timed(row: Row, generate: Generate) -> Row:
    """One request; when it was asked and answered."""
    asked = time.time()
    reply = await generate(request(row))
    return {"asked": asked, "replied": time.time(), "tokens": reply.usage.generated_tokens}


def built(model: str, args: dict[str, Any], given: Iterator[Row]) -> dict[str, Any]:
    """All requests in a pass of Ray Data."""
    engine = VllmConfig(model=model, args=args, gpus=1, concurrency=256 * BEHIND)
    with tempfile.TemporaryDirectory() as folder:
        run_pass(Pass("gpu", Path(folder), timed, engine), given)
        found = [result.row for result in store.results(Path(folder))]
    seconds = max(row["replied"] for row in found) - min(row["asked"] for row in found)
    return speed(len(found), sum(row["tokens"] for row in found), seconds)


def direct(model: str, args: dict[str, Any], given: Iterator[Row]) -> dict[str, Any]:
    """All requests at once through `LLM.generate`."""
    from efficiency import _prompts
    from vllm import LLM
    from vllm.sampling_params import RequestOutputKind

    from imageref_ray.engines.vllm import AS_IT_STANDS, DEFAULTS, template
    from imageref_ray.engines.vllm_sampling import sampling

    llm = LLM(model=resolve_model(model), **{**DEFAULTS, **args})
    written = template(llm.model_config)
    requests = [request(row) for row in given]
    wanted = [sampling(one, RequestOutputKind.FINAL_ONLY) for one in requests]
    began = time.time()
    outputs = llm.generate(_prompts(written, requests), wanted, use_tqdm=False, tokenization_kwargs=AS_IT_STANDS)
    seconds = time.time() - began
    return speed(len(outputs), sum(len(one.outputs[0].token_ids) for one in outputs), seconds)


def speed(requests: int, tokens: int, seconds: float) -> dict[str, Any]:
    return {
        "requests": requests,
        "seconds": round(seconds, 2),
        "requests_per_second": round(requests / seconds, 1),
        "generated_tokens_per_second": round(tokens / seconds),
    }


if __name__ == "__main__":
    main()
