"""MIND: the definition written out, closed form, what it does not depend on, and that it sees lost variety at few images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from sana_bench.metrics.mind import NUM_DIRECTIONS, directions, mind, mind_of_subset, mind_statistics


def normal(number: int, seed: int, dimensions: int = 16, spread: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return shift + spread * np.random.default_rng(seed).normal(size=(number, dimensions))


def test_equals_the_sums_written_out_for_sets_of_one_size() -> None:
    generated, real, along = normal(12, 0), normal(12, 1), directions(16)
    total = sum(np.square(np.sort(generated @ u) - np.sort(real @ u)).sum() for u in along.T)
    assert mind(generated, real) == pytest.approx(3 * 16 / (12 * NUM_DIRECTIONS) * total, rel=1e-5)


def test_two_sizes_are_matched_by_quantiles() -> None:
    """Repeating each image changes no distribution; a size that does not divide the other is the exact transport distance."""
    generated, real = normal(6, 2), normal(9, 3)
    assert mind(np.repeat(generated, 3, axis=0), np.repeat(real, 2, axis=0)) == pytest.approx(mind(generated, real), rel=1e-5)
    one, other = np.sort(normal(7, 4, dimensions=1)[:, 0]), np.sort(normal(5, 5, dimensions=1)[:, 0])
    fine = [np.repeat(each, 35 // len(each)) for each in (one, other)]
    assert mind(one[:, None], other[:, None]) == pytest.approx(3 * np.square(fine[0] - fine[1]).mean(), rel=1e-5)
    assert np.abs(fine[0] - fine[1]).mean() == pytest.approx(wasserstein_distance(one, other))


def test_identity_is_zero_and_a_shift_is_three_times_its_square() -> None:
    """Along a random direction a shift s of length |s| moves all by |s| cos, whose square is |s|^2 / D on average."""
    features = normal(20, 6)
    assert mind(features, features) == pytest.approx(0, abs=1e-9)
    shifted = mind(features + 0.5, features)
    assert shifted == pytest.approx(3 * 16 * np.square(np.full(16, 0.5) @ directions(16)).mean(), rel=1e-4)
    assert shifted == pytest.approx(3 * np.square(np.full(16, 0.5)).sum(), rel=0.15)  # 1,000 directions are off by 5 % now and then


def test_order_of_images_is_nothing_and_a_subset_is_scored_as_if_it_were_alone() -> None:
    generated, real, chosen = normal(30, 7), normal(25, 8), np.array([3, 17, 4, 9, 22, 1, 0, 28, 12])
    statistics = mind_statistics(generated, real)
    assert mind_of_subset(statistics, chosen) == pytest.approx(mind(generated[chosen], real), rel=1e-6)
    assert mind_of_subset(statistics, chosen[::-1]) == pytest.approx(mind_of_subset(statistics, chosen), rel=1e-12)


def test_lost_variety_is_seen_where_the_frechet_distance_rewards_it() -> None:
    """At N = 200 in 256 dimensions a generator with a tenth less spread beats the true one by FD, and not by MIND."""
    from sana_bench.metrics.frechet_distance import frechet_distance

    real = normal(2000, 9, dimensions=256)
    true, narrow = normal(200, 10, dimensions=256), normal(200, 10, dimensions=256, spread=0.9)
    assert frechet_distance(narrow, real) < frechet_distance(true, real)
    assert mind(narrow, real) > mind(true, real)
