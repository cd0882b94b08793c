"""Composition: closed forms, bias by simulation, and that a known confusion can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from sana_bench.metrics.composition import (corrected_shares, divergence_from_target, hill_number,
                                            mean_deviation_from_target, miller_madow_entropy, normalised_entropy,
                                            shannon_entropy, vendi_score)

HALVES = np.array([0.5, 0.5])


def test_entropy_is_scipys() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(5), size=20)
    for each in shares:
        assert shannon_entropy(each) == pytest.approx(entropy(each))
    assert shannon_entropy(np.array([1.0, 0.0])) == 0


def test_miller_madow_by_hand() -> None:
    """Counts 2, 2, 0: ln 2 and (2 - 1) / 8 for the two classes seen in four images."""
    assert miller_madow_entropy(np.array([2, 2, 0])) == pytest.approx(np.log(2) + 1 / 8)
    assert miller_madow_entropy(np.array([4, 0, 0])) == 0
    assert normalised_entropy(np.array([2, 2, 0])) == pytest.approx((np.log(2) + 1 / 8) / np.log(3))
    assert normalised_entropy(np.array([2, 2])) == 1  # (ln 2 + 1/8) / ln 2 is cut


def test_miller_madow_is_less_biased_than_the_plug_in() -> None:
    """16 images of equal thirds: the plug-in is short by about (3 - 1) / 32 = 0.0625."""
    counts = np.random.default_rng(1).multinomial(16, [1 / 3] * 3, size=4000)
    plug_in = np.mean([shannon_entropy(each / 16) for each in counts]) - np.log(3)
    corrected = np.mean([miller_madow_entropy(each) for each in counts]) - np.log(3)
    assert plug_in == pytest.approx(-0.0625, abs=0.01)
    assert abs(corrected) < 0.2 * abs(plug_in)


def test_hill_numbers_by_hand() -> None:
    """Shares 1/2, 1/4, 1/4: three classes; exp(1.5 ln 2) = 2.83; 1 / (1/4 + 1/16 + 1/16) = 2.67."""
    shares = np.array([0.5, 0.25, 0.25, 0.0])
    assert [hill_number(shares, order) for order in (0, 1, 2)] == pytest.approx([3, 2**1.5, 8 / 3])
    assert hill_number(shares, 1) == pytest.approx(np.exp(shannon_entropy(shares)))
    for order in (0, 1, 2):
        assert hill_number(np.full(4, 0.25), order) == pytest.approx(4)
        assert hill_number(np.array([1.0, 0, 0]), order) == pytest.approx(1)


def test_divergence_by_hand() -> None:
    """Counts 4, 0 against halves: smoothed 4.5/5, 0.5/5 against 2.5/5, 2.5/5."""
    expected = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert divergence_from_target(np.array([4, 0]), HALVES) == pytest.approx(expected)
    assert divergence_from_target(np.array([3, 3]), HALVES) == 0


def test_divergence_is_finite_where_the_target_has_no_share_and_zero_on_target() -> None:
    """All in the class that nobody asked for: 4.5/5 against 0.5/5 and the other way round."""
    expected = 0.9 * np.log(9) - 0.1 * np.log(9)
    assert divergence_from_target(np.array([4, 0]), np.array([0.0, 1.0])) == pytest.approx(expected)
    assert divergence_from_target(np.array([0, 4]), np.array([0.0, 1.0])) == 0
    assert divergence_from_target(np.array([40, 0]), np.array([0.0, 1.0])) > expected


def test_distances_grow_as_one_class_takes_over() -> None:
    counts = [np.array([n, 20 - n]) for n in (10, 13, 16, 20)]
    for values in ([divergence_from_target(each, HALVES) for each in counts],
                   [mean_deviation_from_target(each / 20, HALVES) for each in counts],
                   [-miller_madow_entropy(each) for each in counts], [-hill_number(each / 20, 2) for each in counts]):
        assert values == sorted(values) and len(set(values)) == 4
    assert mean_deviation_from_target(np.array([1.0, 0.0]), HALVES) == 0.5


def test_no_confusion_changes_nothing() -> None:
    counts = np.array([7, 2, 1])
    np.testing.assert_allclose(corrected_shares(counts, 30 * np.eye(3)), counts / 10, atol=1e-8)


def test_correction_of_what_is_expected_is_exact() -> None:
    true, confusion = np.array([0.2, 0.5, 0.3]), np.array([[8, 2, 0], [1, 7, 2], [0, 3, 7]])
    np.testing.assert_allclose(corrected_shares(1000 * true @ (confusion / 10), confusion), true, atol=1e-6)


def test_correction_recovers_the_truth_by_simulation() -> None:
    rng = np.random.default_rng(2)
    true, confusion = np.array([0.1, 0.6, 0.3]), np.array([[0.7, 0.3, 0.0], [0.2, 0.7, 0.1], [0.0, 0.4, 0.6]])
    seen = rng.multinomial(400, true @ confusion, size=200)
    corrected = np.array([corrected_shares(each, confusion) for each in seen])
    assert (corrected >= 0).all() and np.allclose(corrected.sum(axis=1), 1)
    np.testing.assert_allclose(corrected.mean(axis=0), true, atol=0.02)
    assert np.abs(seen.mean(axis=0) / 400 - true).max() > 0.05  # what it had to make up for


def test_correction_beyond_the_simplex_stops_at_its_edge() -> None:
    """Nobody perceived as second, though one in five of the first would be: nobody is of the second class."""
    np.testing.assert_allclose(corrected_shares(np.array([10, 0]), np.array([[8, 2], [2, 8]])), [1, 0], atol=1e-6)


def test_vendi_counts_different_members() -> None:
    assert vendi_score(np.ones((6, 6))) == pytest.approx(1)
    assert vendi_score(np.eye(6)) == pytest.approx(6)
    pairs = np.kron(np.eye(3), np.ones((2, 2)))
    assert vendi_score(pairs) == pytest.approx(3)
    order = np.random.default_rng(3).permutation(6)
    assert vendi_score(pairs[np.ix_(order, order)]) == pytest.approx(3)


def test_vendi_rises_as_members_become_less_alike() -> None:
    values = [vendi_score(likeness + (1 - likeness) * np.eye(8)) for likeness in (1, 0.9, 0.5, 0)]
    assert values == sorted(values) and values[-1] == pytest.approx(8)
