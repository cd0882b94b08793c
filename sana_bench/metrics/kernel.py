"""Kernel distance (KID): squared maximum mean discrepancy of pooled features under a cubic kernel.

    k(x, y) = (x . y / D + 1)^3
    MMD^2   = mean_{i != j} k(g_i, g_j) + mean_{i != j} k(r_i, r_j) - 2 mean_{i, j} k(g_i, r_j)

All pairs are used (a U-statistic), not random subsets, so the value has no seed and no bias.

Where an image has several rows (patches, hands), k(g_i, g_j) is the mean over all pairs of a row of image i and a row of image j, and i and
j are different images: rows of one image are alike, and their pairs would pass for a narrower distribution. Every image counts as much as
every other, however many rows it has; the estimate is unbiased for the distributions of "a row of an image" drawn in two steps.

Legend: N generated images, M real images, D feature dimensions, R and S rows of these images.
Source: Bińkowski et al. 2018 (arXiv 1801.01401), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sana_bench.features import EXTRACTORS
from sana_bench.metrics import MetricEntry, ScoredSample, has_no_rows, metric_entry, on_every_extractor
from sana_bench.metrics.feature_distance import USUAL, FeatureDistance, Rows, check_num_images, one_row_each

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""((R, D), (S, D)) -> (R, S)."""

# The estimator is unbiased at any size; one pair is the least for which it is defined. Its interval tells the rest.
MIN_IMAGES = 2

HALF_RANGE = (1e-2, float(np.finfo(np.float16).max))
"""Largest values of features that half precision holds: above are none, and far below are too few steps."""
MANY, BLOCK = 2048, 2**22
"""Images from which on the kernel is kept in single precision (10,000 take 400 MB); values of it that are computed at a time."""


def cubic_kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """(N, M) values of (x . y / D + 1)^3."""
    return (x_ND @ y_MD.T / x_ND.shape[1] + 1) ** 3


