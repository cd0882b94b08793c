"""Intervals: worked examples, invariances, parity with naive loops, and coverage by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from sana_bench.errors import InsufficientSamplesError, MetricError
from sana_bench.statistics import cluster_sums, mean_interval, set_interval, share_bounds, standard_error

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
    """Same draws, one resample after the other: every mean over its own standard error, of at least a quarter of the data's."""
    values, prompts = np.random.default_rng(1).exponential(size=20), np.repeat(PROMPTS[:10], 2)
    means_P = values.reshape(10, 2).mean(axis=1)
    mean, error = means_P.mean(), stats.sem(means_P)
    drawn = np.random.default_rng(7).integers(10, size=(500, 10))
    studentised = [(means_P[row].mean() - mean) / max(stats.sem(means_P[row]), error / 4) for row in drawn]
    low, high = np.quantile(studentised, [0.025, 0.975])
    t = stats.t.ppf(0.975, 9)
    got = mean_interval(values, prompts, num_resamples=500, seed=7)
    assert (got.low, got.high) == pytest.approx((mean - max(high, t) * error, mean - min(low, -t) * error), rel=1e-9)
    assert -low > t > high  # of skewed data the upper end is further away than Student's, and the lower one is his


def test_prompts_with_more_images_weigh_more_and_their_spread_does():
    """The linearised standard error of a ratio of means, written out."""
    values, prompts = np.array([1.0, 2.0, 3.0, 10.0, 4.0, 6.0]), ["a", "a", "a", "b", "c", "c"]
    mean = values.mean()
    residuals = [6 - 3 * mean, 10 - mean, 10 - 2 * mean]
    sums, counts = cluster_sums(values, prompts)
    assert standard_error(sums, counts) == pytest.approx(math.sqrt(3 / 2 * sum(r**2 for r in residuals)) / 6)


def test_an_event_that_nobody_saw_is_not_excluded_within_bounds():
    """24 equal differences of shares: by themselves no width at all, in bounds about what the rule of three leaves (3 of 24)."""
    nothing = np.zeros(24)
    assert mean_interval(nothing, range(24)) == (0, 0, 0)
    low, high = mean_interval(nothing, range(24), bounds=(-1, 1))[1:]
    assert -low == high == pytest.approx(0.115, abs=0.001)
    assert mean_interval(np.ones(24), range(24), bounds=(0, 1))[1:] == pytest.approx((0.882, 1), abs=0.001)


def test_bounds_add_one_prompt_at_each():
    values = np.array([0, 0, -1, 0, 0, 1, 0, -1, 0, 0, 0, 0.0])
    got = mean_interval(values, range(12), bounds=(-1, 1))
    more = [*values, -1, 1]
    half_width = stats.t.ppf(0.975, 11) * stats.sem(more)
    assert got == pytest.approx((-1 / 12, np.mean(more) - half_width, np.mean(more) + half_width))
    distinct = values + 0.01 * np.arange(12)
    assert mean_interval(distinct, range(12), bounds=(-1, 1)) == mean_interval(distinct, range(12))


def test_bounds_are_known_of_shares_alone():
    assert share_bounds(np.array([0, 1.0])) == (0, 1) and share_bounds(np.array([0, 1.0]), np.array([0.5])) == (-1, 1)
    assert share_bounds(np.array([0, 1.0]), np.array([1.5])) is None and share_bounds(np.array([-0.1])) is None and share_bounds(np.array([])) is None


def test_mean_interval_has_the_width_of_students_t_on_normal_data():
    """It is never narrower; 4 % for the draw and for data that are only nearly normal."""
    values = NormalDist().inv_cdf
    data = np.array([values((index + 0.5) / 20) for index in range(20)])
    got = mean_interval(data, range(20), num_resamples=200_000)
    half_width = stats.t.ppf(0.975, 19) * data.std(ddof=1) / math.sqrt(20)
    assert half_width <= (got.high - got.low) / 2 * (1 + 1e-9) <= 1.04 * half_width


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


def heavy(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.standard_t(4, size=size)


def skewed(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.exponential(size=size) - 1


def lost(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """0 or -1, around the rate of a tenth; the data themselves are in bounds of -1 and 1."""
    return -(rng.random(size) < 0.1).astype(float)


@pytest.mark.parametrize("num_prompts", [10, 20])
@pytest.mark.parametrize(("draw", "truth", "bounds"), [(heavy, 0, None), (skewed, 0, None), (lost, -0.1, (-1, 1))])
def test_coverage_of_the_mean_interval(num_prompts: int, draw, truth: float, bounds):
    """400 repetitions at a true 94 % have a standard error of 1.2 points. Student's interval has 89 % of the skewed data at ten prompts, and
    without bounds the lost ones have 64 %."""
    rng, covered = np.random.default_rng(5), 0
    for repetition in range(400):
        interval = mean_interval(draw(rng, (num_prompts, 1)).ravel(), range(num_prompts), num_resamples=500, seed=repetition % 20, bounds=bounds)
        covered += interval.low <= truth <= interval.high
    assert covered / 400 >= 0.92


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
