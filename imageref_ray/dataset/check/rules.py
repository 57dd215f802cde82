"""A sample → findings: what would make a trainer fail or, worse, teach the model something wrong."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image

from imageref_ray.core import markdown
from imageref_ray.core.files import first_names
from imageref_ray.core.images import FORMATS
from imageref_ray.dataset.check.read import AnnotatedImage, AnnotatedSample, Finding
from imageref_ray.dataset.export.rows import TAG

FileCheck = Callable[[AnnotatedImage], str | None]
"""An image → what is wrong with its file, "" if nothing, None if it cannot be checked."""

LABEL = re.compile(r"IMAGE_(\d{1,9}):\s*<image>")


def check_text(sample: AnnotatedSample) -> Iterator[Finding]:
    """Findings in the turns of a sample: roles, image tags, labels and references."""
    yield from _turns(sample)
    yield from _tags(sample)
    names = [image.name or f"image {k}" for k, image in enumerate(sample.images, 1)]
    questions = "\n".join(text for role, text in sample.turns if role != "assistant")
    labels = [int(k) for k in LABEL.findall(questions)]
    if len(labels) == len(names):
        if sorted(labels) != list(range(1, len(names) + 1)):
            numbers = ", ".join(map(str, labels))
            message = f"the question numbers its images {numbers}; use each of 1 to {len(names)} once"
            yield _finding(sample, "labels", message)
        else:
            names = [names[labels.index(k)] for k in range(1, len(names) + 1)]
    for role, text in sample.turns:
        if role == "assistant":
            text = text.replace(TAG, "")  # one in an answer is a finding of its own
            breaches = markdown.check(text, sample.sample) if sample.sample else markdown.check_references(text, names)
            yield from (_finding(sample, breach.kind, breach.message) for breach in breaches)


def check_files(sample: AnnotatedSample, check: FileCheck) -> Iterator[Finding | None]:
    """A finding for every bad image file, and None for every one that cannot be checked."""
    for image in sample.images:
        problem = check(image)
        if problem is None:
            yield None
        elif problem:
            yield _finding(sample, "file", problem)


def check_file(image: AnnotatedImage, root: Path | None) -> str | None:
    """What is wrong with an image file, by its header (see FileCheck). Relative paths are under `root`; addresses are
    not fetched."""
    path = Path(image.name)
    if image.data is None and ("://" in image.name or (root is None and not path.is_absolute())):
        return None
    where = "the embedded file" if image.data is not None else str((root or Path()) / path)
    try:
        with PIL.Image.open(io.BytesIO(image.data) if image.data is not None else where, formats=FORMATS):
            return ""
    except FileNotFoundError:
        return f"{where} does not exist"
    except PIL.UnidentifiedImageError:
        return f"{where} is not an image of a known format"
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        return f"{where} cannot be read: {error}"


def _turns(sample: AnnotatedSample) -> Iterator[Finding]:
    roles = [role for role, _ in sample.turns]
    dialogue = roles[1:] if roles[0] == "system" else roles
    if dialogue != ["user", "assistant"] * max(1, len(dialogue) // 2):
        order = first_names(roles, 6)
        yield _finding(sample, "turns", f"turns do not alternate from user to assistant: {order}")
    if any(role == "assistant" and not text.strip() for role, text in sample.turns):
        yield _finding(sample, "empty", "an answer is empty")


def _tags(sample: AnnotatedSample) -> Iterator[Finding]:
    in_questions = sum(text.count(TAG) for role, text in sample.turns if role != "assistant")
    in_answers = sum(text.count(TAG) for role, text in sample.turns if role == "assistant")
    untagged = in_questions == 0 and len(sample.images) == 1  # a single image without a tag goes before the question
    if in_questions != len(sample.images) and not untagged:
        yield _finding(
            sample, "tags", f"{in_questions} {TAG} tags for {len(sample.images)} images; write one tag per image"
        )
    if in_answers:
        yield _finding(sample, "tags", f"an answer has a {TAG} tag; a model cannot write images, only IMAGE_k")


def _finding(sample: AnnotatedSample, kind: str, message: str) -> Finding:
    return Finding(sample.line, sample.id, kind, message)
