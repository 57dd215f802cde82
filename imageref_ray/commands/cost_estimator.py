"""What a few records cost → what all of them will cost: the statistics of a plan, pure and seeded.

    covariates of all N records (no model needed) ─┐
    costs of k of them, chosen at random ──────────┴─▶ totals with 95 % intervals ─▶ their errors afterwards

**Parts.** A record's cost has two parts with laws of their own, each a `Part` here: what is asked for it alone, and the
requests that it shares with others (captions of a document that several samples use), which cost only the first one.
The second part's covariates count what nobody has asked for before: among the k as they were measured, then, for the
total, among those done, the k, and the rest, in this order. So a total knows of every repetition.

**Estimate.** Of each part the regression estimator of survey sampling (Cochran, *Sampling Techniques*, 3rd ed. 1977,
ch. 7; Särndal, Swensson and Wretman, *Model Assisted Survey Sampling*, 1992, ch. 6): the costs of the k are known,
those of the other m = N − k are predicted by least squares, on an intercept and covariates for the first part, through
the origin for the second,

    T = Σ_sample y + Σ_rest x·β = Σ_sample (1 + a_i) y_i,      a = X (XᵀX)⁻¹ Σ_rest x.

Which covariates are used is decided by leave-one-out error, once for all figures: T is then linear in the costs, and
money is exactly the prices times the other totals.

**Interval.** With the residuals e, the leverages h, ẽ = e / (1 − h) and s² = Σ_sample (e / g)² / (k − p),

    var(T − true total) = Σ_i (Σ_parts a_i ẽ_i)² + Σ_parts s² Σ_rest g_j²

where g is 1, or the predicted cost where costly records vary more (Valliant, Dorfman and Royall, *Finite
Population Sampling and Inference*, 2000, ch. 5). Without covariates and with g = 1 this is about N² (1 − k/N) s² / k,
the finite-population correction included; at k = N it is 0. The interval's half width is the square root of the
variance times the 95 % quantile of |t| in a wild bootstrap (Davidson and Flachaire, *The wild bootstrap, tamed at
last*, 2008), or Student's if that is more: each draw gives every record's ẽ a random sign, fits again and adds the
noise of the rest. No draw shows that the covariates were chosen on the same few records: hence a factor of 1 + 2 / k.
Images that nobody opened may be unusable: picture_losses.py takes that from the totals and adds it to the intervals.
`benchmarks/plan.py` counts how often the truth is inside on real pages.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # type: ignore[import-untyped]

from imageref_ray.batch.budget import Cost, money
from imageref_ray.commands.picture_losses import NONE, Loss, with_losses
from imageref_ray.core.config import PriceConfig
from imageref_ray.core.records import Usage

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
    """Totals, by name of `FIGURES`, for the `records` that are left to do, from `measured` of them and that many
    `covariates`.

    Of the source's `total` records `done` have an outcome already, which cost `before`, and `left_out` will have none:
    they have too many images, or none that can be used.
    """

    records: int
    measured: int
    covariates: int
    figures: dict[str, Estimate]
    total: int = 0
    done: int = 0
    left_out: int = 0
    before: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One part of the costs. `x`: covariates of the measured records, as they were measured (k × c); `cost`: theirs, in
    the same order. `due`: what of them counts in the total (1 or 0 each), and `due_x` with which covariates. `rest`:
    covariates of the records that are neither measured nor done (m × c), `kinds`: theirs, by which they lose images
    (none where all were opened). With an `intercept` each costs something even where all covariates are 0."""

    x: Array
    cost: Sequence[Cost]
    due: Array
    due_x: Array
    rest: Array
    intercept: bool = True
    kinds: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Deviation:
    """A figure's error: (estimate − truth) / truth, and whether its interval contains the truth."""

    relative: float
    inside: bool


@dataclass(frozen=True)
class _Fit:
    """A design: X of the sample (`x`, k × p) and of the `rest` (m × p), `solve` = (XᵀX)⁻¹ Xᵀ (p × k), and `total`, the
    sum of what is to be predicted (p)."""

    x: Array
    rest: Array
    solve: Array
    total: Array

    @cached_property
    def parameters(self) -> int:
        return int(self.x.shape[1])

    @cached_property
    def leverage(self) -> Array:
        return np.asarray(np.minimum((self.x * self.solve.T).sum(axis=1), MAX_LEVERAGE))

    @cached_property
    def weights(self) -> Array:
        """a: how much each measured record counts for beyond itself."""
        return np.asarray(self.total @ self.solve)

    def residuals(self, y: Array) -> Array:
        """Of costs (k × figures) or (k,)."""
        return np.asarray(y - self.x @ (self.solve @ y))


