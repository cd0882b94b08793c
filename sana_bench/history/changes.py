"""Where a line of values changed for good, beyond chance. Pure functions on numbers; every random draw is seeded.

A change is a step of the mean. Which step is most likely is asked of ruptures (least squares, weighted). Whether it is more than chance is
asked of the runs themselves: they are put in random order, and the best step of every line is looked for again. This needs no assumption
about the noise between runs (a fine-tune's seed, the machine, few prompts), which the intervals of single results only partly hold, since
all runs draw the same prompts from the same noise. All lines are rearranged alike and the most extreme of them counts, so that one true
statement is made about all metrics together (Westfall and Young's step-down minP), however much they depend on one another.

The known standard errors decide how much a run weighs, and how small a spread between runs is believed.

Letters: S lines, N runs of a line, B random orders.

Source: P. Westfall, S. Young, "Resampling-Based Multiple Testing" (1993), algorithm 2.8; binary segmentation: C. Truong, L. Oudre, N. Vayatis,
"Selective review of offline change point detection methods", Signal Processing 167 (2020), section 5.2.2; a floor of the spread: V. Tusher,
R. Tibshirani, G. Chu, "Significance analysis of microarrays", PNAS 98 (2001).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from sana_bench.history.rows import HistoryRow, by_run

ALPHA = 0.05
"""Chance that a history in which nothing ever changed shows any change, over all its metrics."""
NUM_ORDERS = 4999
MIN_SIDE = 3
"""A change lasts for at least so many runs, or it is an odd run."""
LEAST_SPREAD = 0.25
"""Runs are not believed to vary by less than this share of a result's standard error: a rate of few images stands still and then jumps by one."""
TIES = 1e-9
"""Relative: the same arrangement summed up in another order is the same."""


@dataclass(frozen=True)
class Line:
    """One metric over runs that differ in their images."""

    runs: tuple[str, ...]
    """Names of N runs; lines that share a run are rearranged alike."""
    values_N: np.ndarray
    """(N,) float64, finite, in the order of time."""
    errors_N: np.ndarray
    """(N,) float64 standard errors, nan where unknown."""
    rows_N: tuple[tuple[HistoryRow, ...], ...]
    """Of each run."""

    @classmethod
    def of(cls, rows: Sequence[HistoryRow]) -> Line:
        """A run counts once, with the mean of its fine-tunes; so do images that were measured twice."""
        fresh = by_run(list({row.samples_digest: row for row in reversed(rows)}.values())[::-1])
        values = [np.mean([row.value for row in group]) for group in fresh]
        errors = [math.sqrt(np.mean([_standard_error(row) ** 2 for row in group]) / len(group)) for group in fresh]
        return cls(tuple(group[0].run_name for group in fresh), np.array(values, dtype=np.float64), np.array(errors), tuple(fresh))


@dataclass(frozen=True)
class Change:
    """A step, from one run to the next."""

    before: HistoryRow
    """The last run of before."""
    after: HistoryRow
    """The first run of after."""
    mean_before: float
    mean_after: float
    p_adjusted: float
    """Of no change, over all metrics together."""

    @property
    def difference(self) -> float:
        return self.mean_after - self.mean_before

    @property
    def direction(self) -> Literal["better", "worse"]:
        return "better" if (self.difference > 0) == self.after.higher_is_better else "worse"

    @property
    def budgets(self) -> float | None:
        """Size in budgets of the metric; None for one without."""
        return abs(self.difference) / self.after.budget if self.after.budget else None


def _standard_error(row: HistoryRow) -> float:
    """nan where there is no interval."""
    if row.ci_low is None or row.ci_high is None:
        return math.nan
    return (row.ci_high - row.ci_low) / (2 * NormalDist().inv_cdf((1 + row.confidence) / 2))


class Found(NamedTuple):
    changes: tuple[Change, ...]
    too_few: str
    """Why none was looked for; empty where it was."""


class _Span(NamedTuple):
    """A stretch of a line within which a change is looked for."""

    line: int
    start: int
    end: int


