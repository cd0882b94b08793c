"""Tests of no change for few prompts, and what many of them at once are worth. Pure functions on arrays; every random draw is seeded.

What is exchanged is always a whole prompt: under no change, which side of it is called baseline and which candidate is arbitrary, and the
images of one prompt are no independent measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from sana_bench.errors import InsufficientSamplesError
from sana_bench.statistics import cluster_sums

EXACT_PROMPTS = 20
"""Up to so many all sign patterns are counted; beyond, NUM_DRAWS random ones and the one that was seen."""
NUM_DRAWS = 9999
MOST_EXCEEDANCES, MOST_PERMUTATIONS, FEW_PERMUTATIONS = 25, 1999, 199
"""A permutation test stops where so many permutations are as extreme as what was seen: the p-value is then far from any level. The few are for what is shown
and decides nothing."""
ROUNDING = 1e-9


def sign_flip_test(differences: np.ndarray, clusters: Sequence[str], *, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference of 0, by flipping the sign of whole prompts.

    Exact up to 20 prompts: the least p-value there is 2 / 2^P. It is valid at any P where the differences of a prompt are as likely as
    their mirror image, which no change in paired samples makes true.

    Args:
        differences: (N,) float, finite, candidate minus baseline.
        clusters: N prompt ids.

    Raises:
        InsufficientSamplesError: there are no values.
        MetricError: a value is not finite.

    Source: R. A. Fisher, "The Design of Experiments" (1935), section 21; random draws as in Phipson and Smyth 2010 (arXiv 1603.05766).
    """
    sums_P, _ = cluster_sums(differences, clusters)
    seen = abs(sums_P.sum()) * (1 - ROUNDING)  # as extreme as what was seen, but for an error of addition
    if len(sums_P) <= EXACT_PROMPTS:
        return float((np.abs(_all_signed_sums(sums_P)) >= seen).mean())
    sums_R = _drawn_signs(len(sums_P), seed) @ sums_P
    return float((1 + (np.abs(sums_R) >= seen).sum()) / (1 + NUM_DRAWS))


def label_permutation_test(difference_of: Callable[[np.ndarray, np.ndarray], float], clusters: Sequence[str], *, seed: int = 0,
                           most_permutations: int = MOST_PERMUTATIONS) -> float | None:
    """Two-sided p-value of a set metric's difference of 0, by exchanging which side is which within whole prompts.

    Every image stays once in one of the two sets, so that the number of images, and with it the bias of a distance, stays what it was.
    With few prompts all exchanges are counted; else random ones are drawn until 25 are as extreme as what was seen, or `most_permutations`.

    Args:
        difference_of: ((N,), (N,)) integer positions among 2 N samples, of which N + i is the candidate's pair of the baseline's i:
            those that are taken for the baseline, and for the candidate -> candidate minus baseline.
        clusters: prompt id of each of the N pairs.

    Returns:
        None where the metric cannot be evaluated on some exchange.

    Source: J. Besag, P. Clifford, "Sequential Monte Carlo p-values", Biometrika 78 (1991).
    """
    _, membership_N = np.unique(np.asarray(clusters), return_inverse=True)
    num_pairs, num_prompts = len(membership_N), int(membership_N.max()) + 1
    own_N = np.arange(num_pairs)

    def size(exchanged_P: np.ndarray) -> float:
        moved_N = exchanged_P[membership_N] * num_pairs
        return abs(difference_of(own_N + moved_N, own_N + num_pairs - moved_N))

    try:
        seen = size(np.zeros(num_prompts, dtype=np.int64)) * (1 - ROUNDING)
        if 2 ** (num_prompts - 1) <= most_permutations:  # the mirror image of an exchange is as extreme
            patterns = (np.arange(2 ** (num_prompts - 1))[:, None] >> np.arange(num_prompts)) & 1
            return float(np.mean([size(pattern_P) >= seen for pattern_P in patterns]))
        return _sequential_p_value(size, seen, num_prompts, np.random.default_rng(seed), most_permutations)
    except InsufficientSamplesError:
        return None


def _sequential_p_value(size: Callable[[np.ndarray], float], seen: float, num_prompts: int, random: np.random.Generator,
                        most_permutations: int) -> float:
    exceedances = 0
    for drawn in range(1, most_permutations + 1):
        exceedances += size(random.integers(2, size=num_prompts)) >= seen
        if exceedances == MOST_EXCEEDANCES:
            return exceedances / drawn
    return (exceedances + 1) / (most_permutations + 1)


def t_test(value: float, error: float, degrees_of_freedom: float) -> float:
    """Two-sided p-value of 0, of a value with a standard error; 1 where both are 0."""
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stdtr(degrees_of_freedom, -abs(value) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: what is at most alpha is a change at a family-wise error rate of alpha. Source: S. Holm 1979.

    By hand, because statsmodels' multipletests collects all garbage of the process in every call, which takes half of a comparison.
    """
    order_M = np.argsort(p_values, kind="stable")
    adjusted_M = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order_M] * np.arange(len(order_M), 0, -1))
    return np.minimum(adjusted_M, 1)[np.argsort(order_M)].tolist()


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """q-values: of those at most q, a share of at most q are chance, on average. Source: Y. Benjamini, Y. Hochberg 1995."""
    from scipy.stats import false_discovery_control

    return false_discovery_control(p_values).tolist() if len(p_values) else []


def fewest_prompts(confidence: float = 0.95, num_decided: int = 1) -> int:
    """Prompts below which no change can be told from chance: the least p-value of the sign-flip test is 2 / 2^P.

    Args:
        num_decided: how many metrics are decided at once; the least of their p-values is multiplied by it.
    """
    return 1 + math.ceil(math.log2(num_decided / (1 - confidence)) - ROUNDING)


def _all_signed_sums(sums_P: np.ndarray) -> np.ndarray:
    """(2^P,) sums under all sign patterns, as the sums of both halves' patterns."""
    halves = []
    for half in (sums_P[:len(sums_P) // 2], sums_P[len(sums_P) // 2:]):
        signs = 1 - 2 * ((np.arange(2 ** len(half))[:, None] >> np.arange(len(half))) & 1)
        halves.append(signs @ half)
    return np.add.outer(*halves).ravel()


@lru_cache(maxsize=8)
def _drawn_signs(num_prompts: int, seed: int) -> np.ndarray:
    """(R, P) float64 of 1 and -1; the same for every metric."""
    signs_RP = np.random.default_rng(seed).integers(2, size=(NUM_DRAWS, num_prompts)) * 2.0 - 1
    signs_RP.flags.writeable = False
    return signs_RP
