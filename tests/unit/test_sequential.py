"""Alpha spending: published bounds, parity with a second integral and with simulation, and what the shares of a look mean."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats

from sana_bench.sequential import boundaries, look_confidences, obrien_fleming

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


def pocock(fraction: float, alpha: float = 0.05) -> float:
    """Lan and DeMets' other spending function, half of it on each side."""
    return alpha * math.log(1 + (math.e - 1) * fraction)


@pytest.mark.parametrize(("spent", "published"), [
    # Lan and DeMets' O'Brien-Fleming type; R packages ldbounds and gsDesign print the same, e.g. Proschan, Lan, Wittes 2006, chapter 5
    (partial(obrien_fleming, alpha=0.05), [4.877, 3.357, 2.680, 2.290, 2.031]),
    (pocock, [2.438, 2.427, 2.410, 2.397, 2.386]),
])
def test_bounds_of_five_looks_are_the_published_ones(spent, published):
    assert boundaries(FIVE, spent) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("fractions", [[0.5, 1.0], [1 / 3, 2 / 3, 1.0], [0.3, 0.35, 0.9, 1.0]])
def test_all_looks_together_err_as_often_as_asked_by_another_integral(fractions):
    """scipy's multivariate normal: estimates at shares s < t correlate by sqrt(s / t)."""
    bounds = boundaries(fractions, partial(obrien_fleming, alpha=0.05))
    correlation = [[math.sqrt(min(one, other) / max(one, other)) for one in fractions] for other in fractions]
    for number in range(1, len(fractions) + 1):
        joint = stats.multivariate_normal(cov=np.array(correlation)[:number, :number], abseps=1e-6, seed=0)
        inside = joint.cdf(np.array(bounds[:number]), lower_limit=-np.array(bounds[:number]))
        assert 1 - inside == pytest.approx(obrien_fleming(fractions[number - 1], 0.05), abs=2e-5)


def test_means_of_growing_samples_stay_inside_as_often_as_asked():
    """20,000 repetitions of 60 values, looked at four times: a standard error of 0.15 points around 5 %."""
    shares = [0.25, 0.5, 0.75, 1.0]
    bounds = np.array(boundaries(shares, partial(obrien_fleming, alpha=0.05)))
    numbers = np.array([int(share * 60) for share in shares])
    sums = np.random.default_rng(0).normal(size=(20_000, 60)).cumsum(axis=1)[:, numbers - 1]
    assert (np.abs(sums / np.sqrt(numbers)) > bounds).any(axis=1).mean() == pytest.approx(0.05, abs=0.005)
    naive = (np.abs(sums / np.sqrt(numbers)) > stats.norm.ppf(0.975)).any(axis=1).mean()
    assert naive > 0.11, "looking four times at 95 % must be seen to fail, or this test shows nothing"


def test_a_single_look_is_the_usual_one():
    assert boundaries([1.0], partial(obrien_fleming, alpha=0.05)) == pytest.approx([stats.norm.ppf(0.975)])
    assert look_confidences([1.0], 0.9) == pytest.approx((0.9,))


def test_early_looks_are_strict_and_the_last_is_nearly_as_sharp_as_a_single_one():
    for number in (2, 3, 5):
        levels = look_confidences([look / number for look in range(1, number + 1)], 0.95)
        assert list(levels) == sorted(levels, reverse=True) and levels[0] > 0.99 and 0.95 < levels[-1] < 0.96


def test_a_look_at_next_to_nothing_finds_nothing():
    assert look_confidences([0.001, 1.0], 0.95) == pytest.approx((1.0, 0.95))
    assert boundaries([0.001, 1.0], partial(obrien_fleming, alpha=0.05))[0] == 9.0


def test_what_is_spent_rises_to_all_of_it():
    gone = [obrien_fleming(fraction, 0.05) for fraction in np.linspace(0.05, 1, 20)]
    assert gone == sorted(gone) and gone[-1] == pytest.approx(0.05)
