"""`imageref check`: an annotation file, ours or another tool's → does it keep the reference contract?

    file ─▶ one sample at a time ─▶ findings in its text, image files and id ─▶ counts, and the first findings

Memory grows with the ids only.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import PIL.Image

from imageref_ray.core.config import ConfigError
from imageref_ray.core.json_files import read_json
from imageref_ray.dataset.check import rules
from imageref_ray.dataset.check.read import AnnotatedSample, Finding, read_samples

__all__ = ["Finding", "Report", "check", "summary_lines"]

CACHED_IMAGES = 2**16
"""Image files whose result is cached: general data sets have many questions about the same image in a row."""


@dataclass(frozen=True, slots=True)
class Report:
    """Numbers of samples, images and images not checked; kind of finding → count; and the first findings."""

    path: Path
    samples: int
    images: int
    unchecked: int
    kinds: dict[str, int]
    findings: tuple[Finding, ...]


def check(path: Path, root: Path | None = None, first: int = 20) -> Report:
    """Read the whole file; image paths are relative to `root`, by default the root in `mixture.json` next to it.

    Raises ConfigError if the file has no sample or the root is not a folder.
    """
    if root is not None and not root.is_dir():
        raise ConfigError(f"--root {root} is not a folder; give the folder that image paths are relative to")
    image_root = root or _exported_root(path)
    check_file = partial(rules.check_file, root=image_root)
    check_file_cached = lru_cache(CACHED_IMAGES)(check_file)
    kinds: Counter[str] = Counter()
    kept: list[Finding] = []
    samples = images = unchecked = 0
    lines: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # only headers are read
        for item in read_samples(path):
            findings = [item] if isinstance(item, Finding) else [*rules.check_text(item), *_repeated_id(item, lines)]
            if isinstance(item, AnnotatedSample):
                embedded = any(image.data for image in item.images)
                results = list(rules.check_files(item, check_file if embedded else check_file_cached))
                samples, images, unchecked = samples + 1, images + len(item.images), unchecked + results.count(None)
                findings += [finding for finding in results if finding]
            kinds.update(finding.kind for finding in findings)
            kept += findings[: max(0, max(first, 1) - len(kept))]
    if not samples:
        why = f"line {kept[0].line} {kept[0].message}" if kept else "empty"
        raise ConfigError(f"{path} has no sample: {why}; give an annotation file")
    return Report(path, samples, images, unchecked, dict(kinds.most_common()), tuple(kept[: max(first, 0)]))


def summary_lines(report: Report) -> list[str]:
    """The report as lines: `file:line: id: message` for the first findings, then one line of totals."""
    lines = [f"{report.path}:{finding.line}: {finding.id}: {finding.message}" for finding in report.findings]
    size = f"{report.path}: {report.samples} samples, {report.images} images"
    unchecked = f" ({report.unchecked} images not checked: give their folder with --root)" if report.unchecked else ""
    total = sum(report.kinds.values())
    if not total:
        return [f"{size}: the reference contract holds{unchecked}"]
    counts = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    shown = f", the first {len(lines)} shown" if len(lines) < total else ""
    return [*lines, f"{size}: {total} breaches ({counts}){shown}{unchecked}"]


def _repeated_id(sample: AnnotatedSample, lines: dict[str, int]) -> Iterator[Finding]:
    """A finding if an earlier line has the same id (`-` means none)."""
    if sample.id != "-" and lines.setdefault(sample.id, sample.line) != sample.line:
        yield Finding(sample.line, sample.id, "id", f"line {lines[sample.id]} has the same id")


def _exported_root(path: Path) -> Path | None:
    """The image folder of a data set that we exported, from the `mixture.json` next to the file."""
    try:
        entries = read_json(path.parent / "mixture.json")
        roots = {entry["root"] for entry in entries.values()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return path.parent / roots.pop() if len(roots) == 1 else None