def totals(costs: Mapping[str, Cost], prices: PriceConfig, gpus: float) -> dict[str, float]:
    """The figures summed over known costs: the truth at the end of a build. `gpus` are GPUs per engine."""
    summed = _figures([costs[name] for name in sorted(costs)], prices, gpus).sum(axis=0)
    return dict(zip(FIGURES, map(float, summed), strict=True))


def estimate(
    parts: Sequence[Part], prices: PriceConfig, gpus: float = 0.0, seed: int = 0, losses: Mapping[str, Loss] = NONE
) -> Plan:
    """Predict the totals of all records from the measured ones. `gpus`: GPUs per engine; `losses`: by kind of record.

    Raises ValueError for too few records, and for covariates that are not finite numbers.
    """
    measured, rest = len(parts[0].cost), len(parts[0].rest)
    left = rest + int(parts[0].due.sum())
    if measured < min(MIN_MEASURED, measured + rest) or not measured:
        raise ValueError(f"{measured} of {left} records were measured; measure at least {MIN_MEASURED}")
    if not all(np.isfinite(table).all() for part in parts for table in (part.x, part.rest)):
        raise ValueError("a covariate is not a finite number; fix it or leave its record out")
    costs = [_figures(part.cost, prices, gpus) for part in parts]
    fits = [_best_fit(part, y) for part, y in zip(parts, costs, strict=True)]
    value, spent = np.zeros(len(FIGURES)), np.zeros(len(FIGURES))
    for part, fit, y in zip(parts, fits, costs, strict=True):
        value += part.due @ y + fit.weights @ y
        spent += (part.due * (part.x == part.due_x).all(axis=1)) @ y
    half = _half_widths(fits, costs, seed)
    predicted = {kind: _predicted(parts, fits, costs, kind) for kind in losses}
    bounds = zip(FIGURES, *with_losses(value, half, predicted, losses), spent, strict=True)
    figures = {  # no total is below what was spent
        name: Estimate(*(float(max(number, floor)) for number in numbers)) for name, *numbers, floor in bounds
    }
    covariates = sum(fit.parameters - part.intercept for part, fit in zip(parts, fits, strict=True))
    return Plan(left, measured, covariates, figures)


def _predicted(parts: Sequence[Part], fits: Sequence[_Fit], costs: Sequence[Array], kind: str) -> Array:
    """The predicted costs of the records of a kind that are neither measured nor done, summed (figures)."""
    summed = np.zeros(len(FIGURES))
    for part, fit, y in zip(parts, fits, costs, strict=True):
        chosen = np.array([one == kind for one in part.kinds], dtype=bool)
        summed += fit.rest[chosen].sum(axis=0) @ (fit.solve @ y) if chosen.any() else 0.0
    return summed


def compare(plan: Plan, truth: Mapping[str, float]) -> dict[str, Deviation]:
    """The error of every figure against `truth` (see `totals`); infinite where only the truth is 0."""
    return {name: _deviation(figure, truth[name]) for name, figure in plan.figures.items()}


def _deviation(figure: Estimate, truth: float) -> Deviation:
    tolerance = 1e-9 * abs(truth)
    inside = figure.low - tolerance <= truth <= figure.high + tolerance
    if truth == 0:
        return Deviation(math.inf if figure.value else 0.0, inside)
    return Deviation((figure.value - truth) / truth, inside)


def _figures(costs: Sequence[Cost], prices: PriceConfig, gpus: float) -> Array:
    """The costs as a k × figures array."""
    y = np.zeros((len(costs), len(FIGURES)))
    for row, cost in zip(y, costs, strict=True):
        hours = cost.seconds * gpus / 3600
        row[:] = *(getattr(cost.usage, name) for name in TOKENS), hours, money(cost.usage, hours, prices)
    return y


