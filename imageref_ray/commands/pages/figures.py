"""Small charts as inline SVG: numbers in, markup out; colours come from the page's CSS variables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

METRIC_NAMES = {"f1": "F1", "precision": "Precision", "recall_3": "Recall 3", "recall_1": "Recall 1", "score": "Score"}
"""Metric key → its displayed name, in the report's order."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 520, 260, 42, 28, 14
"""Size of a chart and its margins, in SVG units."""


def loss_curve(points: Sequence[tuple[float, float]]) -> str:
    """Training loss over steps: the logged values as a thin line, their moving average as a thick one."""
    if len(points) < 2:
        return ""
    ticks = _ticks(max(loss for _, loss in points))
    first, last = points[0][0], points[-1][0]

    def point(step: float, loss: float) -> str:
        return f"{_scale(step, first, last, LEFT, WIDTH - 12):.1f},{_y(loss, ticks[-1]):.1f}"

    mean, smooth = points[0][1], []
    for step, loss in points:
        mean = 0.7 * mean + 0.3 * loss
        smooth.append(point(step, mean))
    raw = " ".join(point(step, loss) for step, loss in points)
    body = _grid(ticks, "{:g}")
    body += f'<polyline points="{raw}" fill="none" stroke="var(--tuned)" stroke-opacity=".35" stroke-width="1.2"/>'
    body += f'<polyline points="{" ".join(smooth)}" fill="none" stroke="var(--tuned)" stroke-width="2.5"/>'
    body += _text(LEFT, HEIGHT - 8, f"step {first:g}") + _text(WIDTH - 12, HEIGHT - 8, f"step {last:g}", "end")
    return _svg(f"Training loss from {points[0][1]:.2f} to {points[-1][1]:.2f}", HEIGHT, body)


