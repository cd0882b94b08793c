"""Kernel distance: parity with torchmetrics and with the sums written out, no bias, direction, subsets."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics.kernel import KernelDistance, compact, kernel_distance, kernel_distance_of_subset, kernel_statistics


def features_of(num_images: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_images, 24)) + shift


def pairwise_distance(generated: np.ndarray, real: np.ndarray, indices: np.ndarray) -> float:
    """The three means of the definition, pair after pair; a repeated image is not paired with itself."""
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within = [kernel(generated[i], generated[j]) for i in indices for j in indices if i != j]
    among = [kernel(x, y) for i, x in enumerate(real) for j, y in enumerate(real) if i != j]
    across = [kernel(generated[i], y) for i in indices for y in real]
    return float(np.mean(within) + np.mean(among) - 2 * np.mean(across))


def test_equals_torchmetrics_on_sets_of_one_size() -> None:
    import torch
    from torchmetrics.image.kid import poly_mmd

    generated, real = features_of(40, 0, 0.2), features_of(40, 1)
    theirs = poly_mmd(torch.from_numpy(real), torch.from_numpy(generated)).item()
    assert kernel_distance(generated, real) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("indices", [np.arange(12), np.array([1, 4, 5]), np.array([0, 0, 0, 2, 7, 7])])
def test_subsets_equal_the_sums_written_out(indices: np.ndarray) -> None:
    generated, real = features_of(12, 2, 0.3), features_of(9, 3)
    statistics = kernel_statistics(generated, real)
    expected = pairwise_distance(generated, real, indices)
    assert kernel_distance_of_subset(statistics, indices) == pytest.approx(expected, rel=1e-9)


def test_no_bias_at_small_sizes() -> None:
    """Mean of 400 draws of 8 images against its own standard error: 4 of them would be one miss in 16,000."""
    draws = np.array([kernel_distance(features_of(8, 100 + seed), features_of(8, 900 + seed)) for seed in range(400)])
    assert abs(draws.mean()) < 4 * draws.std() / np.sqrt(len(draws))
    assert (draws < 0).any()


def test_grows_with_shift() -> None:
    real = features_of(50, 4)
    values = [kernel_distance(features_of(50, 5, shift), real) for shift in (0, 0.1, 0.3, 1.0)]
    assert values == sorted(values) and abs(values[0]) < 0.1 * values[3]


def test_resampling_the_same_images_is_not_pulled_up_by_repeats() -> None:
    """With self-pairs a bootstrap of 20 images would sit above the value by about mean k(x, x) / 20."""
    generated, real = features_of(20, 6), features_of(40, 7)
    statistics = kernel_statistics(generated, real)
    rng = np.random.default_rng(8)
    draws = np.array([kernel_distance_of_subset(statistics, rng.integers(20, size=20)) for _ in range(500)])
    assert abs(draws.mean() - kernel_distance(generated, real)) < 4 * draws.std() / np.sqrt(len(draws))


def test_a_single_image_is_refused() -> None:
    statistics = kernel_statistics(features_of(5, 9), features_of(5, 10))
    with pytest.raises(InsufficientSamplesError, match="1 generated image"):
        KernelDistance.evaluate(statistics, np.array([3, 3, 3]))


@pytest.mark.parametrize(("scale", "bytes_each"), [(1.0, 2), (0.03, 2), (6e4, 4), (1e6, 4), (1e-6, 4)])
def test_what_is_kept_for_the_other_side_takes_half_where_that_is_enough(scale: float, bytes_each: int) -> None:
    """Joined, both sides are as near to one set as the rounding lets them, and no feature is too large to be kept."""
    sides = [scale * features_of(30, seed, shift) for seed, shift in ((0, 0.0), (1, 0.4))]
    real = scale * features_of(20, 2)
    kept = [kernel_statistics(side, real) | {"features": compact(side), "image": np.arange(len(side))} for side in sides]
    assert {side["features"].itemsize for side in kept} == {bytes_each}
    together, mixed = kernel_statistics(np.concatenate(sides), real), np.arange(0, 60, 3)
    assert KernelDistance.join(*kept)["kernel"] == pytest.approx(together["kernel"], rel=1e-3, abs=1e-3 * together["kernel"].std())
    assert KernelDistance.evaluate(KernelDistance.join(*kept), mixed) == pytest.approx(KernelDistance.evaluate(together, mixed), rel=5e-3)
