"""Looking at a verdict several times without more false alarms: how strict each look must be. Pure functions.

Whoever stops at the first of several looks that shows something is wrong more often than each look says. Alpha spending shares the
chance of error among the looks: a spending function says how much of it may be gone by the time that a share of the prompts was seen,
and the bound of each look follows from the joint distribution of the estimates at all looks until then. Intervals at these levels are
repeated confidence intervals: all of them together cover with the probability that was asked for, wherever one stops.

Sources: K. K. G. Lan, D. L. DeMets, "Discrete Sequential Boundaries for Clinical Trials", Biometrika 70 (1983); C. Jennison,
B. W. Turnbull, "Interim Analyses: The Repeated Confidence Interval Approach", Journal of the Royal Statistical Society B 51 (1989);
P. Armitage, C. K. McPherson, B. C. Rowe, "Repeated Significance Tests on Accumulating Data", the same journal, A 132 (1969), for the integral.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

NUM_NODES = 128
"""Of the quadrature between two looks. Sixteen more or less move a bound by less than 1e-9."""
FARTHEST = 9.0
"""Standard errors beyond which no look can find anything: a chance of 2e-19."""


def look_confidences(fractions: Sequence[float], confidence: float) -> tuple[float, ...]:
    """Nominal confidence of the intervals of each look, so that all of them together cover with `confidence`.

    Args:
        fractions: share of the prompts that each look has seen: rising, in (0, 1].
        confidence: in (0, 1).
    """
    from scipy.special import ndtr

    return tuple(float(1 - 2 * ndtr(-bound)) for bound in boundaries(fractions, partial(obrien_fleming, alpha=1 - confidence)))


def obrien_fleming(fraction: float, alpha: float) -> float:
    """Two-sided error that may be spent by the time that a share of the prompts was seen: next to nothing at first, most of it at the end.

    The last look is then nearly as sharp as a single one would be. Lan and DeMets (1983), with half of `alpha` for each side.

    Args:
        fraction: in (0, 1].
        alpha: two-sided, in (0, 1); all of it is spent at 1.
    """
    from scipy.special import ndtr, ndtri

    return float(4 * ndtr(ndtri(alpha / 4) / math.sqrt(fraction)))


def boundaries(fractions: Sequence[float], spent: Callable[[float], float]) -> list[float]:
    """Standard errors from the truth at which each look errs, so that until each look any one did with probability `spent` of its share.

    The estimate is taken for a mean of independent normal values, one a prompt: from look to look its sum moves by independent steps.

    Args:
        fractions: share of the prompts that each look has seen: rising, in (0, 1].
        spent: share -> two-sided error that may be spent until then: rising.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    bounds: list[float] = []
    sums_N, masses_N, before, gone = np.zeros(1), np.ones(1), 0.0, 0.0  # where the sum is while no look has erred, and with which probability
    for fraction in fractions:
        step = math.sqrt(fraction - before)

        def beyond(bound: float, fraction: float = fraction, step: float = step) -> float:
            """Probability that this look is the first that errs."""
            limit = bound * math.sqrt(fraction)
            return float(masses_N @ (ndtr((-limit - sums_N) / step) + ndtr((sums_N - limit) / step)))

        allowed = spent(fraction) - gone
        bound = brentq(lambda bound, allowed=allowed: beyond(bound) - allowed, 0.0, FARTHEST, xtol=1e-12) if beyond(FARTHEST) < allowed else FARTHEST
        bounds.append(bound)
        gone += beyond(bound)
        sums_N, masses_N = _moved(sums_N, masses_N, step, bound * math.sqrt(fraction))
        before = fraction
    return bounds


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NUM_NODES)


def _moved(sums_N: np.ndarray, masses_N: np.ndarray, step: float, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The sum after one more normal step, where it stays within the limit: (nodes, probability at each)."""
    nodes_M, weights_M = _nodes()
    moved_M = limit * nodes_M
    density_MN = np.exp(-(((moved_M[:, None] - sums_N) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
    return moved_M, limit * weights_M * (density_MN @ masses_N)
