"""What `imageref compare` prints: comparisons → tables, and one sentence a pair that says what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from imageref_ray.evaluation.compare_runs import Comparison, Pair, headline
from imageref_ray.evaluation.comparison import SWAPS, Difference
from imageref_ray.evaluation.tables import number

LEVEL = 0.05
"""A corrected p below this is called a difference."""


def show(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print leaderboards, differences and what they mean."""
    for comparison in comparisons:
        console.print(leaderboard(comparison))
        for pair in comparison.pairs:
            console.print(differences(comparison, pair))
            console.print(conclusion(comparison, pair), highlight=False, soft_wrap=True)
    console.print(explanation(comparisons), style="dim", highlight=False, soft_wrap=True)


def leaderboard(comparison: Comparison) -> Table:
    """One row per system, the best first."""
    table = Table(title=f"{comparison.mode}: leaderboard", title_justify="left")
    table.add_column("")
    for metric in (*comparison.metrics, "events", "problems"):
        table.add_column(metric_name(metric), justify="right")
    for system in comparison.leaderboard():
        values = (number(system.estimate(metric).value, comparison.digits) for metric in comparison.metrics)
        table.add_row(system.name, *values, f"{system.scored:,}", f"{system.problems:,}")
    return table


def differences(comparison: Comparison, pair: Pair) -> Table:
    """One row per metric."""
    table = Table(title=f"{comparison.mode}: {pair.b} − {pair.a}", title_justify="left")
    table.add_column("")
    for name in ("diff.", "95 % interval", "p", "detectable", "+ / = / −"):
        table.add_column(name, justify="right")
    for one in pair.differences:
        detectable = number(one.detectable, comparison.digits)
        texts = (*difference_text(one, comparison.digits), p_text(one), detectable, counts(one))
        table.add_row(metric_name(one.metric), *texts)
    return table


def conclusion(comparison: Comparison, pair: Pair) -> str:
    """One sentence on the metric that systems are ranked by."""
    metric = headline(one.metric for one in pair.differences)
    one = next((one for one in pair.differences if one.metric == metric), None)
    if one is None or one.difference is None or one.p_holm is None:
        return f"{comparison.mode}: {pair.a} and {pair.b} have nothing in common to compare"
    difference, interval = difference_text(one, comparison.digits)
    found = f"{metric_name(metric)} {difference} ({interval}), p {p_text(one)}"
    if one.p_holm < LEVEL:
        place = "better" if one.difference > 0 else "worse"
        return f"{comparison.mode}: {pair.b} is {place} than {pair.a}: {found}"
    apart = f"{comparison.mode}: {pair.b} and {pair.a} cannot be told apart: {found}"
    if one.detectable is None or abs(one.difference) > one.detectable:
        return apart
    return f"{apart}; {one.events:,} events would show a difference of {one.detectable:.{comparison.digits}f}"


def explanation(comparisons: Sequence[Comparison]) -> str:
    """How the numbers were made."""
    tested = sum(
        one.p is not None for comparison in comparisons for pair in comparison.pairs for one in pair.differences
    )
    return (
        f"Interval: paired bootstrap over events. p: paired randomisation, {SWAPS:,} swaps, corrected for all "
        f"{tested:,} differences (Holm). Detectable: 80 % of test sets like this would find it. + / = / −: events in "
        "which the first named is better, the same, worse."
    )


def metric_name(metric: str) -> str:
    return "F1" if metric == "f1" else metric


def p_text(difference: Difference) -> str:
    """The corrected p in three digits; "–" where nothing was tested."""
    p = difference.p_holm
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def counts(one: Difference) -> str:
    """In how many events the second is better, the same, worse; "–" for F1, which no event has."""
    return "–" if one.wins is None else f"{one.wins:,} / {one.ties:,} / {one.losses:,}"


def difference_text(one: Difference, digits: int) -> tuple[str, str]:
    """The difference and its interval, with signs; "–" where there is none."""
    if one.difference is None or one.interval is None:
        return "–", "–"
    low, high = one.interval
    return f"{one.difference:+.{digits}f}", f"{low:+.{digits}f} to {high:+.{digits}f}"
