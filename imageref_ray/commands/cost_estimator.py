"""What a few records cost → what all of them will cost: the statistics of a plan, pure and seeded.

    covariates of all N records (no model needed) ─┐
    costs of k of them, chosen at random ──────────┴─▶ totals with 95 % intervals ─▶ their errors afterwards

**Estimate.** The regression estimator of survey sampling (Cochran, *Sampling Techniques*, 3rd ed. 1977, ch. 7;
Särndal, Swensson and Wretman, *Model Assisted Survey Sampling*, 1992, ch. 6): the costs of the k are known, those of
the other m = N − k are predicted by least squares on an intercept and the covariates,

    T = Σ_sample y + Σ_rest x·β = Σ_sample (1 + a_i) y_i,      a = X (XᵀX)⁻¹ Σ_rest x.

Which covariates are used is decided by leave-one-out error, once for all figures: T is then linear in the costs, and
money is exactly the prices times the other totals.

**Interval.** With the residuals e, the leverages h, ẽ = e / (1 − h) and s² = Σ_sample (e / g)² / (k − p),

    var(T − true total) = Σ a_i² ẽ_i² + s² Σ_rest g_j²

where g is 1, or the predicted cost where costly records vary more (Valliant, Dorfman and Royall, *Finite
Population Sampling and Inference*, 2000, ch. 5). Without covariates and with g = 1 this is about N² (1 − k/N) s² / k,
the finite-population correction included; at k = N it is 0. The interval's half width is the square root of the
variance times the 95 % quantile of |t| in a wild bootstrap (Davidson and Flachaire, *The wild bootstrap, tamed at
last*, 2008): each draw gives the ẽ random signs, fits again and adds the noise of the records not measured. No draw
shows that the covariates were chosen on the same few records: the interval is widened by 1 + 2 / k for that. Simulated
coverage is 90 to 97 % from 12 records on; where costs are as skewed as a log-normal of σ = 1 and no covariate explains
them, 16 records of 300 give 87 %, because the few costly ones are easily missed.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageref_ray.batch.budget import Cost, money
from imageref_ray.core.config import PriceConfig
from imageref_ray.core.records import MARKER, Sample, Usage

Array = NDArray[np.float64]

TOKENS = tuple(f.name for f in dataclasses.fields(Usage))
FIGURES = (*TOKENS, "gpu_hours", "money")
"""What a plan estimates, in this order: the fields of `Usage`, GPU-hours, and money in the price table's currency."""

MIN_MEASURED = 5
"""Fewer measured records do not show how much costs vary."""

MAX_LEVERAGE = 0.9
"""A design in which one record nearly determines a parameter is not used."""

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A predicted total and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Totals for all `records` by name of `FIGURES`, from `measured` of them and that many `covariates`."""

    records: int
    measured: int
    covariates: int
    figures: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Deviation:
    """A figure's error: (estimate − truth) / truth, and whether its interval contains the truth."""

    relative: float
    inside: bool


@dataclass(frozen=True)
class _Fit:
    """A design: X of the sample (`x`, k × p) and of the `rest` (m × p), and `solve` = (XᵀX)⁻¹ Xᵀ (p × k)."""

    x: Array
    rest: Array
    solve: Array

    @cached_property
    def parameters(self) -> int:
        return int(self.x.shape[1])

    @cached_property
    def leverage(self) -> Array:
        return np.asarray((self.x * self.solve.T).sum(axis=1))

    @cached_property
    def weights(self) -> Array:
        """a: how much each measured record counts for beyond itself."""
        return np.asarray(self.rest.sum(axis=0) @ self.solve)

    def residuals(self, y: Array) -> Array:
        """Of costs (k × figures) or (k,)."""
        return np.asarray(y - self.x @ (self.solve @ y))


