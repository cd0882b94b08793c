"""Kernel distance (KID): squared maximum mean discrepancy of pooled features under a cubic kernel.

    k(x, y) = (x . y / D + 1)^3
    MMD^2   = mean_{i != j} k(g_i, g_j) + mean_{i != j} k(r_i, r_j) - 2 mean_{i, j} k(g_i, r_j)

All pairs are used (a U-statistic), not random subsets, so the value has no seed and no bias.

Legend: N generated images, M real images, D feature dimensions.
Source: Bińkowski et al. 2018 (arXiv 1801.01401), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sana_bench.features import EXTRACTORS
from sana_bench.metrics import MetricEntry, metric_entry, on_every_extractor
from sana_bench.metrics.feature_distance import USUAL, FeatureDistance

# The estimator is unbiased at any size; one pair is the least for which it is defined. Its interval tells the rest.
MIN_IMAGES = 2


def cubic_kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """(N, M) values of (x . y / D + 1)^3."""
    return (x_ND @ y_MD.T / x_ND.shape[1] + 1) ** 3


def kernel_statistics(generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """What the distance of any subset of the generated images needs.

    Returns:
        `kernel`: (N, N) between generated images; `cross_mean`: (N,) mean kernel of each with all real images; `real_mean`:
        (1,) mean kernel of distinct real images. All float64.
    """
    return statistics_under(cubic_kernel, generated_ND, real_MD)


def statistics_under(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """The same under another kernel, ((N, D), (M, D)) -> (N, M)."""
    generated_ND = generated_ND.reshape(-1, real_MD.shape[1])
    real_MM = kernel(real_MD, real_MD)
    num_real = len(real_MD)
    return {"kernel": kernel(generated_ND, generated_ND),
            "cross_mean": kernel(generated_ND, real_MD).mean(1),
            "real_mean": np.array([(real_MM.sum() - np.trace(real_MM)) / (num_real * (num_real - 1))])}


def kernel_distance_of_subset(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
    """MMD^2 of the chosen generated images; 0 on average for equal distributions, so it may be negative.

    Args:
        statistics: of `kernel_statistics`.
        indices: (n,) integers into the generated images with at least two distinct ones. A repeated image is never
            paired with itself, so that resampling with repeats keeps the estimate unbiased.
    """
    kernel_NN = statistics["kernel"]
    counts_N = np.bincount(indices, minlength=len(kernel_NN)).astype(np.float64)
    n = counts_N.sum()
    within = counts_N @ kernel_NN @ counts_N - np.square(counts_N) @ np.diag(kernel_NN)
    pairs = n**2 - np.square(counts_N).sum()
    return float(within / pairs + statistics["real_mean"][0] - 2 * counts_N @ statistics["cross_mean"] / n)


def kernel_distance(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
    """Unbiased MMD^2 under the cubic kernel; lower is better, about 0 for equal distributions, and it may be negative.

    Args:
        generated_ND: (N, D) features of generated images, N at least 2.
        real_MD: (M, D) features of real images, M at least 2.
    """
    statistics = kernel_statistics(generated_ND.astype(np.float64), real_MD.astype(np.float64))
    return kernel_distance_of_subset(statistics, np.arange(len(generated_ND)))


class KernelDistance(FeatureDistance):
    """Unbiased kernel distance of {features} features to real people; about 0 when equal, by chance below.

    It sees shifts of the mean well and changes of spread poorly: read it beside the Fréchet distance and diversity.

    Formula: 1000 times the unbiased MMD^2 under the kernel (x.y / D + 1)^3, over all pairs.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), with {features} features; published on Inception-v3's.
    Limits: it sees images as the extractor does, in small: neither blur, noise and texture at 2K nor a broken hand; lost variety hardly
        moves it.
    Use: compares two models with the same real images.
    """

    min_images = MIN_IMAGES
    reduce = staticmethod(kernel_statistics)

    @staticmethod
    def distance(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        return 1000 * kernel_distance_of_subset(statistics, indices)


# EfficientNet: photographs of other people than the reference read about 6, and a blur of 3 pixels at 512 adds 37. Five is a seventh of
# that blur, and about one standard deviation at N = 16. Unit features of CLIP move it less: one gender instead of two adds 0.9 on
# tiny-clip's 128 dimensions (13.7 on EfficientNet), and it falls as 1/D.
BUDGET, BUDGET_OF_UNIT_FEATURES = 5.0, 0.1
SEEN = {"efficientnet_lite0": ("set_collapsed", "one_gender", "picture_darker")}


def _kernel_on(extractor: str) -> MetricEntry:
    return metric_entry(KernelDistance.on(extractor), name=f"kid_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=False,
                        unit="MMD² x 1000", budget=BUDGET_OF_UNIT_FEATURES if EXTRACTORS.get(extractor).text else BUDGET, needs_reference=True,
                        usual=extractor == USUAL, sees=SEEN.get(extractor, ("set_collapsed", "one_gender")))


on_every_extractor("kid", _kernel_on, "kernel distance")