def fewest_runs(alpha: float = ALPHA) -> int:
    """Runs below which no step can be told from chance: a split in halves is the most telling, and comes up in 2 of so many ways to split."""
    number = 2 * MIN_SIDE
    while 2 / math.comb(number, number // 2) > alpha:
        number += 1
    return number


def find_changes(lines: Sequence[Line], *, alpha: float = ALPHA, num_orders: int = NUM_ORDERS, seed: int = 0) -> list[Found]:
    """Changes of every line, in the order of time.

    Each round looks for one step in each stretch; a stretch with one is cut there, and both parts are looked at in the next round. In a
    history without any change a change is shown with a chance of at most `alpha`, over all lines; each further round, which only true changes
    bring about, adds as much.

    Args:
        lines: Any lengths.
        alpha: In (0, 1).
        num_orders: Random orders; more make p-values steadier.
    """
    rng, least = np.random.default_rng(seed), fewest_runs(alpha)
    steps: list[list[tuple[int, float]]] = [[] for _ in lines]
    spans = [_Span(at, 0, len(line.runs)) for at, line in enumerate(lines) if len(line.runs) >= least]
    while spans:
        splits = [_best_split(_part(lines, span)) for span in spans]
        p_values = _adjusted([_part(lines, span) for span in spans], splits, num_orders, rng)
        cut = [(span, span.start + split, p) for span, split, p in zip(spans, splits, p_values, strict=True) if p <= alpha]
        for span, at, p in cut:
            steps[span.line].append((at, p))
        halves = [half for span, at, _ in cut for half in (span._replace(end=at), span._replace(start=at))]
        spans = [half for half in halves if half.end - half.start >= least]
    return [Found(_changes(line, sorted(found)), "" if len(line.runs) >= least else f"too few runs: {len(line.runs)} of {least} at least")
            for line, found in zip(lines, steps, strict=True)]


def _part(lines: Sequence[Line], span: _Span) -> Line:
    line, within = lines[span.line], slice(span.start, span.end)
    return Line(line.runs[within], line.values_N[within], line.errors_N[within], line.rows_N[within])


def _changes(line: Line, found: Sequence[tuple[int, float]]) -> tuple[Change, ...]:
    """Means are of the stretches between neighbouring changes."""
    edges, weights_N = [0, *(at for at, _ in found), len(line.runs)], _weights(line)
    means = [float(np.average(line.values_N[start:end], weights=weights_N[start:end])) for start, end in zip(edges, edges[1:], strict=False)]
    return tuple(Change(line.rows_N[at - 1][-1], line.rows_N[at][0], before, after, p)
                 for (at, p), before, after in zip(found, means, means[1:], strict=False))


def _known_errors(line: Line) -> np.ndarray:
    """(N,) standard errors; an unknown one is taken to be as large as the others."""
    known = line.errors_N[~np.isnan(line.errors_N)]
    return np.where(np.isnan(line.errors_N), np.median(known) if len(known) else 0.0, line.errors_N)


def _weights(line: Line) -> np.ndarray:
    """(N,) with mean 1: the inverse of a result's own variance and that between results, so that an interval without width does not rule."""
    variances_N = _known_errors(line) ** 2 + line.values_N.var()
    if not variances_N.all():
        return np.ones(len(variances_N))
    inverse_N = 1 / variances_N
    return inverse_N / inverse_N.mean()


def _best_split(line: Line) -> int:
    """Where to cut in two, by weighted least squares: the regression of sqrt(w) y on sqrt(w) is the weighted mean."""
    import ruptures

    roots_N = np.sqrt(_weights(line))
    scale = np.abs(line.values_N).max() or 1.0
    signal = np.column_stack([line.values_N / scale * roots_N, roots_N])
    return int(ruptures.Binseg(model="linear", min_size=MIN_SIDE, jump=1).fit(signal).predict(n_bkps=1)[0])


def _adjusted(parts: Sequence[Line], splits: Sequence[int], num_orders: int, rng: np.random.Generator) -> np.ndarray:
    """(S,) p-values of the best step of each part, adjusted over all parts."""
    runs = sorted({run for part in parts for run in part.runs})
    place, keys_BR = {run: at for at, run in enumerate(runs)}, rng.random((num_orders, len(runs)))
    orders: dict[tuple[str, ...], np.ndarray] = {}
    observed_S, chance_SB = np.empty(len(parts)), np.empty((len(parts), num_orders))
    for at, (part, split) in enumerate(zip(parts, splits, strict=True)):
        if part.runs not in orders:
            orders[part.runs] = np.argsort(keys_BR[:, [place[run] for run in part.runs]], axis=1)
        observed_S[at] = _surprise(part, np.arange(len(part.runs))[None], split)[0]
        chance_SB[at] = _surprise(part, orders[part.runs])
    return _step_down(observed_S, chance_SB)


def _step_down(observed_S: np.ndarray, chance_SB: np.ndarray) -> np.ndarray:
    """Westfall and Young's step-down minP: small is extreme."""
    by_size = np.argsort(observed_S, kind="stable")
    least_SB = np.minimum.accumulate(chance_SB[by_size][::-1], axis=0)[::-1]
    as_extreme_S = (least_SB <= observed_S[by_size, None] * (1 + TIES)).sum(axis=1)
    p_values = np.empty(len(observed_S))
    p_values[by_size] = np.maximum.accumulate((1 + as_extreme_S) / (1 + chance_SB.shape[1]))
    return p_values


def _surprise(line: Line, orders_BN: np.ndarray, split: int | None = None) -> np.ndarray:
    """(B,) p-value of Student's t between both sides of a step, as if nobody had looked for the step; it puts lines of any length on one scale.

    Args:
        orders_BN: (B, N) orders of the runs.
        split: runs before the step; None takes the best.
    """
    from scipy.special import stdtr

    weights_N, number = _weights(line), len(line.runs)
    centred_N = line.values_N - np.average(line.values_N, weights=weights_N)
    total = float((weights_N * centred_N**2).sum())
    if total <= (TIES * np.abs(line.values_N).max()) ** 2 * number:  # nothing but rounding
        return np.ones(len(orders_BN))
    splits = np.arange(MIN_SIDE, number - MIN_SIDE + 1) if split is None else np.array([split])
    weight_BK = weights_N[orders_BN].cumsum(axis=1)[:, splits - 1]
    sum_BK = (weights_N * centred_N)[orders_BN].cumsum(axis=1)[:, splits - 1]
    between_B = (sum_BK**2 * number / (weight_BK * (number - weight_BK))).max(axis=1)
    least = LEAST_SPREAD**2 * float((weights_N * _known_errors(line) ** 2).mean())
    variance_B = np.maximum(np.maximum(total - between_B, TIES * total) / (number - 2), least)
    return 2 * stdtr(number - 2, -np.sqrt(between_B / variance_B))
