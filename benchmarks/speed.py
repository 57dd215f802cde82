"""How much faster one end-to-end request answers than three stages do: the speed protocol on the embedded checkpoint.

    python benchmarks/speed.py --student runs/demo/train/model [--events 48] [--out results.json]

`imageref evaluate speed` against vLLM's own server on this machine, over the embedded corpus, 100 requests in flight,
temperature 0. The end-to-end way is measured on the student that the demo has trained (what fine-tuning is for), the
stages on the embedded checkpoint, each on a server of its own: neither finds anything of the other in a cache. Without
a student both are measured on the embedded checkpoint, which never learned to answer end to end and hardly says a word:
then there is no ratio. The checkpoint holds 2,048 tokens in all, so replies have at most 512, not the protocol's 2,048.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setting import ARGS, ENV, MODEL, tell

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import SpeedConfig, check
from imageref_ray.evaluation.evaluate_speed import evaluate_speed
from imageref_ray.picturenews import corpus

MAX_TOKENS = 512
START_S = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=48)
    parser.add_argument("--student")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus.write(folder / "news", options.events, corpus.SEEDS["test"])
        direct = measured(folder, options.student or MODEL, "end_to_end")
        stages = measured(folder, MODEL, "staged")
    result = {
        "events": options.events,
        "in_flight": direct["in_flight"],
        "max_tokens": MAX_TOKENS,
        "end_to_end": direct["end_to_end"],
        "staged": stages["staged"],
        "ratio": ratio(stages, direct) if options.student else None,
    }
    tell(result, options.out)


def ratio(stages: dict[str, Any], direct: dict[str, Any]) -> float | None:
    """Seconds a sample, staged over end to end."""
    seconds = stages["staged"]["seconds_per_sample"], direct["end_to_end"]["seconds_per_sample"]
    return round(seconds[0] / seconds[1], 2) if all(seconds) else None


def measured(folder: Path, model: str, mode: str) -> dict[str, Any]:
    """One way of answering on a server of its own."""
    with vllm_server(model, folder / f"{mode}.log") as url:
        values = {
            "source": {"root": folder / "news"},
            "output": folder / mode,
            "engine": {"kind": "openai", "base_url": url, "model": "imageref", "timeout_s": 3600, "patience_s": 3600},
            "mode": [mode],
            "max_tokens": MAX_TOKENS,
            "prompts": "compact",
        }
        return evaluate_speed(check(SpeedConfig, values, "speed"))


@contextmanager
def vllm_server(model: str, log: Path) -> Iterator[str]:
    """vLLM's OpenAI server over a checkpoint as the other benchmarks run it; gives its base URL."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--host=127.0.0.1", f"--port={port}", f"--model={resolve_model(model)}", "--served-model-name=imageref"),
        *(f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}") for key, value in ARGS.items()),
        '--limit-mm-per-prompt={"image": 20, "video": 0}',
        '--structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
    ]
    with log.open("w") as output:
        server = subprocess.Popen(command, env={**os.environ, **ENV}, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers. Raises RuntimeError with the end of its log where it does not."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    main()
