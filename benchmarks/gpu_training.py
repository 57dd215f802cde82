"""What training costs on a GPU: samples/s, tokens/s, memory and the share of the card's arithmetic, at real dimensions.

    python benchmarks/gpu_training.py [--cases 1b 2b 8b-lora] [--out results.json]

`imageref train` on one GPU, with random weights in the shapes of InternVL3-1B, -2B and -8B (InternViT-300M and Qwen2.5)
and made-up samples of four pictures and about 2,000 tokens; nothing is downloaded. A case is ended, as by Ctrl-C, after
its last measured step: what a checkpoint of gigabytes takes hangs on the disk. The arithmetic is counted without what
gradient checkpointing computes twice.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from setting import MODEL, tell

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.training.progress import read_lines

TILE, PICTURE_TOKENS, VOCABULARY = 448, 256, 151_674
TEXT: dict[str, dict[str, Any]] = {
    "1b": {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "intermediate_size": 4864},
    "2b": {"hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "intermediate_size": 8960},
    "8b": {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "intermediate_size": 18944},
}
"""Qwen2.5-0.5B, -1.5B and -7B."""

CASES: dict[str, dict[str, Any]] = {
    "1b": {"per_device_batch": 8},
    "1b-no-checkpointing": {"per_device_batch": 4, "gradient_checkpointing": False},
    "1b-zero3": {"per_device_batch": 8, "zero_stage": 3},
    "2b": {"per_device_batch": 8},
    "8b-lora": {"per_device_batch": 8, "lora": {"rank": 16}},
}
"""Settings of `imageref train` by case, whose name begins with the size. Trained is all but the vision tower (the
default), or adapters and the projector."""

PICTURES, WORDS = 4, 740  # a sample's; a word is about 1.4 of the embedded tokenizer's tokens
EVERY, WARM = 5, 10  # steps a line of metrics.jsonl, and those not counted
PEAK = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12, "L40S": 362e12}
"""Datasheet FLOP/s of a card's matrix units in bf16."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--scratch", type=Path, help="folder for checkpoints, 24 GB, kept (default: a temporary one)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "versions": versions()}
    if options.scratch:
        options.scratch.mkdir(parents=True, exist_ok=True)
    with nullcontext(options.scratch) if options.scratch else tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder), 512)
        for case in options.cases:
            found[case] = measure(Path(folder), case, options.steps)
            print(case, found[case], file=sys.stderr)
    tell(found, options.out)


def versions() -> dict[str, str]:
    """What was measured with; "" where a package is missing."""
    told = {}
    for name in ("torch", "transformers", "deepspeed", "ray", "vllm", "flash-attn"):
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            told[name] = ""
    return told


