"""Tests of no change: worked examples, parity with scipy and statsmodels, invariances, and error rates by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sana_bench.errors import InsufficientSamplesError
from sana_bench.significance import benjamini_hochberg, fewest_prompts, holm, label_permutation_test, sign_flip_test, t_test

RANDOM = np.random.default_rng(0)


def mean_of_last(axis_values: np.ndarray, axis: int) -> np.ndarray:
    return axis_values.mean(axis=axis)


@pytest.mark.parametrize("num_prompts", [1, 2, 5, 11, 20])
def test_all_prompts_the_same_way_have_the_least_p_value_there_is(num_prompts: int):
    assert sign_flip_test(np.arange(1.0, num_prompts + 1), range(num_prompts)) == 2 / 2**num_prompts


@pytest.mark.parametrize("num_prompts", [7, 12, 13])
def test_exact_sign_flips_are_those_of_scipy(num_prompts: int):
    differences = RANDOM.normal(0.4, 1, num_prompts)
    expected = stats.permutation_test((differences,), mean_of_last, permutation_type="samples", vectorized=True, n_resamples=9999).pvalue
    assert sign_flip_test(differences, range(num_prompts)) == pytest.approx(expected)


def test_drawn_sign_flips_agree_with_scipy():
    """40 prompts, a p-value of about 0.1; 9,999 draws of each have a standard error of 0.3 points."""
    differences = RANDOM.normal(0.25, 1, 40)
    expected = stats.permutation_test((differences,), mean_of_last, permutation_type="samples", vectorized=True, n_resamples=9999, rng=1).pvalue
    assert sign_flip_test(differences, range(40)) == pytest.approx(expected, abs=0.015)
    assert sign_flip_test(np.full(40, 0.3), range(40)) == 1 / 10_000


def test_images_of_one_prompt_are_flipped_together():
    differences, prompts = RANDOM.normal(0.3, 1, 24), np.repeat(range(8), 3)
    assert sign_flip_test(differences, prompts) == pytest.approx(sign_flip_test(differences.reshape(8, 3).mean(axis=1), range(8)))
    assert sign_flip_test(np.full(24, 0.3), prompts) == 2 / 2**8


def test_neither_order_nor_sign_nor_scale_matters():
    differences, order = RANDOM.normal(0.3, 1, 30), RANDOM.permutation(30)
    p_value = sign_flip_test(differences, range(30))
    assert p_value == sign_flip_test(-5 * differences, range(30)) == sign_flip_test(differences[order], order)
    assert sign_flip_test(np.zeros(30), range(30)) == 1


@pytest.mark.parametrize("num_prompts", [8, 24])
def test_one_in_twenty_of_no_changes_has_a_p_value_of_five_percent(num_prompts: int):
    """2,000 runs of skewed noise on both sides have a standard error of 0.5 points; a test of images as prompts has 20 %."""
    random = np.random.default_rng(3)
    found = shared = 0
    for _ in range(2000):
        sides = random.exponential(size=(2, num_prompts, 1)) + 0.3 * random.normal(size=(2, num_prompts, 4))
        differences = (sides[1] - sides[0]).ravel()
        found += sign_flip_test(differences, np.repeat(range(num_prompts), 4)) <= 0.05
        shared += stats.ttest_1samp(differences, 0).pvalue <= 0.05
    assert found / 2000 <= 0.06 and shared / 2000 > 0.2


def exchanged_means(sides_2N: np.ndarray):
    both = sides_2N.ravel()
    return lambda old, new: float(both[new].mean() - both[old].mean())


@pytest.mark.parametrize("num_prompts", [6, 11])
def test_exchanging_labels_is_flipping_signs_where_the_metric_is_a_mean(num_prompts: int):
    sides = RANDOM.normal(size=(2, 2 * num_prompts)) + [[0], [0.6]]
    prompts = np.repeat(range(num_prompts), 2)
    assert label_permutation_test(exchanged_means(sides), prompts) == pytest.approx(sign_flip_test(sides[1] - sides[0], prompts))


def test_drawn_exchanges_agree_with_sign_flips_and_stop_early_where_nothing_changed():
    sides, calls = RANDOM.normal(size=(2, 30)) + [[0], [0.9]], []
    means = exchanged_means(sides)

    def counted(old: np.ndarray, new: np.ndarray) -> float:
        calls.append(sorted([*old, *new]) == list(range(60)) and len(old) == len(new) == 30)
        return means(old, new)

    assert label_permutation_test(counted, range(30)) == pytest.approx(sign_flip_test(sides[1] - sides[0], range(30)), abs=0.01)
    assert all(calls) and len(calls) > 1000, "every sample is once on one side"
    calls.clear()
    assert label_permutation_test(lambda old, new: counted(old, new) - means(np.arange(30), 30 + np.arange(30)), range(30)) > 0.2 and len(calls) < 200


def test_a_set_metric_with_a_bias_keeps_its_error_rate():
    """The variance of 12 samples, 400 runs: 5 % with a standard error of 1.1 points. Twice the spread is found."""
    random, found, planted = np.random.default_rng(4), 0, 0
    for run in range(400):
        both = np.concatenate([random.normal(size=12), random.normal(size=12)])
        wide = np.concatenate([both[:12], 3 * both[12:]])
        found += label_permutation_test(lambda old, new: both[new].var() - both[old].var(), range(12), seed=run) <= 0.05
        planted += label_permutation_test(lambda old, new: wide[new].var() - wide[old].var(), range(12), seed=run) <= 0.05
    assert found / 400 <= 0.08 and planted / 400 > 0.6


def test_a_metric_that_cannot_be_evaluated_on_an_exchange_has_no_p_value():
    def evaluate(old: np.ndarray, new: np.ndarray) -> float:
        if 3 in new:
            raise InsufficientSamplesError("no")
        return 1.0

    assert label_permutation_test(evaluate, range(8)) is None


def test_students_test_is_scipys():
    values = RANDOM.normal(0.5, 1, 9)
    assert t_test(values.mean(), stats.sem(values), 8) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert (t_test(0, 0, 8), t_test(0.1, 0, 8)) == (1, 0)


def test_holm_multiplies_the_least_by_all_and_never_reverses():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.5]) == [1, 1] and holm([0.02]) == [0.02] and holm([]) == []
    p_values = RANDOM.random(40) ** 3
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_benjamini_hochberg_is_that_of_statsmodels():
    p_values = RANDOM.random(40) ** 3
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1].tolist())
    assert benjamini_hochberg([]) == []


def test_six_prompts_are_the_fewest_for_95_percent_and_more_metrics_need_more():
    # 2 / 2^5 = 0.0625 is above 0.05, 2 / 2^6 = 0.03125 is not; 2 / 2^4 = 0.125 just suffices for 87.5 %
    assert (fewest_prompts(0.95), fewest_prompts(0.9), fewest_prompts(0.875)) == (6, 5, 4)
    assert 27 * 2 / 2**10 > 0.05 >= 27 * 2 / 2**11 and fewest_prompts(0.95, 27) == 11
