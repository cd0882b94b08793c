"""Power and sample size: textbook values, parity with scipy, and simulation of the rule itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sana_bench.sensitivity import MAX_PROMPTS, error_with, power_of, prompts_to_exclude, prompts_to_find, smallest_detectable_effect
from sana_bench.statistics import mean_estimate, mean_interval


def test_without_a_budget_it_is_the_power_of_students_test():
    for effect, error, freedom in ((0.5, 0.2, 7), (1.0, 0.4, 23), (0.1, 0.3, 50), (3.0, 0.5, 5)):
        expected = stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, effect / error)
        assert power_of(effect, error, freedom) == pytest.approx(expected, abs=2e-3)


def test_an_effect_of_the_budget_is_found_half_of_the_time_at_most():
    assert power_of(0.5, 0.05, 23, budget=0.5) == pytest.approx(0.5)
    assert power_of(0.5, 0.5, 23, budget=0.5) < 0.5
    assert (power_of(0.5, 0, 23, budget=0.4), power_of(0.4, 0, 23, budget=0.4)) == (1, 0)


@pytest.mark.parametrize(("budget", "alpha"), [(0.0, 0.05), (0.6, 0.05), (0.6, 0.05 / 27), (1.2, 0.01)])
def test_power_is_how_often_the_rule_finds_the_effect(budget: float, alpha: float):
    """20,000 runs of 16 normal differences: a standard error of 0.4 points."""
    drawn = np.random.default_rng(1).normal(1, 1, size=(20_000, 16))
    means, errors = drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / 4
    found = (means > budget) & (means / errors > stats.t.ppf(1 - alpha / 2, 15))
    assert power_of(1, 0.25, 15, alpha=alpha, budget=budget) == pytest.approx(found.mean(), abs=0.012)


def test_power_grows_with_the_effect_and_falls_with_the_budget_the_error_and_the_number_of_metrics():
    powers = [power_of(effect, 0.3, 11) for effect in (0, 0.3, 0.6, 1.2)]
    assert powers == sorted(powers) and powers[0] == pytest.approx(0.025, abs=1e-3)
    assert power_of(1, 0.3, 11, budget=0.9) < power_of(1, 0.3, 11) > power_of(1, 0.3, 11, alpha=0.01) > power_of(1, 0.6, 11, alpha=0.01)


def test_smallest_detectable_effect_of_many_prompts_is_the_textbook_one():
    # (1.960 + 0.842) standard errors
    assert smallest_detectable_effect(1, 100_000) == pytest.approx(2.802, abs=2e-3)
    # far beyond its noise, a budget is what must be exceeded: 0.842 standard errors more in 80 % of runs
    assert smallest_detectable_effect(0.01, 30, budget=1) == pytest.approx(1 + 0.842 * 0.01, abs=1e-3)
    assert smallest_detectable_effect(0, 30, budget=1) == 1


@pytest.mark.parametrize("freedom", [1, 5, 23])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 27])
def test_that_effect_has_80_percent_power(freedom: int, alpha: float):
    effect = smallest_detectable_effect(0.2, freedom, alpha=alpha, budget=0.3)
    assert power_of(effect, 0.2, freedom, alpha=alpha, budget=0.3) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(("num_prompts", "alpha", "num_changed"), [(24, 0.05, 4), (24, 0.05 / 12, 2), (60, 0.05 / 12, 12)])
def test_the_loss_of_a_rate_is_found_as_often_as_said_though_both_sides_hardly_differed(num_prompts: int, alpha: float, num_changed: int):
    """20,000 runs where so many more prompts lose what was counted, by the sign test that sign flips of 1 and -1 are. The standard error of
    sides without a change alone, in which the failures' own spread is not, would say 90 % and more."""
    changed = np.array([1.0, -1.0] * (num_changed // 2) + [0.0] * (num_prompts - num_changed))
    error, freedom = mean_estimate(changed, [str(index) for index in range(num_prompts)], bounds=(-1, 1))[1], num_prompts - 1
    effect = smallest_detectable_effect(error, freedom, alpha=alpha, counted_prompts=num_prompts)
    drawn = np.random.default_rng(2).random((20_000, num_prompts))
    gained = num_changed / num_prompts / 2
    lost = gained + effect
    won_R, lost_R = (drawn < gained).sum(axis=1), (drawn > 1 - lost).sum(axis=1)
    p_values = 2 * stats.binom.cdf(np.minimum(won_R, lost_R), won_R + lost_R, 0.5)
    found = ((p_values <= alpha) & (lost_R > won_R)).mean()
    assert found == pytest.approx(0.8, abs=0.1) and power_of(effect, error, freedom, alpha=alpha) > 0.9


def test_prompts_to_exclude_shrink_the_interval_to_the_margin_and_are_the_least():
    needed = prompts_to_exclude(0.14, 16, 0.1)
    spread = 0.14 * 4
    widths = [stats.t.ppf(0.975, number - 1) * spread / math.sqrt(number) for number in (needed - 1, needed)]
    assert widths[1] <= 0.1 < widths[0]


def test_prompts_to_find_make_the_difference_significant_and_are_the_least():
    needed = prompts_to_find(0.25, 16, -0.4, alpha=0.05 / 5, confidence=0.95)
    statistics = [0.4 / (1 / math.sqrt(number)) / stats.t.ppf(1 - 0.005, number - 1) for number in (needed - 1, needed)]
    assert statistics[1] >= 1 > statistics[0]


def test_prompts_at_the_bounds_weigh_less_with_every_real_one():
    """Of 8 prompts that did not differ all of the error is what was added: the rule of three would say 60 to 74 for a margin of 0.05."""
    error = mean_estimate(np.zeros(8), range(8), bounds=(-1, 1)).error
    needed = prompts_to_exclude(error, 8, 0.05, bounded=True)
    assert needed == next(number for number in range(6, 99) if mean_interval(np.zeros(number), range(number), bounds=(-1, 1)).high <= 0.05) == 56
    assert prompts_to_exclude(error, 8, 0.05) > 200
    values = np.array([0.0, 1, 0, -1, 0, 0, 0, 0])
    many = np.tile(values, 12)
    assert error_with(96, mean_estimate(values, range(8), bounds=(-1, 1)).error, 8, bounded=True) == pytest.approx(
        mean_estimate(many, range(96), bounds=(-1, 1)).error, rel=0.07)  # 8 / 7 of variances is 7 % of errors


def test_none_where_no_practical_number_does():
    assert prompts_to_exclude(0.4, 10, 0.0) is None and prompts_to_exclude(0.4, 10, 1e-4) is None
    assert prompts_to_exclude(0.4, 10, 0.4 * stats.t.ppf(0.975, 9)) == 10 and prompts_to_exclude(0.4, 10, 0.05) < MAX_PROMPTS
    assert prompts_to_exclude(0.14, 16, 0.1, fixed_error=0.06) is None, "more prompts do not shrink what is between training seeds"
    assert prompts_to_find(0.25, 16, 0.4, alpha=0.05, confidence=0.95, fixed_error=0.3) is None
