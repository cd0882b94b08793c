"""Fréchet distance: closed forms, parity with two other implementations, direction, subsets, traps."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError, MetricError
from sana_bench.metrics import METRICS, MetricContext
from sana_bench.metrics.feature_distance import feature_matrix
from sana_bench.metrics.frechet import MIN_IMAGES, Frechet
from sana_bench.metrics.frechet_distance import frechet_distance, frechet_of_subset, frechet_statistics
from sana_bench.prompts import Target


def spread_features(num_images: int, num_features: int, seed: int) -> np.ndarray:
    """Gaussian features whose variances fall as 1 / i, as those of real extractors do."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_images, num_features)) / np.sqrt(np.arange(1, num_features + 1))


def exact_moments(num_images: int, mean_D: np.ndarray, covariance_DD: np.ndarray, seed: int) -> np.ndarray:
    """Features whose sample mean and unbiased sample covariance are exactly those given."""
    noise_ND = np.random.default_rng(seed).normal(size=(num_images, len(mean_D)))
    noise_ND -= noise_ND.mean(0)
    white_ND = noise_ND @ np.linalg.inv(np.linalg.cholesky(np.cov(noise_ND.T))).T
    return mean_D + white_ND @ np.linalg.cholesky(covariance_DD).T


def textbook_distance(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
    """Heusel et al., eq. 6, with the D x D root S_r^1/2 written out."""
    generated_DD, real_DD = np.cov(generated_ND.T), np.cov(real_MD.T)
    values, vectors = np.linalg.eigh(real_DD)
    root_DD = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root_DD @ generated_DD @ root_DD).clip(0)).sum()
    shift = np.square(generated_ND.mean(0) - real_MD.mean(0)).sum()
    return float(shift + np.trace(generated_DD) + np.trace(real_DD) - 2 * cross)


@pytest.mark.parametrize(("num_generated", "num_real"), [(16, 84), (84, 16), (50, 50), (200, 120)])
def test_equals_the_textbook_formula(num_generated: int, num_real: int) -> None:
    """Fewer and more images than the 64 features, on either side."""
    generated, real = spread_features(num_generated, 64, 0) + 0.1, spread_features(num_real, 64, 1) * 1.2
    assert frechet_distance(generated, real) == pytest.approx(textbook_distance(generated, real), rel=1e-6)


def test_equals_torchmetrics() -> None:
    import torch
    from torchmetrics.image.fid import _compute_fid

    generated, real = spread_features(200, 48, 2) * 0.8 + 0.2, spread_features(150, 48, 3)
    moments = [torch.from_numpy(array) for x in (real, generated) for array in (x.mean(0), np.cov(x.T))]
    assert frechet_distance(generated, real) == pytest.approx(_compute_fid(*moments).item(), rel=1e-6)


def test_closed_form_of_two_gaussians() -> None:
    """Diagonal covariances: |shift|^2 + sum (s_g - s_r)^2 = (9 + 16) + (2 - 1)^2 + (3 - 3)^2 + (1 - 4)^2 = 35."""
    generated = exact_moments(40, np.array([3.0, 4, 0]), np.diag([4.0, 9, 1]), 4)
    real = exact_moments(60, np.zeros(3), np.diag([1.0, 9, 16]), 5)
    assert frechet_distance(generated, real) == pytest.approx(35, rel=1e-9)


@pytest.mark.parametrize("num_images", [10, 100])
def test_identity_is_zero(num_images: int) -> None:
    features = spread_features(num_images, 64, 6)
    assert frechet_distance(features, features) < 1e-6 * np.trace(np.cov(features.T))


def test_symmetric_and_unmoved_by_a_shift_or_turn_of_both() -> None:
    generated, real = spread_features(30, 20, 7), spread_features(40, 20, 8) + 0.3
    turn, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(20, 20)))
    value = frechet_distance(generated, real)
    assert frechet_distance(real, generated) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(generated @ turn + 50, real @ turn + 50) == pytest.approx(value, rel=1e-7)


def test_grows_with_shift_by_the_square_of_the_shift() -> None:
    features, real = spread_features(60, 32, 10), spread_features(60, 32, 11)
    features += real.mean(0) - features.mean(0)
    values = np.array([frechet_distance(features + shift, real) for shift in (0, 0.1, 0.2, 0.4)])
    assert values[1:] - values[0] == pytest.approx(32 * np.square([0.1, 0.2, 0.4]), rel=1e-6)


def test_wider_and_narrower_are_both_farther() -> None:
    real = spread_features(300, 16, 12)
    same, wide, narrow = (frechet_distance(spread_features(300, 16, 13) * scale, real) for scale in (1, 1.5, 0.5))
    assert wide > 3 * same and narrow > 3 * same


def test_bias_falls_with_the_number_of_images() -> None:
    """What the docstring warns of: equal distributions read far above 0 at small N."""
    real = spread_features(2000, 64, 14)
    values = [frechet_distance(spread_features(n, 64, 15), real) for n in (10, 50, 500)]
    assert values[0] > 3 * values[1] > 3 * values[2] > 0


def test_a_subset_is_scored_as_if_it_were_alone() -> None:
    generated, real = spread_features(30, 64, 16), spread_features(25, 64, 17)
    statistics = frechet_statistics(generated, real)
    for indices in (np.arange(5, 25), np.array([3, 3, 3, 7, 9, 11, 11, 20])):
        assert frechet_of_subset(statistics, indices) == pytest.approx(textbook_distance(generated[indices], real), rel=1e-6)


def context_of(real: np.ndarray) -> MetricContext:
    reference = [{"efficientnet_lite0": {"features": row.astype(np.float32)}} for row in real]
    return MetricContext(reference=reference, target=Target())


def test_too_few_images_are_refused() -> None:
    real = spread_features(20, 64, 18)
    with pytest.raises(InsufficientSamplesError, match=f"7 reference.*at least {MIN_IMAGES}.*score.metrics"):
        METRICS.get("fd_efficientnet_lite0").make(context_of(real[:7]))
    statistics = frechet_statistics(real, real)
    with pytest.raises(InsufficientSamplesError, match="2 generated"):
        Frechet.evaluate(statistics, np.array([1, 1, 1, 1, 1, 2, 2, 2, 2]))


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MetricError, match="not finite"):
        feature_matrix([{"features": np.array([0.0, np.nan])}])
