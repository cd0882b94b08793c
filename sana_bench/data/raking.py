"""Shares that keep to given bounds and are otherwise as near to given ones as can be: raking (iterative proportional fitting) with bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_ROUNDS = 5000
SETTLED = 1e-12
"""Shares that move by less in a round have been found."""
HOPELESS = 1e12
"""Where something would have to be drawn so many times as often, bounds contradict each other, and factors grow without end."""


@dataclass(frozen=True)
class Margin:
    """A way to put all cells into K classes, and bounds on the share of each. Bounds of all classes together leave room for the sum 1."""

    labels_C: np.ndarray
    """int, the class of each cell, 0 to K - 1."""
    low_K: np.ndarray
    high_K: np.ndarray

    def shares(self, weights_C: np.ndarray) -> np.ndarray:
        """(K,) sum of the weights of each class."""
        return np.bincount(self.labels_C, weights_C, minlength=len(self.low_K))

    def fitted(self, shares_K: np.ndarray) -> np.ndarray:
        """The shares within bounds with sum 1 that are nearest in KL divergence: all times one number, then moved to their bounds.

        The sum grows with that number, linearly between the numbers at which some share meets a bound.
        """
        alive = shares_K > 0
        meeting = np.concatenate([[0.0], *(bound_K[alive] / shares_K[alive] for bound_K in (self.low_K, self.high_K))])
        meeting = np.unique(meeting[np.isfinite(meeting)])
        sums = [np.clip(number * shares_K, self.low_K, self.high_K).sum() for number in meeting]
        return np.clip(np.interp(1.0, sums, meeting) * shares_K, self.low_K, self.high_K)


def rake(prior_C: np.ndarray, margins: Sequence[Margin]) -> np.ndarray:
    """Weights within the bounds of every margin that are nearest to the prior in KL divergence, sum w log(w / prior).

    Each margin has a factor a class, and in turn sets them to what its bounds ask given the factors of the others. With equalities alone this is
    iterative proportional fitting; that a factor is set anew instead of multiplied is what Dykstra's corrections do, without which bounds would
    give some weights within them and not the nearest ones.

    Args:
        prior_C: (C,) float64 above zero, sum 1.

    Returns:
        (C,) float64 with sum 1 in the shares of the last margin. Where the bounds of several margins contradict each other those of earlier ones are
        broken: the caller must look.

    Source: Deming and Stephan 1940; Csiszar 1975 (KL projections); Dykstra 1985 and Bauschke and Lewis 2000 (bounds).
    """
    factors = [np.ones(len(margin.low_K)) for margin in margins]
    weights_C = prior_C
    for _ in range(MAX_ROUNDS):
        before_C = weights_C
        for index, margin in enumerate(margins):
            others_C = prior_C * np.prod([factor[other.labels_C] for number, (factor, other) in enumerate(zip(factors, margins, strict=True)) if number != index],
                                         axis=0)
            shares_K = margin.shares(others_C)
            factors[index] = np.divide(margin.fitted(shares_K), shares_K, out=np.zeros_like(shares_K), where=shares_K > 0)
            weights_C = others_C * factors[index][margin.labels_C]
        if np.abs(weights_C - before_C).max() < SETTLED or max(factor.max() for factor in factors) > HOPELESS:
            break
    return weights_C
