"""`metrics.jsonl` and `events.jsonl` as they grow → a progress bar on a terminal, or plain lines elsewhere.
No torch here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from imageref_ray.core.durable import write_atomically

POLL_SECONDS = 0.5
LINES = 20  # plain lines per training
FIRST_WAIT_SECONDS, CHECK_SECONDS, REPEAT_SECONDS = 15, 5, 600
"""Without workers: time until the first check for why, between checks, and until the message is repeated."""


def is_finished(output: Path) -> bool:
    """Whether a training's folder holds all that it was to make."""
    return (output / "summary.json").is_file() and (output / "model").is_dir()


Show = Generator[None, dict[str, Any] | str, None]
"""Displays what is sent to it: a line of metrics.jsonl, or a text."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All complete lines of metrics.jsonl or events.jsonl."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def truncate_after(metrics: Path, step: int) -> float:
    """Remove the lines after `step`, which a resumed run writes again; returns the seconds of training until then."""
    kept = [line for line in read_lines(metrics) if line["step"] <= step]
    write_atomically(metrics, "".join(json.dumps(line) + "\n" for line in kept))
    return float(kept[-1]["seconds"]) if kept else 0.0


@contextmanager
def show_progress(output: Path, steps: int, console: Console, missing_resources: Callable[[], str]) -> Iterator[None]:
    """Show the progress of the training in `output` on the console while the body runs.

    `missing_resources` returns what the workers are waiting for, or ""; it is called if they take long to start.
    """
    stop = Event()
    log = output / "train.log"
    show = _bar(steps, console) if console.is_terminal else _lines(steps, log, console)
    watcher = Thread(target=_watch, args=(output, show, missing_resources, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(output: Path, show: Show, missing_resources: Callable[[], str], stop: Event) -> None:
    next(show)
    last_step, shown_events, idle_until = -1, 0, time.monotonic() + FIRST_WAIT_SECONDS
    while True:
        ended = stop.wait(POLL_SECONDS)
        for event in read_lines(output / "events.jsonl")[shown_events:]:
            shown_events += 1
            idle_until = time.monotonic() + FIRST_WAIT_SECONDS if event["event"] == "lost" else float("inf")
            if event["text"]:
                show.send(f"train: {event['text']}")
        lines = read_lines(output / "metrics.jsonl")
        if lines and lines[-1]["step"] != last_step:
            last_step = lines[-1]["step"]
            show.send(lines[-1])
        if ended:
            show.close()
            return
        if time.monotonic() > idle_until:
            missing = missing_resources()
            idle_until = time.monotonic() + (REPEAT_SECONDS if missing else CHECK_SECONDS)
            if missing:
                show.send(f"train: waiting for {missing}")


def _bar(steps: int, console: Console) -> Show:
    columns = (
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=steps, note="starting the workers")
        while True:
            line = yield
            if isinstance(line, str):
                bar.console.print(line, highlight=False, soft_wrap=True, markup=False)
            else:
                bar.update(task, completed=line["step"], note=_note(line))


def _lines(steps: int, log: Path, console: Console) -> Show:
    def print_line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    print_line(f"train: 0/{steps} steps, starting the workers (log: {log})")
    shown_step = 0
    while True:
        line = yield
        if isinstance(line, str):
            print_line(line)
            continue
        shown_step = shown_step if line["step"] > shown_step else 0  # restarted from a checkpoint
        if line["step"] - shown_step >= steps / LINES or line["step"] == steps:
            shown_step = line["step"]
            print_line(f"train: {shown_step}/{steps} steps, {_note(line)}, {line['seconds']:.0f} s")


def _note(line: dict[str, Any]) -> str:
    return f"loss {line['loss']:.3f}, {line['tokens_per_second']:,.0f} tokens/s"
