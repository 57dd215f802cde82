"""`View` → one self-contained HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imageref_ray.commands import pages
from imageref_ray.commands.inspection.view import FOLDER, View


@dataclass(frozen=True, slots=True)
class Page:
    """A written page: its path, its size, and how many samples it shows."""

    path: Path
    bytes: int
    samples: int


def write_page(view: View, out: Path) -> Page:
    """Write the page to `out`. Raises ConfigError if that fails."""
    script = pages.BROWSE.read_text(encoding="utf-8")
    return Page(out, pages.write(out, pages.render(FOLDER / "inspect.html", script=script, view=view)), view.samples)


def summary_line(view: View, page: Page) -> str:
    """The run's state and the page's path, in one line."""
    return f"{view.directory}: {view.line} in {page.path} ({page.bytes / 1e6:.1f} MB)"
