"""A sample → its breaches: what a trainer would stumble over or, worse, learn."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image

from imageref_ray.core import markdown
from imageref_ray.core.images import FORMATS
from imageref_ray.dataset.check.read import Case, Finding, Shown
from imageref_ray.dataset.export.rows import TAG

Look = Callable[[Shown], str | None]
"""An image → what is wrong with its file, `""` for nothing, None where it is out of reach."""

LABEL = re.compile(r"IMAGE_(\d{1,9}):\s*<image>")


def breaches(case: Case) -> Iterator[Finding]:
    """Everything that the text of a sample alone tells."""
    yield from _turns(case)
    yield from _tags(case)
    names = [shown.name or f"image {k}" for k, shown in enumerate(case.images, 1)]
    questions = "\n".join(text for role, text in case.turns if role != "assistant")
    labels = [int(k) for k in LABEL.findall(questions)]
    if len(labels) == len(names):
        if sorted(labels) != list(range(1, len(names) + 1)):
            told = f"the question numbers its images {', '.join(map(str, labels))}; use each of 1 to {len(names)} once"
            yield _finding(case, "labels", told)
        else:
            names = [names[labels.index(k)] for k in range(1, len(names) + 1)]
    for role, text in case.turns:
        if role == "assistant" and ("IMAGE_" in text or "](" in text):
            found = markdown.check(text, case.sample) if case.sample else markdown.check_references(text, names)
            yield from (_finding(case, breach.kind, breach.message) for breach in found)


def files(case: Case, look: Look) -> Iterator[Finding | None]:
    """One value an image: None where its file is out of reach; nothing for a good one."""
    for shown in case.images:
        problem = look(shown)
        if problem is None:
            yield None
        elif problem:
            yield _finding(case, "file", problem)


def look(shown: Shown, root: Path | None) -> str | None:
    """What is wrong with an image's file, by its header. Relative paths are under `root`; addresses are not fetched."""
    path = Path(shown.name)
    if shown.data is None and ("://" in shown.name or (root is None and not path.is_absolute())):
        return None
    where = "the embedded file" if shown.data is not None else str((root or Path()) / path)
    try:
        with PIL.Image.open(io.BytesIO(shown.data) if shown.data is not None else where, formats=FORMATS):
            return ""
    except FileNotFoundError:
        return f"{where} does not exist"
    except PIL.UnidentifiedImageError:
        return f"{where} is not an image of a known format"
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        return f"{where} cannot be read: {error}"


def _turns(case: Case) -> Iterator[Finding]:
    roles = [role for role, _ in case.turns]
    spoken = roles[1:] if roles[0] == "system" else roles
    if spoken != ["user", "assistant"] * max(1, len(spoken) // 2):
        order = ", ".join(roles[:6]) + (", …" if len(roles) > 6 else "")
        yield _finding(case, "turns", f"turns do not alternate from user to assistant: {order}")
    if any(role == "assistant" and not text.strip() for role, text in case.turns):
        yield _finding(case, "empty", "an answer is empty")


def _tags(case: Case) -> Iterator[Finding]:
    asked = sum(text.count(TAG) for role, text in case.turns if role != "assistant")
    answered = sum(text.count(TAG) for role, text in case.turns if role == "assistant")
    habit = asked == 0 and len(case.images) == 1  # a single image without a tag stands before the question
    if asked != len(case.images) and not habit:
        yield _finding(case, "tags", f"{asked} {TAG} tags for {len(case.images)} images; give one tag an image")
    if answered:
        yield _finding(case, "tags", f"an answer holds a {TAG} tag; a model cannot write a picture, only IMAGE_k")


def _finding(case: Case, kind: str, message: str) -> Finding:
    return Finding(case.line, case.id, kind, message)