def write_samples(folder: Path, count: int) -> None:
    """Annotation rows with pictures that only cost what real ones cost."""
    words = ["two", "red", "boats", "at", "the", "harbour", "of", "Velmora", "five", "blue", "kites", "over", "market"]
    draw = random.Random(0)
    for number in range(32):
        Image.frombytes("RGB", (TILE, TILE), draw.randbytes(3 * TILE * TILE)).save(folder / f"{number}.jpg")
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(count):
            images = [f"{draw.randrange(32)}.jpg" for _ in range(PICTURES)]
            question = "<image>\n" * PICTURES + " ".join(draw.choices(words, k=WORDS // 3))
            turns = [
                {"from": "human", "value": question},
                {"from": "gpt", "value": " ".join(draw.choices(words, k=WORDS * 2 // 3 + draw.randrange(-20, 20)))},
            ]
            file.write(json.dumps({"image": images, "conversations": turns}) + "\n")


def make(folder: Path, size: str, seed: int = 0) -> None:
    """A checkpoint of that size with random weights, made on the GPU; its tokenizer is the embedded one."""
    from transformers import AutoConfig, AutoProcessor, InternVLForConditionalGeneration

    processor = AutoProcessor.from_pretrained(resolve_model(MODEL))
    for images in (processor.image_processor, processor.video_processor):
        images.size = {"height": TILE, "width": TILE}
    processor.image_seq_length = PICTURE_TOKENS
    processor.tokenizer.model_max_length = 32_768
    config = AutoConfig.from_pretrained(resolve_model(MODEL))
    vision = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": [TILE, TILE],
        "attention_bias": True,
        "layer_scale_init_value": 0.1,
        "initializer_range": 0.02,
    }
    text = {
        **TEXT[size],
        "num_key_value_heads": 4 if size == "8b" else 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 32_768,
        "layer_types": ["full_attention"] * TEXT[size]["num_hidden_layers"],
        "initializer_range": 0.02,
        "tie_word_embeddings": size != "8b",
    }
    config.vision_config.update(vision)
    config.text_config.update(text)
    config.update({"image_seq_length": PICTURE_TOKENS, "tie_word_embeddings": size != "8b"})
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = InternVLForConditionalGeneration(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def measure(folder: Path, case: str, steps: int) -> dict[str, Any]:
    """One training."""
    size = case.split("-")[0]
    model, output = folder / size, folder / f"run-{case}"
    if not model.is_dir():
        made(model, size)
    settings = CASES[case]
    config = {
        "model": str(model),
        "output": str(output),
        "mixture": {"made": {"annotation": str(folder / "samples.jsonl"), "root": str(folder)}},
        "workers": 1,
        "cpus_per_worker": 8,
        "gpus_per_worker": 1,
        "global_batch": settings["per_device_batch"],
        "steps": 10 * steps,
        "checkpoint_every": 10 * steps,
        "max_tiles": 1,
        "sequence_length": 4096,
        "log_every": EVERY,
        **settings,
    }
    file = folder / f"{case}.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    begun = time.monotonic()
    running = subprocess.Popen([sys.executable, "-m", "imageref_ray", "train", "--config", str(file)])
    while running.poll() is None and not (lines := read_lines(output / "metrics.jsonl"))[steps // EVERY - 1 :]:
        time.sleep(0.2)
    trained = time.monotonic() - begun
    if running.poll() is None:
        running.send_signal(signal.SIGINT)
    running.wait()
    if lines := [line for line in read_lines(output / "metrics.jsonl") if WARM <= line["step"] <= steps]:
        told = figures(lines, case, model, settings["per_device_batch"])
        return {"settings": settings, "seconds_to_last_step": round(trained, 1), **told}
    log = (output / "train.log").read_text(encoding="utf-8", errors="replace")
    print(log[-4000:], file=sys.stderr)
    return {"failed": log.strip().splitlines()[-1:]}


def made(model: Path, size: str) -> None:
    """`make` in a process of its own, so that the GPU is free again."""
    maker = get_context("spawn").Process(target=make, args=(model, size))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit(f"{size}: the checkpoint could not be made")


def figures(lines: list[dict[str, Any]], case: str, model: Path, batch: int) -> dict[str, Any]:
    """What the lines tell, each of `EVERY` steps; the first only says when the second began."""
    speed = statistics.median(line["tokens_per_second"] for line in lines[1:])
    samples = EVERY * batch * (len(lines) - 1) / (lines[-1]["seconds"] - lines[0]["seconds"])
    tokens = speed / samples
    learned = statistics.mean(line["learned_tokens"] for line in lines[1:]) / (EVERY * batch)
    arithmetic = flops(model, tokens, learned, adapters="lora" in case)
    peak = next((peak for card, peak in PEAK.items() if card in torch.cuda.get_device_name()), None)
    return {
        "samples_per_second": round(samples, 2),
        "tokens_per_second": round(speed),
        "tokens_per_sample": round(tokens),
        "learned_tokens_per_sample": round(learned),
        "gpu_memory_gib": lines[-1].get("gpu_memory_gib"),
        "tflops": round(arithmetic * samples / 1e12, 1),
        "share_of_peak": round(arithmetic * samples / peak, 3) if peak else None,
        "losses": [line["loss"] for line in lines],
    }


def flops(model: Path, tokens: float, learned: float, *, adapters: bool) -> float:
    """Of one sample: the vision tower forwards; the language model and, on learned tokens, its head in both directions.

    A matrix of n weights takes 2 n forwards, 2 n backwards to its input, and 2 n to itself where it is trained.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    vision, text = config["vision_config"], config["text_config"]
    patches = (TILE // 14) ** 2 + 1
    layer = 4 * vision["hidden_size"] ** 2 + 2 * vision["hidden_size"] * vision["intermediate_size"]
    seen = vision["num_hidden_layers"] * (2 * layer * patches + 4 * patches**2 * vision["hidden_size"])
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    keys = hidden * text["num_key_value_heads"] // heads
    layer = 2 * hidden**2 + 2 * hidden * keys + 3 * hidden * text["intermediate_size"]
    times = 4 if adapters else 6
    read = text["num_hidden_layers"] * (times * layer * tokens + 3 * 2 * tokens**2 * hidden)  # half of a square: causal
    told: float = PICTURES * seen + read + times * hidden * text["vocab_size"] * learned
    return told


if __name__ == "__main__":
    main()