def kernel_statistics(generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """What the distance of any subset of the generated images needs, of images with one row each.

    Returns:
        `kernel`: (N, N) between generated images; `cross_mean`: (N,) mean kernel of each with all real images; `real_mean`:
        (1,) mean kernel of distinct real images. float64; from MANY images on `kernel` is float32, whose errors average out.
    """
    return statistics_under(cubic_kernel, one_row_each(generated_ND), one_row_each(real_MD))


def statistics_under(kernel: Kernel, generated: Rows, real: Rows) -> dict[str, np.ndarray]:
    """The same of images with any number of rows, under any kernel."""
    real_MM = mean_kernel(kernel, real, real)
    num_real = len(real_MM)
    return {"kernel": mean_kernel(kernel, generated, generated, np.float64 if generated.num_images < MANY else np.float32),
            "cross_mean": mean_kernel(kernel, generated, real).mean(1),
            "real_mean": np.array([(real_MM.sum() - np.trace(real_MM)) / (num_real * (num_real - 1))])}


def mean_kernel(kernel: Kernel, x: Rows, y: Rows, dtype: type = np.float64) -> np.ndarray:
    """(N, M) mean of the kernel over all pairs of a row of one image and a row of another; images without rows are left out."""
    (starts_N, counts_N), (starts_M, counts_M) = x.spans(), y.spans()
    means_NM = np.empty((len(starts_N), len(starts_M)), dtype)
    if not means_NM.size:
        return means_NM
    step = max(1, BLOCK // max(1, len(y.owner_R) * int(counts_N.max())))
    for first in range(0, len(starts_N), step):
        starts_n, counts_n = starts_N[first:first + step], counts_N[first:first + step]
        block_RS = kernel(x.features_RD[starts_n[0]:starts_n[-1] + counts_n[-1]], y.features_RD)
        sums_nM = np.add.reduceat(np.add.reduceat(block_RS, starts_M, axis=1), starts_n - starts_n[0], axis=0)
        means_NM[first:first + step] = sums_nM / (counts_n[:, None] * counts_M)
    return means_NM


def compact(features_RD: np.ndarray) -> np.ndarray:
    """(R, D) float16 where that holds them, else float32, to be joined with those of another side.

    Roundings average out over dimensions and pairs: on native patches of tiny_humans they move a distance of 60 by 0.0005, of whole pictures one of
    100 by 0.002, and CMMD of 3 by 0.0001.
    """
    least, most = HALF_RANGE
    return features_RD.astype(np.float16 if least <= np.abs(features_RD).max(initial=0) <= most else np.float32)


def mean_of_distinct(kernel_NN: np.ndarray, indices: np.ndarray) -> float:
    """Mean of a symmetric kernel over all pairs of different images among the chosen ones.

    Args:
        indices: (n,) integers with at least two distinct ones. A repeated image is never paired with itself, so that resampling
            with repeats keeps the estimate unbiased.
    """
    counts_N = np.bincount(indices, minlength=len(kernel_NN)).astype(np.float64)
    sums_N = np.concatenate([kernel_NN[first:first + MANY].astype(np.float64, copy=False) @ counts_N for first in range(0, len(kernel_NN), MANY)])
    within = counts_N @ sums_N - np.square(counts_N) @ np.diag(kernel_NN)
    return float(within / (counts_N.sum() ** 2 - np.square(counts_N).sum()))


def kernel_distance_of_subset(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
    """MMD^2 of the chosen generated images; 0 on average for equal distributions, so it may be negative.

    Args:
        statistics: of `kernel_statistics`.
        indices: (n,) integers into the generated images, as `mean_of_distinct` takes them.
    """
    cross = statistics["cross_mean"][indices].mean()
    return float(mean_of_distinct(statistics["kernel"], indices) + statistics["real_mean"][0] - 2 * cross)


def kernel_distance(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
    """Unbiased MMD^2 under the cubic kernel; lower is better, about 0 for equal distributions, and it may be negative.

    Args:
        generated_ND: (N, D) features of generated images, N at least 2.
        real_MD: (M, D) features of real images, M at least 2.
    """
    statistics = kernel_statistics(generated_ND.astype(np.float64), real_MD.astype(np.float64))
    return kernel_distance_of_subset(statistics, np.arange(len(generated_ND)))


class KernelFamily(FeatureDistance):
    """A distance made of a kernel between images, which are reduced to it with all their rows."""

    min_images = MIN_IMAGES
    kernel: Kernel
    scale: float
    """What MMD^2 is multiplied by, to be read."""

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        generated = self._rows([sample.features[self.extractor] for sample in samples])
        features = {"features": compact(generated.features_RD), "image": generated.owner_R} if EXTRACTORS.get(self.extractor).kept else {}
        return statistics_under(self.kernel, generated, self.real) | features

    @classmethod
    def evaluate(cls, statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        check_num_images(len(np.unique(indices)), cls.min_images, "generated")
        return cls.scale * kernel_distance_of_subset(statistics, indices)

    @classmethod
    def join(cls, baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """The kernel between the sides is made of the features, which a baseline from before they were kept lacks."""
        if not all("features" in side for side in (baseline, candidate)):
            return None
        cross = mean_kernel(cls.kernel, *(Rows(side["features"].astype(np.float64), side["image"]) for side in (baseline, candidate)))
        return {"kernel": np.block([[baseline["kernel"], cross], [cross.T, candidate["kernel"]]]),
                "cross_mean": np.concatenate([baseline["cross_mean"], candidate["cross_mean"]]), "real_mean": baseline["real_mean"]}


class KernelDistance(KernelFamily):
    """Unbiased kernel distance of {features} features to real people; about 0 when equal, by chance below.

    It sees shifts of the mean well and changes of spread poorly: read it beside the Fréchet distance and diversity.

    Formula: 1000 times the unbiased MMD^2 under the kernel (x.y / D + 1)^3, over all pairs of different images.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), with {features} features; published on Inception-v3's.
    Limits: {seen}. Lost variety hardly moves it.
    Use: compares two models with the same real images.
    """

    kernel = staticmethod(cubic_kernel)
    scale = 1000.0


# EfficientNet: photographs of other people than the reference read about 6, and a blur of 3 pixels at 512 adds 37. Five is a seventh of
# that blur, and about one standard deviation at N = 16. Unit features of CLIP move it less: one gender instead of two adds 0.9 on
# tiny-clip's 128 dimensions (13.7 on EfficientNet), and it falls as 1/D. Native patches of nine photographs of 2048 px: JPEG of quality 75 adds
# 1.3, 1024 px enlarged 3, a blur of one pixel 6. Hands: a finger less on each adds 14; faces whose features are blurred by a hundredth of
# their size: 36.
BUDGET, BUDGET_OF_UNIT_FEATURES, BUDGETS = 5.0, 0.1, {"patches_efficientnet_lite0": 2.0}
ALSO_USUAL = "patches_efficientnet_lite0"
"""Of the distances at native resolution one is measured in every run."""
SEEN = {"efficientnet_lite0": ("set_collapsed", "one_gender", "picture_darker"),
        "patches_efficientnet_lite0": ("picture_blurred", "picture_compressed", "picture_upscaled", "picture_noisy", "set_collapsed"),
        "hand_crops_efficientnet_lite0": ("hand_warped", "hand_overlong_finger", "hand_missing_finger"),
        "face_crops_efficientnet_lite0": ("face_blurred_features", "face_asymmetric", "set_collapsed", "one_gender")}


def _kernel_on(extractor: str) -> MetricEntry:
    usual_budget = BUDGET_OF_UNIT_FEATURES if EXTRACTORS.get(extractor).text else BUDGET
    return metric_entry(KernelDistance.on(extractor), name=f"kid_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=False,
                        unit="MMD² x 1000", budget=BUDGETS.get(extractor, usual_budget), needs_reference=True,
                        usual=extractor in (USUAL, ALSO_USUAL), sees=SEEN.get(extractor, ("set_collapsed", "one_gender")))


on_every_extractor("kid", _kernel_on, "kernel distance", why_not=has_no_rows)
