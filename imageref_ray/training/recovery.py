"""Which failures a training survives: what Ray Train's controller sees in, a line of `<output>/events.jsonl` and the
one sentence about what failed out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError
from ray.train import UserCallback

from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.training.progress import read, write

CERTAIN = (ValueError, TypeError, LookupError, AttributeError, ImportError, NameError, AssertionError)
"""Raised by the same work whenever it is done: no restart helps."""
AFTERMATH = re.compile(r"connection|gloo|nccl|peer|store|timed out|broken pipe|abort", re.IGNORECASE)
"""What the other workers say when one is gone."""
CERTAIN_NAMES = {"OutOfMemoryError", "SafetensorError"}
"""The same, of libraries that are not loaded here: a full GPU (torch), broken weights."""
LIST, COPY = Path("checkpoints", "checkpoint_manager_snapshot.json"), "checkpoint_manager_snapshot.copy.json"
"""Ray Train's list of checkpoints in an output, and ours beside it."""
LONGEST = 300


class Recovery(UserCallback):  # type: ignore[misc]
    """In Ray Train's controller: notes what is lost, and ends the run at once where a restart would not help.

    Ray Train restarts after any exception of a worker. What a callback of its controller raises is final for it.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.step: int | None = None if [*(config.output / "checkpoints").glob("checkpoint_*")] else 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Remember which step a restart would begin at; keep a copy of the list of checkpoints, which now is whole."""
        if checkpoint:
            self.step = metrics[0]["step"]
            listed = self.config.output / LIST
            write(listed.with_name(COPY), listed.read_text(encoding="utf-8"))

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Note the loss that a restart follows. Raises the workers' own error where it would come again."""
        if error := certain(worker_exceptions):
            raise error
        if any(getattr(_death(error), "preempted", False) for error in worker_exceptions.values()):
            note(self.config.output, "lost", f"{cause(worker_exceptions)}, which was taken away; restarting")
        elif restarts(self.config.output) < self.config.max_failures:
            restart(self.config, cause(worker_exceptions), self.step)


def restart(config: TrainConfig, words: str, step: int | None = None) -> None:
    """Note the loss of workers that a restart follows, which counts."""
    where = "the latest checkpoint" if step is None else f"step {step}"
    number = f"{restarts(config.output) + 1} of {config.max_failures}"
    note(config.output, "lost", f"{words}; restarting from {where} ({number})", counts=True)


def restarts(output: Path) -> int:
    """How many restarts of this run count against `max_failures` so far."""
    return sum(event.get("counts", False) for event in read(output / "events.jsonl"))


def repair_list(output: Path) -> None:
    """Ray Train writes its list of checkpoints in place: a kill in that moment leaves a half, which it cannot read."""
    listed = output / LIST
    try:
        json.loads(listed.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        copy = listed.with_name(COPY)
        listed.unlink()
        if copy.is_file():
            write(listed, copy.read_text(encoding="utf-8"))


def note(output: Path, event: str, text: str = "", **more: Any) -> None:
    """One line more in events.jsonl, for the screen and for those who look later."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, "text": text, **more}
    with (output / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def certain(workers: dict[int, Exception]) -> Exception | None:
    """The error that the same work would raise again: a mistake in settings, data or code, or a full GPU."""
    if any(map(_death, workers.values())):  # the others may raise anything
        return None
    found = (e for e in workers.values() if isinstance(e, CERTAIN) or type(e).__name__ in CERTAIN_NAMES)
    return next(found, None)


def parts(error: BaseException) -> dict[int, Any]:
    """What failed in a `fit` that ended in `error`: rank → exception; the controller's own has the rank -1."""
    workers: dict[int, Exception] | None = getattr(error, "worker_failures", None)
    return workers or {-1: getattr(error, "controller_failure", error)}


def lost(failed: dict[int, Any]) -> bool:
    """Whether the controller died, or ended over a worker that died while all were begun: Ray restarts neither."""
    error = failed.get(-1)
    return isinstance(error, RayActorError) and not error.actor_init_failed


def cause(failed: dict[int, Any]) -> str:
    """The first cause in one line: a worker that died, else what a worker raised, else what the others say of it."""
    first = min(failed, key=lambda rank: (_rank_of_blame(failed[rank]), rank))
    if first < 0:
        return f"a worker {_how(failed[first])}" if lost(failed) else _line(failed[first])
    return f"worker {first} {_how(failed[first])}"


def _rank_of_blame(error: Exception) -> int:
    if _death(error):
        return 0
    return 2 if AFTERMATH.search(str(error)) else 1


def _how(error: Exception) -> str:
    death = _death(error)
    if death is None:
        return f"failed: {_line(error)}"
    text = " ".join(str(death).split("Some common causes include")[0].split())
    if isinstance(death, ActorUnavailableError):
        return "cannot be reached: its node or the network is lost"
    if "memory" in text.lower():
        return "was killed because its node ran out of memory"
    if re.search(r"node (has )?(died|was terminated)|its node", text):
        return "was lost with its node"
    if "connection error code 2" in text:  # Ray's words for a process that is gone
        return "was lost: its process was killed or crashed"
    told = re.search("Worker exit detail: (.*)", text)
    return f"was lost: {_short(told[1] if told else text)}"


def _death(error: BaseException) -> BaseException | None:
    """The death of the worker's process or node that a failed health check tells of."""
    inner = getattr(error, "health_check_failure", error)
    return inner if inner is not error or isinstance(error, RayActorError) else None


def _line(error: BaseException) -> str:
    text = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    if getattr(error, "actor_init_failed", False):  # with a traceback before the error itself
        text = text.strip().splitlines()[-1]
    return _short(" ".join(text.split()))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
