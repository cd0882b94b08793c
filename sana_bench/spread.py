"""How much the differences of pairs vary in a pilot, between prompts and within. Pure functions on arrays.

The difference of a pair (same prompt, same noise, two variants) varies from prompt to prompt, because a change helps one prompt
and hurts another (variance tau^2), and from image to image of one prompt, by 2 s^2 (1 - rho), where s is the spread of one
variant's images and rho the correlation of the two variants'. With P prompts of K images each the mean difference has the

    standard error  sqrt(tau^2 / P + 2 s^2 (1 - rho) / (P K))

so that more images of a prompt cannot take away tau^2 / P. A paired pilot shows tau^2 and 2 s^2 (1 - rho) themselves: rho need not be known.

Source: variance components by the analysis of variance, S. R. Searle, G. Casella, C. E. McCulloch, "Variance Components" (1992), section 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sana_bench.difference import satterthwaite
from sana_bench.errors import InsufficientSamplesError, MetricError
from sana_bench.sensitivity import error_in_bounds
from sana_bench.statistics import t_quantile

FEWEST_PILOT_PROMPTS = 6
"""Fewer prompts tell next to nothing of how much prompts differ."""
SPREAD_CONFIDENCE = 0.95
"""Of the interval that a pilot's own uncertainty leaves."""


class Spread(NamedTuple):
    """Variances of paired differences, in the squared unit of the metric: numbers, or (R,) of R resampled pilots."""

    by_prompt: float | np.ndarray
    """tau^2; where `by_image` is None, the variance of a prompt's mean at the pilot's number of images."""
    by_image: float | np.ndarray | None
    """2 s^2 (1 - rho); None where the pilot cannot tell it apart."""


class Precision(NamedTuple):
    """How well a mean difference is known."""

    num_prompts: int
    """That count."""
    error: float
    """Standard error, in the metric's unit."""
    degrees_of_freedom: float
    """Of its estimate."""
    bounded: bool = False
    """Whether a prompt at each bound, -1 and 1, is added to the data of the interval (statistics.mean_interval)."""
    counted: bool = False
    """Whether the metric says of each image whether something is there, so that a loss brings a spread of its own (sensitivity.power_of)."""

    @property
    def counted_prompts(self) -> int:
        """As `power_of` takes it."""
        return self.num_prompts if self.counted else 0

    @property
    def shrinkage(self) -> float:
        """Of the interval's centre towards 0."""
        return self.num_prompts / (self.num_prompts + 2) if self.bounded else 1.0

    def interval_errors(self, errors: float | np.ndarray) -> float | np.ndarray:
        """Standard errors that the interval is made of, where those of the data are so many."""
        return error_in_bounds(errors, self.num_prompts) if self.bounded else errors


@dataclass(frozen=True)
class Pilot:
    """What a pilot tells of one metric. P prompts with K images each are drawn; not all of them count."""

    spread: Spread
    resampled: Spread
    """Of (R,) pilots made of resampled prompts: how uncertain the spread is."""
    num_prompts: int
    """Drawn."""
    num_images_per_prompt: int
    """Drawn."""
    share_of_prompts: float
    """Of those drawn, with a pair that counts: a metric of hands has no value where no hand is asked for."""
    share_of_images: float
    """Of the images of such a prompt."""
    bounded: bool = False
    """Whether the interval is one in bounds; see Precision."""
    counted: bool = False
    """Whether the values say that something is there or is not; see Precision."""
    seeds: tuple[tuple[float, float], ...] = ()
    """(variance of the mean, degrees of freedom) between the training seeds of each side that has several: more prompts do not shrink it."""

    @property
    def told_apart(self) -> bool:
        """Whether other numbers of images a prompt can be planned than the pilot's own."""
        return self.spread.by_image is not None

    def counting(self, num_prompts: int) -> int:
        """Prompts that count, of so many drawn."""
        return math.floor(num_prompts * self.share_of_prompts + 1e-9)

    def pairs(self, num_prompts: int, num_images: int) -> int:
        """Pairs that count, of so many prompts and images of each."""
        return math.floor(self.counting(num_prompts) * max(1.0, num_images * self.share_of_images) + 1e-9)

    def variance(self, num_images: int) -> float:
        """Of the mean difference of a prompt of which so many images are drawn."""
        return float(self._variance(self.spread, num_images))

    def precision(self, num_prompts: int, num_images: int, variance: float | None = None) -> Precision:
        """Of the mean difference with so many prompts and images of each drawn, of which two prompts count at least.

        Args:
            variance: of a prompt's mean difference, where it is not to be the pilot's.
        """
        counting, variance = self.counting(num_prompts), self.variance(num_images) if variance is None else variance
        return Precision(counting, *satterthwaite([(variance / counting, counting - 1), *self.seeds]), self.bounded, self.counted)

    def variance_limits(self, num_images: int) -> tuple[float, float]:
        """95 % interval of that variance; the upper limit is infinite where resampled pilots have no spread at all.

        Basic bootstrap interval of the ratio (a resampled pilot is to this one what this one is to the truth), at quantiles as far out as
        Student's are and not the normal's. Simulated coverage in % (500 repetitions) at the pilot's own number of images a prompt, one or two:

            prompts                                    8       24      60
            normal differences                      95 91   94 92   96 90
            Student t, 4 degrees of freedom         94 85   90 85   90 86
            -1, 0 or 1                              93 94   95 93   96 93

        With normal differences and two images of each prompt it is 93 % for one image, 84 to 88 % for four and 76 to 87 % for eight:
        numbers beyond the pilot's own are extrapolated.
        """
        from scipy.special import ndtr

        value, num_prompts = self.variance(num_images), self.counting(self.num_prompts)
        tail = ndtr(-math.sqrt(num_prompts / (num_prompts - 1)) * t_quantile((1 + SPREAD_CONFIDENCE) / 2, num_prompts - 1))
        low, high = np.quantile(self._variance(self.resampled, num_images), [tail, 1 - tail])
        return min(value, value**2 / float(high)), max(value, value**2 / float(low)) if low > 0 else math.inf

    def _variance(self, spread: Spread, num_images: int) -> float | np.ndarray:
        if spread.by_image is None:
            assert num_images == self.num_images_per_prompt
            return spread.by_prompt
        return spread.by_prompt + spread.by_image / max(1.0, num_images * self.share_of_images)