def metric_bars(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> str:
    """Bars for base and tuned beside each other for every metric, with values and 95 % intervals.

    Both are summaries of `placement_metrics.summarise`; a score below 0 has a bar of height 0 and its number.
    """
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    group_width = (WIDTH - LEFT) / len(METRIC_NAMES)
    body = _grid(ticks, "{:.2f}")
    for number, (key, name) in enumerate(METRIC_NAMES.items()):
        centre = LEFT + (number + 0.5) * group_width
        body += _bar(centre - 36, base, key, "var(--base)") + _bar(centre + 2, tuned, key, "var(--tuned)")
        body += _text(centre, HEIGHT - 8, name, "middle", strong=True)
    pairs = ((name, _figure(base[key]), _figure(tuned[key])) for key, name in METRIC_NAMES.items())
    return _svg("; ".join(f"{name} {before} before, {after} after" for name, before, after in pairs), HEIGHT, body)


def differences(rows: Sequence[tuple[str, float, float, float, bool]], digits: int) -> str:
    """A dot and its interval per row (name, difference, low, high, told apart from chance) on both sides of 0."""
    if not rows:
        return ""
    most = max(abs(bound) for row in rows for bound in row[1:4]) or 1.0
    left, right, height = 110, WIDTH - 12, 30 * len(rows) + 28
    zero, body = (left + right) / 2, ""
    for number, (name, value, low, high, told_apart) in enumerate(rows):
        y = 20 + 30 * number
        x, start, end = (_scale(point, -most, most, left, right) for point in (value, low, high))
        colour = "var(--soft)" if not told_apart else "var(--right)" if value > 0 else "var(--wrong)"
        body += _text(0, y + 4, name, strong=True)
        body += f'<path d="M{start:.1f} {y}H{end:.1f}" stroke="{colour}" stroke-width="2.5"/><circle cx="{x:.1f}" '
        body += (
            f'cy="{y}" r="5.5" stroke="{colour}" stroke-width="2.5" fill="{colour if told_apart else "var(--card)"}"/>'
        )
    frame = f'<path d="M{zero:.1f} 6V{height - 24}" class="whisker" stroke-dasharray="3 3"/>'
    for at, anchor in ((-most, "start"), (0.0, "middle"), (most, "end")):
        frame += _text(_scale(at, -most, most, left, right), height - 6, f"{at:+.{digits}f}" if at else "0", anchor)
    label = "; ".join(f"{name} {value:+.{digits}f}" for name, value, *_ in rows)
    return _svg(label, height, frame + body)


def time_bar(stages: Sequence[tuple[str, float]]) -> str:
    """One horizontal bar with a segment per stage, as long as its time, numbered as in the list below it."""
    total = sum(seconds for _, seconds in stages) or 1.0
    body, start = "", 0.0
    for number, (name, seconds) in enumerate(stages, 1):
        width = seconds / total * 1080
        body += f'<rect x="{start:.1f}" y="0" width="{max(width - 2, 1):.1f}" height="34" rx="3" '
        body += f'class="part{_hue(number)}"><title>{escape(name)}: {duration(seconds)}</title></rect>'
        if width > 24:
            body += f'<text x="{start + width / 2 - 1:.1f}" y="22" text-anchor="middle" class="onpart">{number}</text>'
        start += width
    label = ", ".join(f"{name} {duration(seconds)}" for name, seconds in stages)
    return f'<svg viewBox="0 0 1080 34" class="time" role="img" aria-label="{escape(label)}">{body}</svg>'


def histogram(values: Sequence[float], name: str) -> str:
    """A histogram of a value per record: up to 24 bars from the least to the greatest, a dashed line at the median."""
    if not values:
        return ""
    low, high, median = min(values), max(values), statistics.median(values)
    integers = all(value == int(value) for value in values)
    bars = min(24, int(high - low) + 1) if integers else 24 if high > low else 1
    counts = [0] * bars
    for value in values:
        counts[min(int((value - low) / ((high - low) or 1) * bars), bars - 1)] += 1
    width, body = 240 / bars, ""
    for number, count in enumerate(counts):
        height = max(count / max(counts) * 62, 1.5 if count else 0)
        body += f'<rect x="{number * width + 0.5:.1f}" y="{66 - height:.1f}" width="{width - 1:.1f}" '
        body += f'height="{height:.1f}" rx="1" fill="var(--tuned)"/>'
    body += '<line x1="0" x2="240" y1="66.5" y2="66.5" class="grid"/>'
    x = _scale(median, low, high, width / 2, 240 - width / 2) if high > low else 120
    body += f'<path d="M{x:.1f} 2V66" class="whisker" stroke-dasharray="3 3"/>'
    body += _text(0, 86, f"{low:,.0f}") + (_text(240, 86, f"{high:,.0f}", "end") if high > low else "")
    label = f"{name} per record: from {low:,.0f} to {high:,.0f}, median {median:,.0f}"
    return f'<svg viewBox="0 0 240 92" role="img" aria-label="{escape(label)}">{body}</svg>'


def records_over_time(points: Sequence[tuple[float, int]]) -> str:
    """Records committed over seconds, as a step line: all records of a part are committed at once."""
    if len(points) < 2:
        return ""
    ticks = _ticks(points[-1][1])
    last = points[-1][0] or 1.0
    path = f"M{LEFT} {_y(0, ticks[-1]):.1f}"
    for seconds, count in points:
        path += f"H{_scale(seconds, 0, last, LEFT, WIDTH - 12):.1f}V{_y(count, ticks[-1]):.1f}"
    body = _grid(ticks, "{:,g}") + f'<path d="{path}" fill="none" stroke="var(--tuned)" stroke-width="2.5"/>'
    body += _text(LEFT, HEIGHT - 8, "start") + _text(WIDTH - 12, HEIGHT - 8, duration(last), "end")
    return _svg(f"{points[-1][1]:,} records committed within {duration(last)}", HEIGHT, body)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`; tenths below ten seconds."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _hue(number: int) -> int:
    """The number of the page's part colour (1 to 6) for the stage with this number."""
    return (number - 1) % 6 + 1


def _bar(left: float, summary: Mapping[str, Any], key: str, colour: str) -> str:
    """The bar of one metric with its value above it ("–" if there is none), and a whisker for its interval if known."""
    value = summary[key] or 0.0
    top, foot = _y(max(value, 0), 1), HEIGHT - BOTTOM
    low, high = summary.get("intervals", {}).get(key, (value, value))
    body = f'<rect x="{left:.1f}" y="{top:.1f}" width="34" height="{max(foot - top, 1):.1f}" rx="3" fill="{colour}"/>'
    x = left + 17
    if high > low:
        top, bottom = _y(max(high, 0), 1), _y(max(low, 0), 1)
        body += f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}m-4 0h8M{x - 4:.1f} {top:.1f}h8" class="whisker"/>'
    return body + _text(x, top - 5, _figure(summary[key]), "middle", strong=True)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _scale(value: float, low: float, high: float, start: float, end: float) -> float:
    """`value` on an axis from `low` to `high`, as a position between `start` and `end`."""
    return start + (value - low) / ((high - low) or 1) * (end - start)


def _y(value: float, maximum: float) -> float:
    """The y position of a value on an axis from 0 to `maximum`."""
    return _scale(value, 0, maximum, HEIGHT - BOTTOM, TOP + 8)


def _ticks(maximum: float) -> list[float]:
    """Three to six round numbers from 0 to at least `maximum`."""
    power = 10.0 ** math.floor(math.log10(maximum or 1))
    step = next(power * share for share in (0.2, 0.5, 1, 2) if power * share * 5 >= maximum)
    return [step * i for i in range(math.ceil(maximum / step - 1e-9) + 1)] if maximum > 0 else [0.0, 1.0]


def _grid(ticks: Sequence[float], number_format: str) -> str:
    body = ""
    for tick in ticks:
        y = _y(tick, ticks[-1])
        body += f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        body += _text(LEFT - 8, y + 4, number_format.format(round(tick, 10)), "end")
    return body


def _text(x: float, y: float, text: str, anchor: str = "start", strong: bool = False) -> str:
    css_class = ' class="strong"' if strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css_class}>{escape(text)}</text>'


def _svg(label: str, height: int, body: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
