"""Small charts as inline SVG: numbers in, markup out; colours come from the page's CSS variables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

METRIC_NAMES = {"f1": "F1", "precision": "Precision", "recall_3": "Recall 3", "recall_1": "Recall 1", "score": "Score"}
"""Metric key → its displayed name, in the report's order."""

Points = Sequence[tuple[float, float]]
"""(step, value), in the order of the steps."""

MAX_POINTS = 400
"""Points of a line that are drawn: of more, the means of neighbours."""

MIN_SMOOTHED = 30
"""A moving average over fewer points would only lag behind."""

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 520, 260, 42, 28, 14
"""Size of a chart and its margins, in SVG units."""


def loss_curve(points: Points, marks: Sequence[float] = ()) -> str:
    """Training loss over steps: the logged values as a thin line, their moving average as a thick one.

    `marks`: steps with a dashed line, from which a training was resumed.
    """
    points = _thinned(points)
    if len(points) < 2:
        return ""
    mean, smooth, kept = points[0][1], [], 0.7 if len(points) >= MIN_SMOOTHED else 0.0
    for step, loss in points:
        mean = kept * mean + (1 - kept) * loss
        smooth.append((step, mean))
    ticks = _ticks(max(loss for _, loss in points))
    body = _grid(ticks, "{:g}") + _steps(points[0][0], points[-1][0], marks)
    body += _polyline(points, points, ticks[-1], 'stroke="var(--tuned)" stroke-opacity=".35" stroke-width="1.2"')
    body += _polyline(smooth, points, ticks[-1], 'stroke="var(--tuned)" stroke-width="2.5"')
    return _svg(f"Training loss from {points[0][1]:.2f} to {points[-1][1]:.2f}", HEIGHT, body)


def curves(series: Mapping[str, Points], name: str, marks: Sequence[float] = ()) -> str:
    """One line per series over steps, in the colours of `key_number`; the line of a series shows its name."""
    thin = {label: _thinned(points) for label, points in series.items() if len(points) > 1}
    if not thin:
        return ""
    every = [point for points in thin.values() for point in points]
    span = sorted(every)
    ticks = _ticks(max(value for _, value in every))
    body = _grid(ticks, "{:g}" if ticks[-1] >= 0.01 else "{:.0e}") + _steps(span[0][0], span[-1][0], marks)
    for number, (label, points) in enumerate(thin.items(), 1):
        style = f'stroke="var(--p{key_number(number)})" stroke-width="2"' + ' stroke-dasharray="5 3"' * (number > 6)
        body += _polyline(points, span, ticks[-1], style, label)
    last = "; ".join(f"{label} {points[-1][1]:.4g}" for label, points in thin.items())
    return _svg(f"{name}: {last}", HEIGHT, body)


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


def interval(value: float | None, bounds: tuple[float, float] | None, low: float, high: float) -> str:
    """A dot for a value on a scale from `low` to `high`, with a line for its interval: as small as a table's cell."""
    if value is None:
        return ""
    dot, zero = _scale(value, low, high, 6, 134), _scale(0, low, high, 6, 134)
    body = f'<path d="M6 12H134" class="grid"/><path d="M{zero:.1f} 6V18" class="grid"/>'
    if bounds:
        start, end = (_scale(bound, low, high, 6, 134) for bound in bounds)
        body += f'<path d="M{start:.1f} 12H{end:.1f}" stroke="var(--tuned)" stroke-width="2.5"/>'
    body += f'<circle cx="{dot:.1f}" cy="12" r="4.5" fill="var(--tuned)"/>'
    return f'<svg viewBox="0 0 140 24" aria-hidden="true">{body}</svg>'


def time_bar(stages: Sequence[tuple[str, float]]) -> str:
    """One horizontal bar with a segment per stage, as long as its time, numbered as in the list below it."""
    total = sum(seconds for _, seconds in stages) or 1.0
    body, start = "", 0.0
    for number, (name, seconds) in enumerate(stages, 1):
        width = seconds / total * 1080
        body += f'<rect x="{start:.1f}" y="0" width="{max(width - 2, 1):.1f}" height="34" rx="3" '
        body += f'class="part{key_number(number)}"><title>{escape(name)}: {duration(seconds)}</title></rect>'
        if width > 24:
            body += f'<text x="{start + width / 2 - 1:.1f}" y="22" text-anchor="middle" class="onpart">{number}</text>'
        start += width
    label = ", ".join(f"{name} {duration(seconds)}" for name, seconds in stages)
    return f'<svg viewBox="0 0 1080 34" class="time" role="img" aria-label="{escape(label)}">{body}</svg>'


def histogram(
    values: Sequence[float], name: str, per: str = "record", digits: int = 0, limit: float | None = None
) -> str:
    """A histogram of a value per record: up to 24 bars from the least to the greatest, a dashed line at the median.

    With a `limit`, the bars reach to it, and a line stands there.
    """
    if not values:
        return ""
    low, high, median = min(values), max(*values, limit or 0), statistics.median(values)
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
    first, last, middle, most = (f"{value:,.{digits}f}" for value in (low, high, median, max(values)))
    body += _text(0, 86, first) + (_text(240, 86, last, "end") if high > low else "")
    label = f"{name} per {per}: from {first} to {most}, median {middle}"
    if limit is not None:
        x = _scale(limit, low, high, 0, 240) if high > low else 240
        body += f'<path d="M{x:.1f} 2V66" stroke="var(--wrong)" stroke-width="2"/>'
        label += f", limit {limit:,.{digits}f}"
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


def key_number(number: int) -> int:
    """The number of the page's part colour (1 to 6) for the stage or line with this number, from 1."""
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
        body += _text(LEFT - 8, y + 4, number_format.format(round(tick, 10)) if tick else "0", "end")
    return body


def _text(x: float, y: float, text: str, anchor: str = "start", strong: bool = False) -> str:
    css_class = ' class="strong"' if strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css_class}>{escape(text)}</text>'


def _thinned(points: Points) -> Points:
    size = math.ceil(len(points) / MAX_POINTS)
    if size < 2:
        return points
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], statistics.fmean(value for _, value in group)) for group in groups]


def _steps(first: float, last: float, marks: Sequence[float]) -> str:
    """The axis of steps, with a dashed line at every mark."""
    body = "".join(
        f'<path d="M{_scale(mark, first, last, LEFT, WIDTH - 12):.1f} {TOP}V{HEIGHT - BOTTOM}" class="whisker" '
        'stroke-dasharray="2 4"/>'
        for mark in marks
        if first <= mark <= last
    )
    return body + _text(LEFT, HEIGHT - 8, f"step {first:g}") + _text(WIDTH - 12, HEIGHT - 8, f"step {last:g}", "end")


def _polyline(points: Points, span: Points, top: float, style: str, name: str = "") -> str:
    """`span`: points from the first to the last step of the axis."""
    first, last = span[0][0], span[-1][0]
    places = " ".join(
        f"{_scale(step, first, last, LEFT, WIDTH - 12):.1f},{_y(max(value, 0), top):.1f}" for step, value in points
    )
    title = f"<title>{escape(name)}</title>" if name else ""
    return f'<polyline points="{places}" fill="none" {style}>{title}</polyline>'


def _svg(label: str, height: int, body: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
