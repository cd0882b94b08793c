"""MIND: how far the generated features are from the real ones along random directions, by sorting (sliced Wasserstein distance).

    MIND = 3 D mean over directions u of the mean over sorted places of (sort(u . g) - sort(u . r))^2

In a toy with 1,024 dimensions it ranked the true distribution first from N = 200 on, where the Fréchet distance takes lost variety
for quality and the kernel distance does not see it. It is biased by about 1/N all the same: compare it at one N.

Where an image has several rows (patches, hands), all rows of the chosen images are sorted together, and N counts rows.

Legend: N generated rows, M real rows, D feature dimensions, U directions.
Source: MIND (arXiv 2605.06797), the formula as torch-fidelity has it; for N other than M the exact distance of the two empirical
distributions along a direction takes the place of the mean over sorted places.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from sana_bench.features import EXTRACTORS, ExtractorEntry
from sana_bench.metrics import MetricEntry, has_no_rows, metric_entry, on_every_extractor
from sana_bench.metrics.feature_distance import USUAL, FeatureDistance

NUM_DIRECTIONS, SEED = 1000, 2020
MIN_IMAGES = 8


@cache
def directions(num_dimensions: int) -> np.ndarray:
    """(D, U) float64 unit vectors, always the same for a D."""
    drawn_DU = np.random.default_rng(SEED).standard_normal((num_dimensions, NUM_DIRECTIONS))
    return drawn_DU / np.linalg.norm(drawn_DU, axis=0)


def mind_statistics(generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """What the distance of any subset of the generated rows needs.

    Returns:
        `projections`: (N, U) float32; `real`: (M, U) float32, sorted along each direction; `dimensions`: (1,) D.
    """
    along_DU = directions(real_MD.shape[1])
    generated_NU = generated_ND.reshape(-1, real_MD.shape[1]) @ along_DU
    return {"projections": generated_NU.astype(np.float32), "real": np.sort(real_MD @ along_DU, axis=0).astype(np.float32),
            "dimensions": np.array([real_MD.shape[1]])}


def mind_of_subset(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
    """MIND of the chosen generated rows, in squared feature units; lower is better, 0 is equal samples.

    Args:
        statistics: of `mind_statistics`.
        indices: (n,) integers into the generated rows, n at least 1.
    """
    generated_nU = np.sort(statistics["projections"][indices], axis=0).astype(np.float64)
    real_MU = statistics["real"].astype(np.float64)
    places_n, places_M, shares = _matched(len(generated_nU), len(real_MU))
    squares_U = shares @ np.square(generated_nU[places_n] - real_MU[places_M])
    return float(3 * statistics["dimensions"][0] * squares_U.mean())


def _matched(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which sorted places of n and of m values belong together, and with which share: the quantile functions of both as steps."""
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / (n m)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, (ends - starts) / (n * m)


def mind(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
    """MIND of two sets of features, in squared feature units; lower is better.

    Args:
        generated_ND: (N, D) features of generated images.
        real_MD: (M, D) features of real images.
    """
    return mind_of_subset(mind_statistics(generated_ND.astype(np.float64), real_MD.astype(np.float64)), np.arange(len(generated_ND)))


class Mind(FeatureDistance):
    """Distance of sorted {features} features to real people along random directions; sees lost variety that fd and kid do not.

    Formula: 3 D times the mean over 1,000 random directions of the squared Wasserstein-2 distance along each.
    Source: MIND (arXiv 2605.06797), with {features} features.
    Limits: {seen}. It depends on N and on the reference people.
    Use: compares two models at the same N with the same real images. Its absolute value means nothing.
    """

    min_images, per_row = MIN_IMAGES, ("projections",)
    reduce = staticmethod(mind_statistics)
    distance = staticmethod(mind_of_subset)


# On EfficientNet one gender instead of two adds 28; on unit features of tiny-clip it adds 0.2. Native patches of nine photographs of 2048 px: JPEG of
# quality 75 adds 3, 1024 px enlarged 5, a blur of one pixel 12. Hands: a finger less on each adds 12.
BUDGET, BUDGET_OF_UNIT_FEATURES, BUDGETS = 5.0, 0.04, {"patches_efficientnet_lite0": 3.0}
SEEN = {"patches_efficientnet_lite0": ("picture_blurred", "picture_compressed", "picture_upscaled", "picture_noisy", "set_collapsed"),
        "hand_crops_efficientnet_lite0": ("hand_overlong_finger", "hand_missing_finger", "hand_added_finger")}


def _mind_on(extractor: str) -> MetricEntry:
    usual_budget = BUDGET_OF_UNIT_FEATURES if EXTRACTORS.get(extractor).text else BUDGET
    return metric_entry(Mind.on(extractor), name=f"mind_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=False,
                        unit="squared feature units", budget=BUDGETS.get(extractor, usual_budget), needs_reference=True,
                        usual=extractor == USUAL, sees=SEEN.get(extractor, ("set_collapsed", "one_gender")))


def _why_no_mind(entry: ExtractorEntry) -> str:
    return has_no_rows(entry) or ("" if entry.kept else "has features that no file may hold, and a thousand projections of a feature are the feature")


on_every_extractor("mind", _mind_on, "distance along random directions", why_not=_why_no_mind)
