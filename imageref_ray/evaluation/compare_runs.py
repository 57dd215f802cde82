"""Finished evaluations of one test set → per mode the estimates of each, and the differences of every pair.

Each run's events.jsonl is read; runs that measured different things are refused.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.evaluation.comparison import Difference, Estimate, Values, compare, correct, estimate, with_f1
from imageref_ray.evaluation.events import Evaluation, Events, read_evaluation


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """One run in one mode. `scored` events count in its `estimates`; `problems` is how many have one."""

    name: str
    directory: Path
    events: Events
    estimates: dict[str, Estimate]
    scored: int
    problems: int

    def estimate(self, metric: str) -> Estimate:
        """Its mean and interval in a metric, which may be unknown."""
        return self.estimates.get(metric, Estimate(None, None))


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """How far system `b` is above `a`, metric by metric."""

    a: str
    b: str
    differences: tuple[Difference, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One mode: its systems in the order of the runs, and every pair of them."""

    mode: str
    systems: tuple[System, ...]
    pairs: tuple[Pair, ...]

    @property
    def digits(self) -> int:
        """Decimals for its numbers: 3 for shares, 2 for ratings, 1 for per cent."""
        values = [abs(found.value or 0.0) for system in self.systems for found in system.estimates.values()]
        return next((digits for most, digits in ((1, 3), (10, 2)) if max(values, default=0.0) <= most), 1)

    @property
    def metrics(self) -> list[str]:
        """Those that any of the systems has."""
        return list(dict.fromkeys(metric for system in self.systems for metric in system.estimates))

    def leaderboard(self) -> list[System]:
        """The systems, best first."""
        metric = headline(self.metrics)
        return sorted(self.systems, key=lambda system: -(system.estimate(metric).value or 0.0))

    def as_json(self) -> dict[str, Any]:
        """Plain values: `systems` and `pairs` with all their numbers, without the events."""
        systems = [
            {"name": one.name, "scored": one.scored, "problems": one.problems}
            | {metric: found._asdict() for metric, found in one.estimates.items()}
            for one in self.leaderboard()
        ]
        return {"systems": systems, "pairs": [dataclasses.asdict(pair) for pair in self.pairs]}


def compare_runs(directories: Sequence[Path], metrics: Sequence[str] = (), seed: int = 0) -> list[Comparison]:
    """One comparison per mode, in `metrics` (empty: all). p values are corrected over all that is returned.

    A mode that some of the runs do not have is compared among the others, one without any such metric left out. Raises
    ConfigError where a run is no finished evaluation, they measured different test sets, or none has such a metric.
    """
    evaluations = [read_evaluation(directory) for directory in directories]
    for other in evaluations[1:]:
        _check_same_test_set(evaluations[0], other)
    _check_metrics(evaluations, metrics)
    names = run_names(directories)
    found = []
    for mode in dict.fromkeys(mode for evaluation in evaluations for mode in evaluation.events):
        systems = tuple(
            _system(name, one.directory, one.events[mode], metrics, seed)
            for name, one in zip(names, evaluations, strict=True)
            if mode in one.events
        )
        pairs = tuple(_pair(a, b, metrics, seed) for a, b in itertools.combinations(systems, 2))
        if any(system.estimates for system in systems):
            found.append(Comparison(mode, systems, pairs))
    return _corrected(found)


def run_names(directories: Sequence[Path]) -> list[str]:
    """A short name for each run: its folder's, or the path where two have the same; a number tells copies apart."""
    folders = Counter(path.name for path in {path.resolve() for path in directories})
    names = [str(path) if folders[path.resolve().name] > 1 else path.resolve().name for path in directories]
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [name if count == 1 else f"{name} ({count})" for name, count in zip(names, counts, strict=True)]


def headline(metrics: Iterable[str]) -> str:
    """The metric that systems are ranked by: F1, or else the first; empty where there is none."""
    names = list(metrics)
    return "f1" if "f1" in names else next(iter(names), "")


def _system(name: str, directory: Path, events: Events, metrics: Sequence[str], seed: int) -> System:
    values = _values(events)
    estimates = {metric: found for metric, found in estimate(values, seed).items() if metric in (metrics or (metric,))}
    problems = sum(bool(event.problem) for event in events.values())
    return System(name, directory, events, estimates, sum(map(bool, values.values())), problems)


def _pair(a: System, b: System, metrics: Sequence[str], seed: int) -> Pair:
    try:
        differences = compare(_values(a.events), _values(b.events), seed)
    except ValueError as error:
        raise ConfigError(f"{a.name}, {b.name}: {error}; evaluate both with the same version") from None
    return Pair(a.name, b.name, tuple(one for one in differences if one.metric in (metrics or (one.metric,))))


def _values(events: Events) -> Values:
    return {id: event.values for id, event in events.items()}


def _check_same_test_set(one: Evaluation, other: Evaluation) -> None:
    if one.job != other.job:
        raise ConfigError(
            f"{one.directory} is a run of {one.job}, {other.directory} of {other.job}; compare runs of the same job"
        )
    keys = sorted({*one.test_set, *other.test_set})
    if different := [key for key in keys if one.test_set.get(key) != other.test_set.get(key)]:
        raise ConfigError(
            f"{one.directory} and {other.directory} measured different things (other {', '.join(different)}); "
            "compare runs over the same test set"
        )


def _check_metrics(evaluations: Sequence[Evaluation], metrics: Sequence[str]) -> None:
    events = (event for one in evaluations for mode in one.events.values() for event in mode.values())
    known = {metric for names in {tuple(event.values) for event in events} for metric in with_f1(names)}
    if unknown := [metric for metric in metrics if metric not in known]:
        raise ConfigError(f"--metric {unknown[0]}: these runs have {', '.join(sorted(known))}")


def corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """The same with `p_holm` of every difference, corrected over all of them."""
    differences = iter(correct([difference for pair in pairs for difference in pair.differences]))
    return [_take(pair, differences) for pair in pairs]


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    pairs = iter(corrected([pair for one in found for pair in one.pairs]))
    return [dataclasses.replace(one, pairs=tuple(itertools.islice(pairs, len(one.pairs)))) for one in found]


def _take(pair: Pair, differences: Iterable[Difference]) -> Pair:
    return dataclasses.replace(pair, differences=tuple(itertools.islice(differences, len(pair.differences))))
