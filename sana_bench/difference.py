"""Candidate minus baseline on pairs: how large, how uncertain, and whether chance explains it. No verdict is made here; see compare.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from sana_bench.config import CompareSection
from sana_bench.pairs import Pairs
from sana_bench.records import GroupScore
from sana_bench.significance import FEW_PERMUTATIONS, MOST_PERMUTATIONS, label_permutation_test, sign_flip_test, t_test
from sana_bench.statistics import Interval, are_counts, jackknife, mean_estimate, share_bounds, student_interval, t_quantile

Test = Literal["", "sign flips", "label permutation", "t"]


@dataclass(frozen=True)
class Difference:
    """In the metric's unit."""

    interval: Interval
    error: float | None
    """Standard error; None where too few samples leave nothing to estimate it from."""
    degrees_of_freedom: float
    seed_error: float
    """The part of it that is between training seeds, which more prompts do not shrink; 0 with a single seed."""
    test: Test
    p_value: float | None
    """Two-sided, of no change."""
    num_prompts: int
    counted: bool = False
    """Whether the metric counts what is there or is not: a change is then as many prompts that differ, see sensitivity.py."""
    bounded: bool = False
    """Whether a prompt at each bound, -1 and 1, is in the error (statistics.mean_interval)."""


def measure_difference(pairs: Pairs, settings: CompareSection, decides: bool = True) -> Difference:
    """Candidate minus baseline over all pairs.

    Args:
        decides: whether a verdict may rest on it; else the p-value of a set metric is a rough one.

    Raises:
        InsufficientSamplesError: too few pairs for the metric to have a value.
    """
    num_prompts, everything = len(set(pairs.prompt_ids)), np.arange(len(pairs.sample_ids))
    if pairs.same_images and num_prompts and pairs.value(0, everything) == pairs.value(1, everything):
        return Difference(Interval(0.0, 0.0, 0.0), 0.0, max(num_prompts - 1, 1), 0.0, "sign flips", 1.0, num_prompts)
    if max(pairs.num_seeds) > 1:
        return _between_seeds(pairs, settings, num_prompts)
    if pairs.values is None:
        return _of_sets(pairs, settings, MOST_PERMUTATIONS if decides else FEW_PERMUTATIONS)
    before, after = pairs.means()
    interval, error, bounded = mean_estimate(after - before, pairs.prompt_ids, confidence=settings.confidence, num_resamples=settings.num_resamples,
                                             seed=settings.seed, bounds=share_bounds(before, after))
    p_value = sign_flip_test(after - before, pairs.prompt_ids, seed=settings.seed)
    return Difference(interval, error, max(num_prompts - 1, 1), 0.0, "sign flips", p_value, num_prompts, are_counts(before, after), bounded)


def _of_sets(pairs: Pairs, settings: CompareSection, most_permutations: int) -> Difference:
    """Of a set metric: jackknife over prompts, and exchanged labels where the samples of both sides can change sides, else Student's test."""
    value, error, num_prompts = jackknife(lambda at: pairs.value(1, at) - pairs.value(0, at), pairs.prompt_ids)
    error = error or None  # no prompt moves it at all, as of a few counted classes: that says nothing of prompts that were not drawn
    freedom = max(num_prompts - 1, 1)
    interval = student_interval(value, error, freedom, settings.confidence)
    difference_of = pairs.exchangeable()
    p_value = label_permutation_test(difference_of, pairs.prompt_ids, seed=settings.seed,
                                     most_permutations=most_permutations) if difference_of else None
    if p_value is not None:
        return Difference(interval, error, freedom, 0.0, "label permutation", p_value, num_prompts)
    if error is None:
        return Difference(interval, None, freedom, 0.0, "", None, num_prompts)
    return Difference(interval, error, freedom, 0.0, "t", t_test(value, error, freedom), num_prompts)


