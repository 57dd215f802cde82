"""Failures of training workers → restart or not, a line of `<output>/events.jsonl`, one sentence about the cause."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError
from ray.train import UserCallback

from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.core.durable import FULL, DiskError, write_atomically, writing
from imageref_ray.training.progress import read_lines

PERMANENT_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ImportError, NameError, AssertionError)
"""Errors that the same work raises every time: a restart would not help."""
AFTERMATH = re.compile(r"connection|gloo|nccl|peer|store|timed out|broken pipe|abort", re.IGNORECASE)
"""Errors of the other workers after one has died."""
PERMANENT_ERROR_NAMES = {"OutOfMemoryError", "SafetensorError"}
"""The same, by name, from libraries that are not imported here: GPU out of memory (torch), broken weights."""
CHECKPOINT_LIST = Path("checkpoints", "checkpoint_manager_snapshot.json")
"""Ray Train's list of checkpoints, relative to the run directory."""
LIST_COPY = "checkpoint_manager_snapshot.copy.json"
"""Our copy of it, in the same folder."""
MAX_MESSAGE = 300


class Recovery(UserCallback):  # type: ignore[misc]
    """Callback in Ray Train's controller: logs lost workers, and ends the run at once if a restart would not help.

    Ray Train restarts after any exception of a worker; an exception of a controller callback ends the run.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.step: int | None = None if [*(config.output / "checkpoints").glob("checkpoint_*")] else 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Remember the step of the latest checkpoint; copy the list of checkpoints, which is complete now, to where a
        power cut cannot reach it."""
        if checkpoint:
            self.step = metrics[0]["step"]
            checkpoint_list = self.config.output / CHECKPOINT_LIST
            write_atomically(checkpoint_list.with_name(LIST_COPY), checkpoint_list.read_text(encoding="utf-8"))

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Log the lost workers before the restart. Raises the worker's error if it would occur again."""
        if error := permanent_error(worker_exceptions):
            raise error
        if any(getattr(_death(error), "preempted", False) for error in worker_exceptions.values()):
            log_event(
                self.config.output, "lost", f"{describe_cause(worker_exceptions)}, which was preempted; restarting"
            )
        elif count_restarts(self.config.output) < self.config.max_failures:
            log_restart(self.config, describe_cause(worker_exceptions), self.step)


def log_restart(config: TrainConfig, message: str, step: int | None = None) -> None:
    """Log the loss of workers before a restart that counts against `max_failures`; `step`: where it resumes."""
    where = "the latest checkpoint" if step is None else f"step {step}"
    number = f"{count_restarts(config.output) + 1} of {config.max_failures}"
    log_event(config.output, "lost", f"{message}; restarting from {where} ({number})", counts=True)


def count_restarts(output: Path) -> int:
    """The restarts of this run so far that count against `max_failures`."""
    return sum(event.get("counts", False) for event in read_lines(output / "events.jsonl"))


def repair_list(output: Path) -> None:
    """Restore Ray Train's list of checkpoints, which it does not write atomically, if a kill or a power cut left it
    incomplete."""
    checkpoint_list = output / CHECKPOINT_LIST
    try:
        json.loads(checkpoint_list.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        copy = checkpoint_list.with_name(LIST_COPY)
        checkpoint_list.unlink(missing_ok=True)
        if copy.is_file():
            write_atomically(checkpoint_list, copy.read_text(encoding="utf-8"))


def log_event(output: Path, event: str, text: str = "", **more: Any) -> None:
    """Append a line to events.jsonl; a `text` is shown on the screen as well."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, "text": text, **more}
    path = output / "events.jsonl"
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def permanent_error(workers: dict[int, Exception]) -> Exception | None:
    """The error that would occur again after a restart: a mistake in settings, data or code, a full GPU or disk."""
    if any(map(_death, workers.values())):  # the others may raise anything
        return None
    for error in workers.values():
        if isinstance(error, PERMANENT_ERRORS) or type(error).__name__ in PERMANENT_ERROR_NAMES:
            return error
        if isinstance(error, DiskError) and error.errno in FULL:
            return error
    return None


def failures_by_rank(error: BaseException) -> dict[int, Any]:
    """The exceptions behind the `error` of a `fit`: rank → exception; the controller's has rank -1."""
    workers: dict[int, Exception] | None = getattr(error, "worker_failures", None)
    return workers or {-1: getattr(error, "controller_failure", error)}


def needs_our_restart(failed: dict[int, Any]) -> bool:
    """Whether the controller died, or a worker died while all were starting: Ray Train restarts neither."""
    error = failed.get(-1)
    return isinstance(error, RayActorError) and not error.actor_init_failed


def describe_cause(failed: dict[int, Any]) -> str:
    """The most likely cause in one line: a worker that died, else an error of a worker, else an after-effect."""
    first = min(failed, key=lambda rank: (_likelihood(failed[rank]), rank))
    if first < 0:
        return f"a worker {_describe(failed[first])}" if needs_our_restart(failed) else _describe_error(failed[first])
    return f"worker {first} {_describe(failed[first])}"


def _likelihood(error: Exception) -> int:
    """0: the worker died; 1: an error of its own; 2: an after-effect of another worker's."""
    if _death(error):
        return 0
    return 2 if AFTERMATH.search(str(error)) and not isinstance(error, DiskError) else 1


def _describe(error: Exception) -> str:
    death = _death(error)
    if death is None:
        return f"failed: {_describe_error(error)}"
    text = " ".join(str(death).split("Some common causes include")[0].split())
    if isinstance(death, ActorUnavailableError):
        return "cannot be reached: its node or the network is lost"
    if "memory" in text.lower():
        return "was killed because its node ran out of memory"
    if re.search(r"node (has )?(died|was terminated)|its node", text):
        return "was lost with its node"
    if "connection error code 2" in text:  # Ray's message about a process that is gone
        return "was lost: its process was killed or crashed"
    detail = re.search("Worker exit detail: (.*)", text)
    return f"was lost: {_short(detail[1] if detail else text)}"


def _death(error: BaseException) -> BaseException | None:
    """The death of the worker's process or node behind an error, if there is one."""
    inner = getattr(error, "health_check_failure", error)
    return inner if inner is not error or isinstance(error, RayActorError) else None


def _describe_error(error: BaseException) -> str:
    text = str(error) if isinstance(error, ConfigError | DiskError) else f"{type(error).__name__}: {error}"
    if getattr(error, "actor_init_failed", False):  # a traceback precedes the error
        text = text.strip().splitlines()[-1]
    return _short(" ".join(text.split()))


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
