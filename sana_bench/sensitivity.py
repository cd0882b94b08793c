"""What a comparison of so many prompts can find, and how many would be needed. Pure functions.

The rule that is asked about is that of compare.py: a loss is found where it is beyond the budget and its two-sided p-value is at most alpha,
which is 1 - confidence over the number of metrics that are decided together (the first step of Holm's method: what one change among
metrics that did not change is held to).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import numpy as np

from sana_bench.significance import fewest_prompts
from sana_bench.statistics import t_quantile

MAX_PROMPTS = 10_000
"""Nobody draws more prompts than that to settle one metric, so no larger number is ever advised."""
POWER = 0.8
QUANTILES = 1000


def power_of(effect: float, error: float, degrees_of_freedom: float, *, alpha: float = 0.05, budget: float = 0.0, counted_prompts: int = 0) -> float:
    """Chance that a true loss of so much is found, in [0, 1].

    Args:
        effect: size of the true loss, in the metric's unit, not negative.
        error: standard error of the mean difference.
        degrees_of_freedom: of that standard error.
        alpha: level that the p-value must reach.
        budget: what the loss must be beyond.
        counted_prompts: their number, where the metric says of each whether something is there. A loss is then as many prompts that lost
            it among others that did not, and so brings a spread of its own, which is not in the error of sides that hardly differ.

    Source: the non-central t distribution (J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2), as a mean over
    what the standard error may be estimated at, so that the budget, which is no multiple of that estimate, can be asked for as well.
    """
    from scipy.special import ndtr

    if counted_prompts:
        error = math.hypot(error, math.sqrt(max(effect * (1 - effect), 0) / counted_prompts))
    if error == 0:
        return float(effect > budget)
    needed_Q = np.maximum(t_quantile(1 - alpha / 2, degrees_of_freedom) * estimated_errors(degrees_of_freedom), budget / error)
    return float(ndtr(effect / error - needed_Q).mean())


@lru_cache(maxsize=256)
def estimated_errors(degrees_of_freedom: float) -> np.ndarray:
    """(Q,) quantiles of the estimated standard error over the true one."""
    from scipy.special import chdtri

    return np.sqrt(chdtri(degrees_of_freedom, (np.arange(QUANTILES) + 0.5) / QUANTILES) / degrees_of_freedom)


def smallest_detectable_effect(error: float, degrees_of_freedom: float, *, alpha: float = 0.05, budget: float = 0.0, power: float = POWER,
                               counted_prompts: int = 0) -> float:
    """True loss that is found in 80 % of runs, in the unit of `error`; arguments as of `power_of`."""
    from scipy.optimize import brentq

    if error == 0 and not counted_prompts:
        return budget
    largest = math.hypot(error, 0.5 / math.sqrt(counted_prompts)) if counted_prompts else error
    least = max(t_quantile(1 - alpha / 2, degrees_of_freedom) * largest, budget)
    return float(brentq(lambda effect: power_of(effect, error, degrees_of_freedom, alpha=alpha, budget=budget, counted_prompts=counted_prompts) - power,
                        0, 2 * least + 20 * largest))


def error_in_bounds(error: float | np.ndarray, num_prompts: int) -> float | np.ndarray:
    """Standard error of an interval that has a prompt at each bound, -1 and 1, from that of the data (see statistics.mean_interval)."""
    return np.sqrt((num_prompts * (num_prompts - 1) * np.square(error) + 2) / (num_prompts + 1) / (num_prompts + 2))


def error_with(number: int, error: float, num_prompts: int, bounded: bool = False) -> float:
    """What the standard error of `num_prompts` prompts becomes with another number of them, at the same spread."""
    if not bounded:
        return error * math.sqrt(num_prompts / number)
    of_data = math.sqrt(max((num_prompts + 1) * (num_prompts + 2) * error**2 - 2, 0) / num_prompts / (num_prompts - 1))
    return float(error_in_bounds(of_data * math.sqrt(num_prompts / number), number))


def prompts_to_exclude(error: float, num_prompts: int, margin: float, confidence: float = 0.95, fixed_error: float = 0.0, bounded: bool = False) -> int | None:
    """Prompts at which the interval's half width shrinks to `margin`, at the same spread; None beyond MAX_PROMPTS.

    Args:
        error: standard error with `num_prompts`, of what shrinks with the prompts.
        fixed_error: one that more prompts do not shrink, such as that between training seeds.
        bounded: whether a prompt at each bound is in the error, of which more prompts leave less.
    """
    return _fewest(lambda number: t_quantile((1 + confidence) / 2, number - 1) * math.hypot(error_with(number, error, num_prompts, bounded), fixed_error)
                   <= margin, confidence)


def prompts_to_find(error: float, num_prompts: int, gain: float, *, alpha: float, confidence: float, fixed_error: float = 0.0,
                    bounded: bool = False) -> int | None:
    """Prompts at which a difference of this size would have a p-value of alpha, at the same spread; None beyond MAX_PROMPTS."""
    return _fewest(lambda number: t_quantile(1 - alpha / 2, number - 1) * math.hypot(error_with(number, error, num_prompts, bounded), fixed_error)
                   <= abs(gain), confidence, round((1 - confidence) / alpha))


def _fewest(enough, confidence: float, num_decided: int = 1) -> int | None:
    numbers = range(fewest_prompts(confidence, num_decided), MAX_PROMPTS + 1)
    found = bisect_left(numbers, True, key=enough)  # what is enough is so with more prompts
    return numbers[found] if found < len(numbers) else None