def _between_seeds(pairs: Pairs, settings: CompareSection, num_prompts: int) -> Difference:
    """With several fine-tunes of a side: prompts and training seeds both vary, and both are in the standard error.

    A fine-tune of which there is only one varies as those of the other side do; nothing else tells how much.

    Two crossed random factors: Var(mean) = S_prompts^2 / P + S_seeds^2 / K, of the means over the other factor. Each holds the residual
    once, so that the sum is a little too large. Degrees of freedom by Satterthwaite: few seeds that differ much leave few.

    Source: F. E. Satterthwaite, Biometrics Bulletin 2 (1946).
    """
    if pairs.values is not None:
        before, after = pairs.means()
        interval, prompt_error, bounded = mean_estimate(after - before, pairs.prompt_ids, confidence=settings.confidence,
                                                        num_resamples=settings.num_resamples, seed=settings.seed, bounds=share_bounds(before, after))
        value = interval.value
    else:
        value, prompt_error, _ = jackknife(lambda at: pairs.value(1, at) - pairs.value(0, at), pairs.prompt_ids)
        prompt_error, bounded = prompt_error or None, False
    if prompt_error is None:
        return Difference(Interval(value, None, None), None, 1, 0.0, "", None, num_prompts)
    parts = [(prompt_error**2, num_prompts - 1)]
    by_side = [pairs.seed_values(side) for side in range(2)]
    for side, (means, others) in enumerate((by_side, by_side[::-1])):
        if len(means) > 1:
            parts.append((means.var(ddof=1) / len(means), len(means) - 1))
        elif pairs.trained[side] and len(others) > 1:
            parts.append((others.var(ddof=1), len(others) - 1))
    error, freedom = satterthwaite(parts)
    return Difference(student_interval(value, error, freedom, settings.confidence), error, freedom, math.sqrt(sum(part for part, _ in parts[1:])),
                      "t", t_test(value, error, freedom), num_prompts, bounded=bounded)


def satterthwaite(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(standard error, degrees of freedom) of a sum of independent parts, each a (variance, degrees of freedom)."""
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0, float(min(freedom for _, freedom in parts))
    return math.sqrt(total), float(total**2 / sum(variance**2 / freedom for variance, freedom in parts))


def measure_value(pairs: Pairs, settings: CompareSection) -> Interval:
    """The candidate's own value, with an interval over prompts and training seeds.

    Raises:
        InsufficientSamplesError: too few samples for the metric to have a value.
    """
    num_prompts, seeds = len(set(pairs.prompt_ids)), pairs.seed_values(1)
    if pairs.values is not None:
        values = pairs.means()[1]
        interval, error, _ = mean_estimate(values, pairs.prompt_ids, confidence=settings.confidence, num_resamples=settings.num_resamples,
                                        seed=settings.seed, bounds=share_bounds(values))
    else:
        value, error, _ = jackknife(lambda at: pairs.value(1, at), pairs.prompt_ids)
        error = error or None
        interval = student_interval(value, error, max(num_prompts - 1, 1), settings.confidence)
    if len(seeds) < 2 or error is None:
        return interval
    error, freedom = satterthwaite([(error**2, num_prompts - 1), (seeds.var(ddof=1) / len(seeds), len(seeds) - 1)])
    return student_interval(interval.value, error, freedom, settings.confidence)


class GroupValue(NamedTuple):
    """A perceived group's mean in one result."""

    score: GroupScore
    scored_at: float
    """Confidence of the interval that is recorded with it."""

    @property
    def freedom(self) -> int:
        return max(self.score.num_prompts - 1, 1)

    @property
    def error(self) -> float | None:
        """Standard error that goes with the recorded interval."""
        if self.score.low is None or self.score.high is None:
            return None
        return (self.score.high - self.score.low) / 2 / t_quantile((1 + self.scored_at) / 2, self.freedom)


def value_of_group(seeds: Sequence[GroupValue], confidence: float) -> Interval:
    """A perceived group's mean over the training seeds of one side, with the interval of any confidence."""
    value = float(np.mean([each.score.value for each in seeds]))
    if any(each.error is None for each in seeds):
        return Interval(value, None, None)
    return student_interval(value, *satterthwaite(_group_parts(seeds)), confidence)


def of_groups(groups: Sequence[Sequence[GroupValue]], settings: CompareSection) -> tuple[Difference, tuple[float, float]]:
    """Difference of a perceived group's means, and both means; each side's values are of its training seeds, with an interval each.

    Other images show the group on each side, so that it is Welch's test of two samples. Where some prompts are in both it is cautious.

    Source: B. L. Welch, Biometrika 34 (1947).
    """
    values = tuple(float(np.mean([each.score.value for each in side])) for side in groups)
    error, freedom = satterthwaite([part for side in groups for part in _group_parts(side)])
    value, num_prompts = values[1] - values[0], min(each.score.num_prompts for side in groups for each in side)
    return Difference(student_interval(value, error, freedom, settings.confidence), error, freedom, 0.0, "t", t_test(value, error, freedom),
                      num_prompts), values


def _group_parts(seeds: Sequence[GroupValue]) -> list[tuple[float, float]]:
    """(variance, degrees of freedom): of the prompts, which all seeds share, and between seeds."""
    parts = [(float(np.mean([each.error**2 for each in seeds])), min(each.freedom for each in seeds))]
    if len(seeds) > 1:
        parts.append((float(np.var([each.score.value for each in seeds], ddof=1)) / len(seeds), len(seeds) - 1))
    return parts
