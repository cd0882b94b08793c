"""Intervals: worked examples, invariances, parity with naive loops, and coverage by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from sana_bench.errors import InsufficientSamplesError, MetricError
from sana_bench.statistics import (MAX_PROMPTS, fewest_prompts, mean_interval, prompts_needed, set_interval,
                                   smallest_detectable_effect)

PROMPTS = [f"p{index}" for index in range(12)]


def variance_difference(pairs_N2: np.ndarray):
    return lambda indices: pairs_N2[indices, 1].var(ddof=1) - pairs_N2[indices, 0].var(ddof=1)


def test_mean_counts_every_sample_once():
    # (1 + 2 + 6) / 3 = 3, not the mean of the prompts' means (1.5 + 6) / 2 = 3.75
    assert mean_interval(np.array([1.0, 2.0, 6.0]), ["a", "a", "b"]).value == 3.0


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval(np.full(12, 0.25), PROMPTS) == (0.25, 0.25, 0.25)


def test_one_prompt_has_a_value_and_no_interval():
    assert mean_interval(np.array([1.0, 3.0]), ["a", "a"]) == (2.0, None, None)
    assert set_interval(lambda indices: float(len(indices)), ["a", "a"]) == (2.0, None, None)


def test_mean_interval_is_that_of_a_naive_loop():
    """Same draws, one resample after the other; the cut is Hesterberg's, written out with another library's quantiles."""
    values, prompts = np.random.default_rng(1).normal(size=20), np.repeat(PROMPTS[:10], 2)
    drawn = np.random.default_rng(7).integers(10, size=(500, 10))
    means = [np.mean([values[prompts == PROMPTS[prompt]] for prompt in row]) for row in drawn]
    tail = NormalDist().cdf(-math.sqrt(10 / 9) * stats.t.ppf(0.975, 9))
    expected = np.quantile(means, [tail, 1 - tail])
    got = mean_interval(values, prompts, num_resamples=500, seed=7)
    assert (got.low, got.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_mean_interval_has_the_width_of_students_t_on_normal_data():
    """The expanded percentile interval is made to match it; 2 % for the draw and for data that are only nearly normal."""
    values = NormalDist().inv_cdf
    data = np.array([values((index + 0.5) / 20) for index in range(20)])
    got = mean_interval(data, range(20), num_resamples=200_000)
    half_width = stats.t.ppf(0.975, 19) * data.std(ddof=1) / math.sqrt(20)
    assert (got.high - got.low) / 2 == pytest.approx(half_width, rel=0.02)


def test_seed_reproduces_and_another_differs():
    values = np.random.default_rng(0).normal(size=12)
    assert mean_interval(values, PROMPTS, seed=3) == mean_interval(values, PROMPTS, seed=3)
    assert mean_interval(values, PROMPTS, seed=3) != mean_interval(values, PROMPTS, seed=4)


def test_order_of_samples_changes_nothing():
    values, prompts = np.random.default_rng(0).normal(size=24), np.repeat(PROMPTS, 2)
    order = np.random.default_rng(1).permutation(24)
    assert mean_interval(values, prompts) == mean_interval(values[order], prompts[order])
    pairs = np.random.default_rng(2).normal(size=(24, 2))
    assert set_interval(variance_difference(pairs), prompts) == pytest.approx(
        set_interval(variance_difference(pairs[order]), prompts[order]), rel=1e-12)


def test_negated_values_mirror_the_interval():
    values = np.random.default_rng(0).normal(0.3, 1, size=12)
    one, other = mean_interval(values, PROMPTS), mean_interval(-values, PROMPTS)
    assert one == pytest.approx((-other.value, -other.high, -other.low), rel=1e-9)


def test_interval_narrows_with_prompts_and_widens_with_confidence():
    values = np.random.default_rng(0).normal(size=200)
    few, many = mean_interval(values[:20], range(20)), mean_interval(values, range(200))
    sure = mean_interval(values[:20], range(20), confidence=0.99)
    assert many.high - many.low < few.high - few.low < sure.high - sure.low


def test_more_images_of_the_same_prompts_do_not_look_like_more_evidence():
    values = np.random.default_rng(0).normal(size=12)
    once, five_times = mean_interval(values, PROMPTS), mean_interval(np.repeat(values, 5), np.repeat(PROMPTS, 5))
    assert five_times == pytest.approx(once, rel=1e-12)


def test_jackknife_of_a_mean_is_students_interval():
    """For a mean, leaving one out gives exactly s / sqrt(n)."""
    values = np.random.default_rng(0).normal(size=12)
    got = set_interval(lambda indices: float(values[indices].mean()), PROMPTS)
    expected = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (got.low, got.high) == pytest.approx(expected, rel=1e-12)


def test_jackknife_is_that_of_a_naive_loop_over_prompts_of_unequal_size():
    prompts = ["a"] * 1 + ["b"] * 3 + ["c"] * 2 + ["d"] * 4
    pairs = np.random.default_rng(3).normal(size=(10, 2))
    evaluate = variance_difference(pairs)
    left_out = []
    for prompt in "abcd":
        left_out.append(evaluate(np.array([index for index in range(10) if prompts[index] != prompt])))
    centre = sum(left_out) / 4
    error = math.sqrt(3 / 4 * sum((value - centre) ** 2 for value in left_out))
    value = evaluate(np.arange(10))
    assert set_interval(evaluate, prompts) == pytest.approx(
        (value, value - 3.182446 * error, value + 3.182446 * error), rel=1e-6)  # t(3) at 97.5 % is 3.182446


def test_too_few_samples_without_a_prompt_cost_the_interval_only():
    def evaluate(indices: np.ndarray) -> float:
        if len(indices) < 12:
            raise InsufficientSamplesError("needs 12")
        return 1.5

    assert set_interval(evaluate, PROMPTS) == (1.5, None, None)
    with pytest.raises(InsufficientSamplesError, match="needs 12"):
        set_interval(evaluate, PROMPTS[:11])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float):
    with pytest.raises(MetricError, match="1 of 12 values are not finite"):
        mean_interval(np.array([bad] + [0.0] * 11), PROMPTS)
    with pytest.raises(MetricError, match="not finite"):
        set_interval(lambda indices: bad, PROMPTS)


def test_no_values_are_an_error_and_not_a_zero():
    with pytest.raises(InsufficientSamplesError):
        mean_interval(np.array([]), [])
    with pytest.raises(InsufficientSamplesError):
        set_interval(lambda indices: 0.0, [])


@pytest.mark.parametrize("num_prompts", [10, 25])
@pytest.mark.parametrize("draw", [lambda rng, shape: rng.normal(size=shape),
                                  lambda rng, shape: rng.standard_t(4, size=shape)],
                         ids=["normal", "heavy tails"])
def test_coverage_of_the_mean_interval(num_prompts: int, draw):
    """400 repetitions at a true 94 % have a standard error of 1.2 points; the plain percentile fails at 10 prompts."""
    rng, covered = np.random.default_rng(5), 0
    for repetition in range(400):
        values = draw(rng, (num_prompts, 1)) + draw(rng, (num_prompts, 2))
        interval = mean_interval(values.ravel(), np.repeat(np.arange(num_prompts), 2), num_resamples=500, seed=repetition)
        covered += interval.low <= 0 <= interval.high
    assert 0.915 <= covered / 400 <= 0.98


@pytest.mark.parametrize("num_prompts", [10, 25])
def test_coverage_of_the_jackknife(num_prompts: int):
    """Variances 2 and 3.25 of paired samples; the truth is their difference, 1.25."""
    rng, covered = np.random.default_rng(6), 0
    for _ in range(400):
        shared = rng.normal(size=num_prompts)
        pairs = np.c_[shared + rng.normal(size=num_prompts), shared + 1.5 * rng.normal(size=num_prompts)]
        interval = set_interval(variance_difference(pairs), range(num_prompts))
        covered += interval.low <= 1.25 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_six_prompts_are_the_fewest_for_95_percent():
    # 2 / 2^5 = 0.0625 is above 0.05, 2 / 2^6 = 0.03125 is not; 2 / 2^4 = 0.125 just suffices for 87.5 %
    assert (fewest_prompts(0.95), fewest_prompts(0.9), fewest_prompts(0.875)) == (6, 5, 4)


def test_smallest_detectable_effect_of_many_prompts_is_the_textbook_one():
    # (1.960 + 0.842) standard errors; the half width is 1.960 of them
    assert smallest_detectable_effect(1.96, 100_000) == pytest.approx(2.802, abs=1e-3)


def test_smallest_detectable_effect_is_found_in_80_percent_of_runs():
    """Student's test on 16 prompts with a true change of that size; the formula is within 2 points of exact power."""
    half_width = stats.t.ppf(0.975, 15) / 4  # standard deviation 1, standard error 1 / sqrt(16)
    effect = smallest_detectable_effect(half_width, 16)
    power = 1 - stats.nct.cdf(stats.t.ppf(0.975, 15), 15, effect * 4)
    assert power == pytest.approx(0.8, abs=0.02)


def test_prompts_needed_shrinks_the_interval_to_the_target_and_is_the_least():
    needed = prompts_needed(0.3, 16, 0.1)
    spread = 0.3 * 4 / stats.t.ppf(0.975, 15)
    widths = [stats.t.ppf(0.975, number - 1) * spread / math.sqrt(number) for number in (needed - 1, needed)]
    assert widths[1] <= 0.1 < widths[0]


def test_prompts_needed_is_none_where_no_practical_number_does():
    assert prompts_needed(1.0, 10, 0.0) is None
    assert prompts_needed(1.0, 10, 1e-4) is None
    assert prompts_needed(1.0, 10, 1.0) == 10
    assert prompts_needed(1.0, 10, 0.05) < MAX_PROMPTS
