"""`metrics.jsonl` as it grows in; a moving line on a terminal, or a plain line now and then, out. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOOK_SECONDS = 0.5
LINES = 20  # plain lines in a whole training


def read(metrics: Path) -> list[dict[str, Any]]:
    """All whole lines written so far."""
    text = metrics.read_text(encoding="utf-8") if metrics.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def forget_after(metrics: Path, step: int) -> float:
    """Drop the lines after `step`, which a resumed run writes again; the seconds trained until then."""
    kept = [line for line in read(metrics) if line["step"] <= step]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    return float(kept[-1]["seconds"]) if kept else 0.0


@contextmanager
def shown(metrics: Path, steps: int, log: Path, console: Console | None = None) -> Iterator[None]:
    """Show the training's metrics on the screen while the body runs."""
    stop = Event()
    watcher = Thread(target=_watch, args=(metrics, steps, log, console or Console(stderr=True), stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(metrics: Path, steps: int, log: Path, console: Console, stop: Event) -> None:
    show = _bar(steps, console) if console.is_terminal else _lines(steps, log, console)
    next(show)
    seen = -1
    while True:
        ended = stop.wait(LOOK_SECONDS)
        lines = read(metrics)
        if lines and lines[-1]["step"] != seen:
            seen = lines[-1]["step"]
            show.send(lines[-1])
        if ended:
            show.close()
            return


def _bar(steps: int, console: Console) -> Any:
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
            bar.update(row, completed=line["step"], note=_note(line))


def _lines(steps: int, log: Path, console: Console) -> Any:
    console.print(f"train: 0/{steps} steps, starting the workers (log: {log})", highlight=False, soft_wrap=True)
    told = 0
    while True:
        line = yield
        if line["step"] - told >= steps / LINES or line["step"] == steps:
            told = line["step"]
            text = f"train: {told}/{steps} steps, {_note(line)}, {line['seconds']:.0f} s"
            console.print(text, highlight=False, soft_wrap=True)


def _note(line: dict[str, Any]) -> str:
    return f"loss {line['loss']:.3f}, {line['tokens_per_second']:,.0f} tokens/s"
