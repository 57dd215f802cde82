"""`metrics.jsonl` and `events.jsonl` as they grow in; a moving line on a terminal, or a plain line now and then, out.
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

LOOK_SECONDS = 0.5
LINES = 20  # plain lines in a whole training
WAIT_SECONDS, ASK_SECONDS, AGAIN_SECONDS = 15, 5, 600  # without workers: until the screen says why, and says it again

Show = Generator[None, dict[str, Any] | str, None]
"""What is sent appears: a line of metrics.jsonl, or a text as it is."""


def read(lines: Path) -> list[dict[str, Any]]:
    """All whole lines written so far (metrics or events)."""
    text = lines.read_text(encoding="utf-8") if lines.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def write(path: Path, text: str) -> None:
    """The file whole or not at all, also when killed."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def forget_after(metrics: Path, step: int) -> float:
    """Drop the lines after `step`, which a resumed run writes again; the seconds trained until then."""
    kept = [line for line in read(metrics) if line["step"] <= step]
    write(metrics, "".join(json.dumps(line) + "\n" for line in kept))
    return float(kept[-1]["seconds"]) if kept else 0.0


@contextmanager
def shown(output: Path, steps: int, console: Console, waiting: Callable[[], str]) -> Iterator[None]:
    """Show on the screen what the training in `output` does while the body runs.

    `waiting` says what the workers lack, if they lack something; it is asked where they take long to begin.
    """
    stop = Event()
    log = output / "train.log"
    show = _bar(steps, console) if console.is_terminal else _lines(steps, log, console)
    watcher = Thread(target=_watch, args=(output, show, waiting, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(output: Path, show: Show, waiting: Callable[[], str], stop: Event) -> None:
    next(show)
    seen, told, idle_until = -1, 0, time.monotonic() + WAIT_SECONDS
    while True:
        ended = stop.wait(LOOK_SECONDS)
        for event in read(output / "events.jsonl")[told:]:
            told += 1
            idle_until = time.monotonic() + WAIT_SECONDS if event["event"] == "lost" else float("inf")
            if event["text"]:
                show.send(f"train: {event['text']}")
        lines = read(output / "metrics.jsonl")
        if lines and lines[-1]["step"] != seen:
            seen = lines[-1]["step"]
            show.send(lines[-1])
        if ended:
            show.close()
            return
        if time.monotonic() > idle_until:
            lacking = waiting()
            idle_until = time.monotonic() + (AGAIN_SECONDS if lacking else ASK_SECONDS)
            if lacking:
                show.send(f"train: waiting for {lacking}")


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
        row = bar.add_task("train", total=steps, note="starting the workers")
        while True:
            line = yield
            if isinstance(line, str):
                bar.console.print(line, highlight=False, soft_wrap=True, markup=False)
            else:
                bar.update(row, completed=line["step"], note=_note(line))


def _lines(steps: int, log: Path, console: Console) -> Show:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(f"train: 0/{steps} steps, starting the workers (log: {log})")
    told = 0
    while True:
        line = yield
        if isinstance(line, str):
            say(line)
            continue
        told = told if line["step"] > told else 0  # restarted from a checkpoint
        if line["step"] - told >= steps / LINES or line["step"] == steps:
            told = line["step"]
            say(f"train: {told}/{steps} steps, {_note(line)}, {line['seconds']:.0f} s")


def _note(line: dict[str, Any]) -> str:
    return f"loss {line['loss']:.3f}, {line['tokens_per_second']:,.0f} tokens/s"
