"""CMMD: the sums written out, parity of its biased twin with the published form, no bias, and what its docstring says of the mean."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.metrics.cmmd import SIGMA, Cmmd, gaussian_kernel
from sana_bench.metrics.feature_distance import one_row_each
from sana_bench.metrics.kernel import statistics_under


def embeddings(number: int, seed: int, shift: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(number, 32))
    drawn[:, 0] += shift
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def cmmd(generated: np.ndarray, real: np.ndarray) -> float:
    return Cmmd.evaluate(statistics_under(gaussian_kernel, one_row_each(generated), one_row_each(real)), np.arange(len(generated)))


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.exp(-np.square(x - y).sum() / (2 * SIGMA**2)))


def test_equals_the_sums_written_out() -> None:
    x, y = embeddings(5, 0), embeddings(4, 1, shift=1)
    within = [np.mean([kernel(a, b) for i, a in enumerate(each) for j, b in enumerate(each) if i != j]) for each in (x, y)]
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert cmmd(x, y) == pytest.approx(1000 * (sum(within) - 2 * between), rel=1e-9)


def test_only_directions_count() -> None:
    x, y = embeddings(20, 2), embeddings(30, 3, shift=1)
    assert cmmd(7 * x, 0.1 * y) == pytest.approx(cmmd(x, y), rel=1e-9)


def test_no_bias_at_few_images_and_about_ten_times_the_squared_shift_of_the_mean() -> None:
    equal = np.mean([cmmd(embeddings(20, seed), embeddings(20, 1000 + seed)) for seed in range(200)])
    assert abs(equal) < 0.02
    x, y = embeddings(3000, 4, shift=3), embeddings(3000, 5)
    assert cmmd(x, y) == pytest.approx(10 * np.square(x.mean(axis=0) - y.mean(axis=0)).sum(), rel=0.02)
