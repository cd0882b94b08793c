"""What few images alone make of a Fréchet distance: its value between images of one and the same distribution.

Two halves of the real images are such sets, smaller ones than those of a run. The value falls with sizes n and m about as a power of
1/n + 1/m; the power is taken from halves of the halves, and carries the value on to the sizes of the run.

On Gaussians of 1,024 dimensions, 40 to 200 real images and 16 to 1,500 generated ones it is within 10 % of the truth where many
dimensions matter (eigenvalues 1/i and 1/sqrt(i)) and within a factor of two or so where a few carry all (1/i^2). A Gaussian with the
covariance of the real images would read half of the truth or less: few images do not show most dimensions.
"""

from __future__ import annotations

import numpy as np

from sana_bench.metrics.frechet_distance import frechet_distance

FEWEST_REAL = 32
"""Below, quarters of the real images are too few for a covariance."""
MOST_IN_PART = 500
"""Generated images that a part stands for; more only cost time."""
NUM_SPLITS, SEED = 10, 0


def small_sample_floor(real_MD: np.ndarray, num_images: int) -> float | None:
    """Expected Fréchet distance of that many images to the M real ones if both had the same distribution.

    None where the real ones are too few or all alike.

    Args:
        real_MD: (M, D) features of real images.
        num_images: N, at least 2.
    """
    num_real = len(real_MD)
    if num_real < FEWEST_REAL:
        return None
    rng, first = np.random.default_rng(SEED), min(num_images, num_real // 2, MOST_IN_PART)
    sizes = [(first, num_real - first), (max(first // 2, 2), (num_real - first) // 2)]
    values = [np.mean([_between_parts(real_MD, *pair, rng) for _ in range(NUM_SPLITS)]) for pair in sizes]
    if min(values) <= 0:
        return None
    noise = [_noise(*pair) for pair in sizes]
    power = np.log(values[1] / values[0]) / np.log(noise[1] / noise[0])
    return float(values[0] * (_noise(num_images, num_real) / noise[0]) ** power)


def _noise(n: int, m: int) -> float:
    return 1 / n + 1 / m


def _between_parts(real_MD: np.ndarray, n: int, m: int, rng: np.random.Generator) -> float:
    chosen = rng.permutation(len(real_MD))[:n + m]
    return frechet_distance(real_MD[chosen[:n]], real_MD[chosen[n:]])
