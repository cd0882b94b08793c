"""Seconds of one Fréchet distance of two sets of 500 images in 2048 dimensions: the Gram form, scipy's square root, torchmetrics' eigenvalues.

    python benchmarks/frechet.py

All get the same features. Then a permutation test of 1,000 replicates, each a choice of half of the images of two arms, from one Gram.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from sana_bench.metrics.frechet_distance import frechet_distance, frechet_of_subset, frechet_statistics

NUM_IMAGES, NUM_DIMENSIONS, REPLICATES = 500, 2048, 1000


def main() -> None:
    draw = np.random.default_rng(0)
    mixing = draw.normal(size=(NUM_DIMENSIONS, NUM_DIMENSIONS)) / np.sqrt(NUM_DIMENSIONS)
    generated, real = (draw.normal(size=(NUM_IMAGES, NUM_DIMENSIONS)) @ mixing + shift for shift in (0.02, 0.0))
    seconds, values = {}, {}
    for name, compute in {"sana-bench": frechet_distance, "scipy sqrtm": with_scipy, "torchmetrics": with_torchmetrics}.items():
        seconds[name], values[name] = timed(lambda compute=compute: compute(generated, real))
    for name in seconds:
        print(f"{name}: {seconds[name]:.3f} s, {seconds[name] / seconds['sana-bench']:.0f} times ours, value {values[name]:.6f}, "
              f"relative difference {abs(values[name] / values['sana-bench'] - 1):.1e}")
    statistics = frechet_statistics(np.concatenate([generated, generated + 0.001]), real)
    taken, _ = timed(lambda: [frechet_of_subset(statistics, draw.permutation(2 * NUM_IMAGES)[:NUM_IMAGES]) for _ in range(REPLICATES)])
    print(f"{REPLICATES} permutation replicates from one Gram: {taken:.1f} s")


def timed(call: Callable) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def with_scipy(generated: np.ndarray, real: np.ndarray) -> float:
    """As pytorch-fid, clean-fid and torch-fidelity do."""
    from scipy.linalg import sqrtm

    covariances = [np.cov(each, rowvar=False) for each in (generated, real)]
    root = sqrtm(covariances[0] @ covariances[1])
    shift = np.square(generated.mean(axis=0) - real.mean(axis=0)).sum()
    return float(shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root.real))


def with_torchmetrics(generated: np.ndarray, real: np.ndarray) -> float:
    import torch
    from torchmetrics.image.fid import _compute_fid

    means = [torch.from_numpy(each.mean(axis=0)) for each in (generated, real)]
    covariances = [torch.from_numpy(np.cov(each, rowvar=False)) for each in (generated, real)]
    return float(_compute_fid(means[0], covariances[0], means[1], covariances[1]))


if __name__ == "__main__":
    main()