def read_pilot(values: np.ndarray, prompt_ids: Sequence[str], num_prompts: int, num_images_per_prompt: int, *, by_image: bool = True,
               shares: bool = False, counted: bool = False, seeds: tuple[tuple[float, float], ...] = (), num_resamples: int = 2000, seed: int = 0) -> Pilot:
    """Variance components of the pairs of a pilot, and how uncertain they are.

    Args:
        values: (N,) float, finite: candidate minus baseline, one a pair.
        prompt_ids: N of them.
        num_prompts: of the pilot, those without a pair among them.
        num_images_per_prompt: drawn.
        by_image: whether each value is an image's own; where not, all images of a prompt have the prompt's.
        shares: whether both sides' values lie in [0, 1].
        counted: whether they are 0, a half or 1.
        seeds: as in Pilot.
        num_resamples: pilots to make by drawing prompts with replacement.

    Raises:
        InsufficientSamplesError: fewer than FEWEST_PILOT_PROMPTS prompts have a pair.
        MetricError: the values do not vary between prompts, so that they tell nothing, or one is not finite.
    """
    if not np.isfinite(values).all():
        raise MetricError("a difference is not finite")
    _, membership_N = np.unique(np.asarray(prompt_ids), return_inverse=True)
    counts_P = np.bincount(membership_N)
    if len(counts_P) < FEWEST_PILOT_PROMPTS:
        raise InsufficientSamplesError(f"{len(counts_P)} prompt(s) have a value on both sides, and fewer than {FEWEST_PILOT_PROMPTS} do not tell how much "
                                       f"prompts differ")
    means_P = np.bincount(membership_N, values) / counts_P
    squares_P = np.bincount(membership_N, (values - means_P[membership_N]) ** 2)
    apart = by_image and (counts_P > 1).sum() >= FEWEST_PILOT_PROMPTS
    if np.ptp(values if apart else means_P) == 0:
        raise MetricError(f"all of the pilot's {len(values)} values are {means_P[0]:g}: where no spread was seen, nothing tells of the next run's")
    drawn_RP = np.random.default_rng(seed).integers(len(counts_P), size=(num_resamples, len(counts_P)))
    short = len(counts_P) / (len(counts_P) - 1)  # the bootstrap's spread is short by that
    own, resampled = (_components(counts_P[at], means_P[at], squares_P[at], apart, factor)
                      for at, factor in ((np.arange(len(counts_P))[None], 1.0), (drawn_RP, short)))
    bounded = shares and len(np.unique(means_P.round(12))) <= len(means_P) / 2
    return Pilot(Spread(*(part if part is None else float(part[0]) for part in own)), resampled, num_prompts, num_images_per_prompt,
                 len(counts_P) / num_prompts, float(counts_P.mean()) / num_images_per_prompt, bounded, counted, seeds)


def _components(counts_RP: np.ndarray, means_RP: np.ndarray, squares_RP: np.ndarray, apart: bool, factor: float) -> Spread:
    """(R,) variance components of R pilots, from the number, mean and sum of squared deviations of each prompt's values.

    Args:
        factor: by which the spread between prompts is enlarged.
    """
    num_prompts = counts_RP.shape[1]
    if not apart:
        return Spread(factor * means_RP.var(axis=1, ddof=1), None)
    total_R = counts_RP.sum(axis=1)
    by_image_R = squares_RP.sum(axis=1) / np.maximum(total_R - num_prompts, 1)
    mean_R = (counts_RP * means_RP).sum(axis=1) / total_R
    between_R = factor * (counts_RP * (means_RP - mean_R[:, None]) ** 2).sum(axis=1) / (num_prompts - 1)
    images_R = (total_R - (counts_RP**2).sum(axis=1) / total_R) / (num_prompts - 1)  # of a prompt, where they are not all as many
    return Spread(np.maximum(0, (between_R - by_image_R) / images_R), by_image_R)
