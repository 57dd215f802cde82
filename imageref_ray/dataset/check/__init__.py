"""`imageref check`: an annotation file, ours or foreign → does it keep the reference contract?

    file ─▶ one sample at a time ─▶ breaches of its text, of its images' files, of its id ─▶ counts and the first few

Memory grows with the ids alone.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import PIL.Image

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.check import rules
from imageref_ray.dataset.check.read import Case, Finding, read

__all__ = ["Finding", "Report", "check", "summary_lines"]

REMEMBERED = 2**16
"""Images whose files were looked at just now: general sets ask many questions about one picture in a row."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a file came to: samples, images and those out of reach, breaches by kind, and the first of them."""

    path: Path
    samples: int
    images: int
    unseen: int
    kinds: dict[str, int]
    first: tuple[Finding, ...]


def check(path: Path, root: Path | None = None, first: int = 20) -> Report:
    """Read the whole file; image paths are relative to `root`, by default what `mixture.json` beside the file says.

    Raises ConfigError for a file that holds no sample at all, and for a root that is no folder.
    """
    if root is not None and not root.is_dir():
        raise ConfigError(f"--root {root} is not a folder; give the one that image paths are relative to")
    known = root or _known_root(path)
    remembered = lru_cache(REMEMBERED)(partial(rules.look, root=known))
    kinds: Counter[str] = Counter()
    kept: list[Finding] = []
    samples = images = unseen = 0
    lines: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # only headers are read
        for item in read(path):
            found = [item] if isinstance(item, Finding) else [*rules.breaches(item), *_repeated(item, lines)]
            if isinstance(item, Case):
                look = partial(rules.look, root=known) if any(shown.data for shown in item.images) else remembered
                seen = list(rules.files(item, look))
                samples, images, unseen = samples + 1, images + len(item.images), unseen + seen.count(None)
                found += [finding for finding in seen if finding]
            kinds.update(finding.kind for finding in found)
            kept += found[: max(0, max(first, 1) - len(kept))]
    if not samples:
        raise ConfigError(f"{path} holds no sample: " + (f"line {kept[0].line} {kept[0].message}" if kept else "empty"))
    return Report(path, samples, images, unseen, dict(kinds.most_common()), tuple(kept[: max(first, 0)]))


def summary_lines(report: Report) -> list[str]:
    """The report as lines: `file:line: id: what` for the first breaches, then one line that sums up."""
    lines = [f"{report.path}:{finding.line}: {finding.id}: {finding.message}" for finding in report.first]
    size = f"{report.path}: {report.samples} samples, {report.images} images"
    unseen = f" ({report.unseen} images not looked at: --root says where they are)" if report.unseen else ""
    total = sum(report.kinds.values())
    if not total:
        return [f"{size}: the reference contract holds{unseen}"]
    counts = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    shown = f", the first {len(lines)} shown" if len(lines) < total else ""
    return [*lines, f"{size}: {total} breaches ({counts}){shown}{unseen}"]


def _repeated(case: Case, lines: dict[str, int]) -> Iterator[Finding]:
    """A finding for an id that stands on an earlier line already (`-` is none)."""
    if case.id != "-" and lines.setdefault(case.id, case.line) != case.line:
        yield Finding(case.line, case.id, "id", f"its id stands on line {lines[case.id]} already")


def _known_root(path: Path) -> Path | None:
    """The pictures' folder of a data set that we exported, from the `mixture.json` beside it."""
    try:
        entries = json.loads((path.parent / "mixture.json").read_text(encoding="utf-8"))
        roots = {entry["root"] for entry in entries.values()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return Path(roots.pop()) if len(roots) == 1 else None