def covariates(sample: Sample) -> tuple[float, float, float]:
    """What is known of a record before any model runs: its images, the characters of its texts, and the characters that
    captioning reads (each document's text once per image). An estimate adds them in this order."""
    lengths = [len(d.title) + len(MARKER.sub("", d.text)) for d in sample.documents]
    around = sum(length * len(d.images) for length, d in zip(lengths, sample.documents, strict=True))
    return float(len(sample.images)), float(len(sample.instruction) + sum(lengths)), float(around)


def totals(costs: Mapping[str, Cost], prices: PriceConfig, gpus: float) -> dict[str, float]:
    """The figures summed over known costs: the truth at the end of a build. `gpus` are GPUs per engine."""
    summed = _figures([costs[name] for name in sorted(costs)], prices, gpus).sum(axis=0)
    return dict(zip(FIGURES, map(float, summed), strict=True))


def estimate(
    population: Mapping[str, tuple[float, ...]],
    costs: Mapping[str, Cost],
    prices: PriceConfig,
    gpus: float = 0.0,
    seed: int = 0,
) -> Plan:
    """Predict the totals of all records from the measured ones.

    `population`: id → covariates, one tuple length for all. `costs`: id → cost of a random sample of them. `gpus`: GPUs
    per engine. Raises ValueError for too few or unknown records, and for covariates that are not a table of finite
    numbers.
    """
    order = sorted(costs)
    table = _covariate_table(population, costs)
    rows = {name: row for row, name in enumerate(sorted(population))}
    sampled = np.array([rows[name] for name in order])
    y = _figures([costs[name] for name in order], prices, gpus)
    known = y.sum(axis=0)
    if len(order) == len(population):
        exact = {name: Estimate(v, v, v) for name, v in zip(FIGURES, map(float, known), strict=True)}
        return Plan(len(population), len(order), 0, exact)
    fit = _best_fit(table, sampled, y)
    value = known + fit.weights @ y
    half = _half_widths(fit, y, seed)
    figures = {
        name: Estimate(*(float(max(number, floor)) for number in (v, v - h, v + h)))
        for name, v, h, floor in zip(FIGURES, value, half, known, strict=True)  # no total is below what was spent
    }
    return Plan(len(population), len(order), fit.parameters - 1, figures)


def compare(plan: Plan, truth: Mapping[str, float]) -> dict[str, Deviation]:
    """The error of every figure against `truth` (see `totals`); infinite where only the truth is 0."""
    return {name: _deviation(figure, truth[name]) for name, figure in plan.figures.items()}


def _deviation(figure: Estimate, truth: float) -> Deviation:
    tolerance = 1e-9 * abs(truth)
    inside = figure.low - tolerance <= truth <= figure.high + tolerance
    if truth == 0:
        return Deviation(math.inf if figure.value else 0.0, inside)
    return Deviation((figure.value - truth) / truth, inside)


