"""What every distance between features of generated images and of real people shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sana_bench.errors import InsufficientSamplesError, MetricError
from sana_bench.features import EXTRACTORS, Features
from sana_bench.metrics import MetricContext, ScoredSample, Unscored


USUAL = "efficientnet_lite0"
"""The extractor whose distances a run measures where it names no metrics: pretrained, and in a package."""


def feature_matrix(features: Sequence[Features], array: str = "features") -> np.ndarray:
    """That array of the features of some images, (N, D) float64; (0,) where there is no image.

    Raises:
        MetricError: a feature is not finite.
    """
    matrix_ND = np.array([feature[array] for feature in features], dtype=np.float64)
    if not np.isfinite(matrix_ND).all():
        raise MetricError("an image has features that are not finite: its pixels or the extractor's weights are damaged. "
                          "Run `sana-bench assets verify` and score again")
    return matrix_ND


def check_num_images(num_images: int, minimum: int, which: str) -> None:
    """Raises InsufficientSamplesError where there are fewer than `minimum` images of that kind."""
    if num_images < minimum:
        raise InsufficientSamplesError(f"{num_images} {which} image(s), and this metric needs at least {minimum}: "
                                       f"add images, or leave it out of score.metrics")


class FeatureDistance:
    """A set metric on the pooled features of its extractor. A subclass says how they are reduced and what the distance is."""

    extractor: str
    """Set by `register_metric`."""
    min_images: int
    """Fewest images, on either side, that it says anything about."""
    reduce: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
    """((N, D) generated, (M, D) real) features -> statistics, those of per-sample size with samples on their first axes."""
    distance: Callable[[Mapping[str, np.ndarray], np.ndarray], float]
    """(statistics, (n,) integers into the generated images) -> value."""

    @classmethod
    def on(cls, extractor: str) -> type[FeatureDistance]:
        """The same distance on the pooled features of an extractor, with a card that names it."""
        return type(f"{cls.__name__}_{extractor}", (cls,), {"__doc__": (cls.__doc__ or "").replace("{features}", extractor)})

    def __init__(self, context: MetricContext) -> None:
        check_num_images(len(context.reference), self.min_images, "reference")
        self.real_MD = self._matrix([features[self.extractor] for features in context.reference])

    def _matrix(self, features: Sequence[Features]) -> np.ndarray:
        return feature_matrix(features, EXTRACTORS.get(self.extractor).pooled)

    def usable(self, sample: ScoredSample) -> Unscored | None:
        return None

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        return self.reduce(self._matrix([sample.features[self.extractor] for sample in samples]), self.real_MD)

    @classmethod
    def evaluate(cls, statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        check_num_images(len(np.unique(indices)), cls.min_images, "generated")
        return cls.distance(statistics, indices)