def _best_fit(part: Part, y: Array) -> _Fit:
    """The design with the least leave-one-out error, each figure's taken relative to its error in the simplest one."""
    columns = range(part.x.shape[1])
    subsets = [list(chosen) for count in range(len(columns) + 1) for chosen in itertools.combinations(columns, count)]
    candidates = [_fit(part, subset) for subset in subsets if subset or part.intercept]
    fits = [fit for fit in candidates if fit and _is_usable(fit)] or [fit for fit in candidates if fit][:1]
    if not fits:  # nobody measured has any of it
        nothing = np.zeros((len(part.x), 0)), np.zeros((len(part.rest), 0))
        return _Fit(*nothing, np.zeros((0, len(part.x))), np.zeros(0))
    errors = [((fit.residuals(y) / (1 - fit.leverage)[:, None]) ** 2).sum(axis=0) for fit in fits]
    base = np.where(errors[0] > 0, errors[0], 1.0)
    # Each covariate costs a degree of freedom, and the least of several errors is optimistic: hence the penalty.
    penalised = [float((error / base).sum()) * 1.1**fit.parameters for fit, error in zip(fits, errors, strict=True)]
    return fits[penalised.index(min(penalised))]


def _fit(part: Part, subset: list[int]) -> _Fit | None:
    """The design with these covariates; None where the sample cannot determine its parameters."""
    tables = [table[:, subset] for table in (part.x, part.rest, part.due_x, part.x * part.due[:, None])]
    spread = np.vstack(tables[:2]).std(axis=0)
    middle = np.vstack(tables[:2]).mean(axis=0) if part.intercept else np.zeros(len(subset))
    scale = np.where(spread > 0, spread, 1.0)
    x, rest = ((table - middle) / scale for table in tables[:2])
    correction = (tables[2] - tables[3]).sum(axis=0) / scale
    if part.intercept:
        x, rest = (np.hstack([np.ones((len(table), 1)), table]) for table in (x, rest))
        correction = np.concatenate([[0.0], correction])
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return None
    return _Fit(x, rest, np.linalg.pinv(x), rest.sum(axis=0) + correction)


def _is_usable(fit: _Fit) -> bool:
    """Whether there are enough records for so many parameters, and none has nearly all the leverage."""
    k, p = fit.x.shape
    return bool((k >= 3 * p or p == 1) and fit.leverage.max() < MAX_LEVERAGE)


def _half_widths(fits: Sequence[_Fit], costs: Sequence[Array], seed: int) -> Array:
    """Half the interval of every figure, by the wild bootstrap of |T* − T| / se*; a record has one sign."""
    rng = np.random.default_rng(seed)
    records, figures = costs[0].shape
    signs = rng.choice([-1.0, 1.0], size=(DRAWS, records))
    noise = rng.standard_normal(DRAWS)
    student = stdtrit(max(records - sum(fit.parameters for fit in fits), 1), (1 + LEVEL) / 2)
    widths = np.zeros(figures)
    for column in range(figures):
        error, drawn_fit, drawn_rest = np.zeros(DRAWS), np.zeros((DRAWS, records)), np.zeros(DRAWS)
        of_fit, of_rest = np.zeros((1, records)), 0.0
        for fit, y in zip(fits, costs, strict=True):
            cost, residuals = y[:, column], fit.residuals(y[:, column])
            if not fit.parameters or abs(residuals).max() <= 1e-9 * abs(cost).max():
                continue
            size, rest = _sizes(fit, cost, residuals)
            terms, variance = _terms(fit, residuals[None, :], size, rest)
            of_fit, of_rest = of_fit + terms, of_rest + variance[0]
            drawn = signs * (residuals / (1 - fit.leverage))
            error += drawn @ fit.weights
            terms, variance = _terms(fit, fit.residuals(drawn.T).T, size, rest)
            drawn_fit, drawn_rest = drawn_fit + terms, drawn_rest + variance
        error -= math.sqrt(of_rest) * noise
        standard_error = np.sqrt((drawn_fit**2).sum(axis=1) + drawn_rest)
        ratio = np.abs(error) / np.where(standard_error > 0, standard_error, np.inf)
        whole = math.sqrt(float((of_fit**2).sum()) + of_rest)
        widths[column] = (1 + 2 / records) * max(np.quantile(ratio, LEVEL), student) * whole
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


def _terms(fit: _Fit, residuals: Array, size: Array, rest: Array) -> tuple[Array, Array]:
    """What each record adds to a part's error (its square is of the variance), and the variance of the rest, for each
    row of residuals (draws × k)."""
    scale = ((residuals / size) ** 2).sum(axis=1) / max(residuals.shape[1] - fit.parameters, 1)
    return fit.weights * residuals / (1 - fit.leverage), scale * (rest**2).sum()