def _covariate_table(population: Mapping[str, tuple[float, ...]], costs: Mapping[str, Cost]) -> Array:
    """The covariates of all records by sorted id (N × c), centred and scaled. Raises ValueError for unusable input."""
    if unknown := sorted(set(costs) - set(population)):
        raise ValueError(f"{len(unknown)} costs, e.g. of {unknown[0]!r}, are not of the population; give only its ids")
    if len(costs) < min(MIN_MEASURED, len(population)) or not costs:
        raise ValueError(f"{len(costs)} of {len(population)} records were measured; measure at least {MIN_MEASURED}")
    widths = {len(row) for row in population.values()}
    if len(widths) > 1:
        raise ValueError(f"covariates have {sorted(widths)} numbers per record; give every record the same ones")
    table = np.array([population[name] for name in sorted(population)], dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("a covariate is not a finite number; fix it or leave its record out")
    spread = table.std(axis=0)
    return np.asarray((table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _figures(costs: list[Cost], prices: PriceConfig, gpus: float) -> Array:
    """The costs as a k × figures array."""
    y = np.zeros((len(costs), len(FIGURES)))
    for row, cost in zip(y, costs, strict=True):
        hours = cost.seconds * gpus / 3600
        row[:] = *(getattr(cost.usage, name) for name in TOKENS), hours, money(cost.usage, hours, prices)
    return y


def _best_fit(table: Array, sampled: Any, y: Array) -> _Fit:
    """The design with the least leave-one-out error, each figure's taken relative to its error without covariates."""
    columns = range(table.shape[1])
    subsets = [list(chosen) for count in range(len(columns) + 1) for chosen in itertools.combinations(columns, count)]
    designs = [np.hstack([np.ones((len(table), 1)), table[:, subset]]) for subset in subsets]
    fits = [fit for design in designs if (fit := _fit(design, sampled))]
    errors = [((fit.residuals(y) / (1 - fit.leverage)[:, None]) ** 2).sum(axis=0) for fit in fits]
    base = np.where(errors[0] > 0, errors[0], 1.0)
    # Each covariate costs a degree of freedom, and the least of several errors is optimistic: hence the penalty.
    penalised = [float((error / base).sum()) * 1.1**fit.parameters for fit, error in zip(fits, errors, strict=True)]
    return fits[penalised.index(min(penalised))]


def _fit(design: Array, sampled: Any) -> _Fit | None:
    """None where the sample cannot determine the design's parameters: too few records, or one has all the leverage."""
    x = design[sampled]
    k, p = x.shape
    if (k < 3 * p and p > 1) or np.linalg.matrix_rank(x) < p:
        return None
    fit = _Fit(x, np.delete(design, sampled, axis=0), np.linalg.pinv(x))
    return fit if fit.leverage.max() <= MAX_LEVERAGE else None


def _half_widths(fit: _Fit, y: Array, seed: int) -> Array:
    """Half the interval of every figure, by the wild bootstrap of |T* − T| / se*."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(DRAWS, len(y)))
    noise = rng.standard_normal(DRAWS)
    widths = np.zeros(y.shape[1])
    for column, (cost, residuals) in enumerate(zip(y.T, fit.residuals(y).T, strict=True)):
        if abs(residuals).max() <= 1e-9 * abs(cost).max():
            continue
        size, rest = _sizes(fit, cost, residuals)
        of_fit, of_rest = _variances(fit, residuals[None, :], size, rest)
        drawn = signs * (residuals / (1 - fit.leverage))
        error = drawn @ fit.weights - np.sqrt(of_rest) * noise
        standard_error = np.sqrt(sum(_variances(fit, fit.residuals(drawn.T).T, size, rest)))
        ratio = np.abs(error) / np.where(standard_error > 0, standard_error, np.inf)
        widths[column] = (1 + 2 / len(y)) * np.quantile(ratio, LEVEL) * math.sqrt(of_fit[0] + of_rest[0])
    return widths


def _sizes(fit: _Fit, cost: Array, residuals: Array) -> tuple[Array, Array]:
    """The g of the sample and of the rest: all 1, or the predicted costs where these explain the residuals better."""
    even = np.ones(len(cost)), np.ones(len(fit.rest))
    beta = fit.solve @ cost
    floor = cost.mean() / 10
    if floor <= 0:
        return even
    size, rest = np.maximum(fit.x @ beta, floor), np.maximum(fit.rest @ beta, floor)
    # Normal log-likelihoods, each with its best s.
    likelier = np.log(np.mean((residuals / size) ** 2)) + 2 * np.log(size).mean() < np.log(np.mean(residuals**2))
    return (size, rest) if likelier else even


def _variances(fit: _Fit, residuals: Array, size: Array, rest: Array) -> tuple[Array, Array]:
    """The two terms of the variance, for each row of residuals (draws × k)."""
    of_fit = ((fit.weights * residuals / (1 - fit.leverage)) ** 2).sum(axis=1)
    scale = ((residuals / size) ** 2).sum(axis=1) / (residuals.shape[1] - fit.parameters)
    return of_fit, scale * (rest**2).sum()
