"""Comparisons → one self-contained HTML page: leaderboard, differences, every event with all answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from imageref_ray.commands import pages
from imageref_ray.commands.comparison import tables
from imageref_ray.commands.inspection.event_section import Answers, Group, render_section
from imageref_ray.commands.pages import figures
from imageref_ray.evaluation.compare_runs import Comparison, Pair
from imageref_ray.evaluation.tables import number


def write_page(comparisons: Sequence[Comparison], out: Path) -> str:
    """Write the page; returns one line that says where it is. Raises ConfigError where it cannot be written."""
    groups = [Group(one.mode, [Answers(s.name, s.directory, s.events) for s in one.systems]) for one in comparisons]
    section = render_section(groups)
    html = pages.render(
        Path(__file__).with_name("compare.html"),
        script=pages.BROWSE.read_text(encoding="utf-8"),
        names=list(dict.fromkeys(system.name for one in comparisons for system in one.systems)),
        comparisons=comparisons,
        conclusions=[tables.conclusion(one, pair) for one in comparisons for pair in one.pairs],
        explanation=tables.explanation(comparisons),
        chart=lambda comparison, pair: Markup(_chart(comparison, pair)),
        tables=tables,
        number=number,
        events=section,
    )
    size = pages.write(out, html)
    return f"{section.shown:,} events side by side in {out} ({size / 1e6:.1f} MB)"


def _chart(comparison: Comparison, pair: Pair) -> str:
    """The pair's differences as a chart; those that were not tested are left to the table."""
    rows = [
        (tables.metric_name(one.metric), one.difference, *one.interval, (one.p_holm or 0.0) < tables.LEVEL)
        for one in pair.differences
        if one.difference is not None and one.interval is not None
    ]
    return figures.differences(rows, comparison.digits)
