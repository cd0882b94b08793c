"""How many prompts, and images of each, a comparison needs, from the spread that a pilot shows. Pure functions.

Of many prompts, 80 % of runs find a true loss of 2.80 standard errors of the mean difference (spread.py), two-sided at 5 % and without
a budget.

Chances are those of the rule by which compare.py judges: a loss is found where the gain is below -budget and told from no change
at the strictest step of Holm's procedure, and excluded where the interval of the gain stays above -budget.

Source: E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640 (2024), section 5.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sana_bench.sensitivity import MAX_PROMPTS, estimated_errors, power_of, smallest_detectable_effect
from sana_bench.significance import fewest_prompts
from sana_bench.spread import Pilot, Precision
from sana_bench.statistics import t_quantile

IMAGES_PER_PROMPT = (1, 2, 3, 4, 6, 8, 12, 16)
"""What is considered: beyond, prompts are what is lacking."""


@dataclass(frozen=True)
class Rule:
    """What a verdict on one metric takes."""

    budget: float
    """How much worse is too much, in the metric's unit."""
    confidence: float = 0.95
    num_gates: int = 1
    """Verdicts that decide together: each is judged at a share of the chance of a false alarm, as Holm's first step has it."""
    fewest_images: int = 0
    """Below so many pairs the metric is not judged."""

    @property
    def alpha(self) -> float:
        return (1 - self.confidence) / self.num_gates


@dataclass(frozen=True)
class Design:
    """Prompts to draw with so many images of each, to reach the power that was asked for."""

    num_images_per_prompt: int
    num_prompts: int | None
    """None beyond MAX_PROMPTS."""
    low: int | None
    """The same if prompts differ as little as the pilot leaves possible, at 95 %."""
    high: int | None
    """If they differ as much."""

    @property
    def num_images(self) -> int | None:
        """Images of one side."""
        return None if self.num_prompts is None else self.num_prompts * self.num_images_per_prompt

    def __str__(self) -> str:
        """`61 prompts x 2 (122 images a side)`"""
        return f"{self.num_prompts} prompts x {self.num_images_per_prompt} ({self.num_images} images a side)"

    def fits(self, num_prompts: int) -> bool:
        """Whether so many prompts are enough."""
        return self.num_prompts is not None and self.num_prompts <= num_prompts


def chance_of_finding(effect: float, precision: Precision, rule: Rule) -> float:
    """Chance that a true loss of that size (positive) ends as `regressed`.

    One of exactly the budget is found in at most half of all runs, however many prompts are drawn.
    """
    if precision.num_prompts < fewest_prompts(rule.confidence, rule.num_gates):
        return 0.0
    error = float(precision.interval_errors(precision.error))
    return power_of(effect, error, precision.degrees_of_freedom, alpha=rule.alpha, budget=rule.budget, counted_prompts=precision.counted_prompts)


def chance_of_excluding(precision: Precision, rule: Rule) -> float:
    """Chance that a loss beyond the budget is excluded where nothing changed: how often an honest change passes for sure."""
    from scipy.special import ndtr

    if precision.num_prompts < fewest_prompts(rule.confidence):
        return 0.0
    errors_Q = precision.interval_errors(precision.error * estimated_errors(precision.degrees_of_freedom))
    half_width_Q = t_quantile((1 + rule.confidence) / 2, precision.degrees_of_freedom) * errors_Q
    return float(ndtr((rule.budget - half_width_Q) / (precision.shrinkage * precision.error)).mean())


Chance = Callable[[Precision], float]
"""Chance of what is wanted."""


def power_at(chance: Chance, pilot: Pilot, num_prompts: int, num_images: int, fewest_images: int = 0, variance: float | None = None) -> float:
    """Chance of it with so many prompts drawn and so many images of each.

    Args:
        fewest_images: pairs below which nothing is judged.
        variance: of a prompt's mean difference, where it is not to be the pilot's.
    """
    if pilot.counting(num_prompts) < 2 or pilot.pairs(num_prompts, num_images) < fewest_images or variance == math.inf:
        return 0.0
    return chance(pilot.precision(num_prompts, num_images, variance))


def design(chance: Chance, pilot: Pilot, num_images: int, power: float, fewest_images: int = 0) -> Design:
    """The fewest prompts with so many images of each that reach the power."""
    def fewest(variance: float) -> int | None:
        numbers = range(2, MAX_PROMPTS + 1)
        at = bisect_left(numbers, power, key=lambda number: power_at(chance, pilot, number, num_images, fewest_images, variance))
        return numbers[at] if at < len(numbers) else None

    low, high = pilot.variance_limits(num_images)
    return Design(num_images, fewest(pilot.variance(num_images)), fewest(low), fewest(high))


def designs(chance: Chance, pilot: Pilot, power: float, fewest_images: int = 0) -> list[Design]:
    """The frontier: each number of images a prompt that saves prompts, with the fewest prompts that reach the power."""
    numbers = IMAGES_PER_PROMPT if pilot.told_apart else [pilot.num_images_per_prompt]
    found = [design(chance, pilot, number, power, fewest_images) for number in numbers]
    kept = found[:1]
    for each in found[1:]:
        if each.num_prompts is not None and (kept[-1].num_prompts is None or each.num_prompts < kept[-1].num_prompts):
            kept.append(each)
    return kept


def cheapest(frontier: Sequence[Design], num_prompts: int = MAX_PROMPTS) -> Design | None:
    """The design of the fewest images that needs at most so many prompts; None where there is none."""
    fitting = [each for each in frontier if each.fits(num_prompts)]
    return min(fitting, key=lambda each: (each.num_images, each.num_images_per_prompt), default=None)


def smallest_effect(pilot: Pilot, num_prompts: int, num_images: int, rule: Rule, power: float) -> float | None:
    """Smallest true loss that is found with that power; None where so few prompts or images find none."""
    if pilot.counting(num_prompts) < fewest_prompts(rule.confidence, rule.num_gates) or pilot.pairs(num_prompts, num_images) < rule.fewest_images:
        return None
    precision = pilot.precision(num_prompts, num_images)
    error = float(precision.interval_errors(precision.error))
    return smallest_detectable_effect(error, precision.degrees_of_freedom, alpha=rule.alpha, budget=rule.budget, power=power,
                                      counted_prompts=precision.counted_prompts)
