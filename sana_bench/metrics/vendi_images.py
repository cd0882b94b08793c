"""How different images are from one another: Vendi score of image features, without labels and without a reference.

Legend: n images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import EXTRACTORS
from sana_bench.metrics import MetricContext, MetricEntry, metric_entry, on_every_extractor
from sana_bench.metrics.composition import vendi_score
from sana_bench.metrics.feature_distance import FeatureDistance, check_num_images, joined

MIN_IMAGES = 4


def cosine_similarity(features_nD: np.ndarray) -> np.ndarray:
    """(n, n) float64 cosines, in [-1, 1]; positive semidefinite, 1 on the diagonal."""
    unit_nD = features_nD / np.linalg.norm(features_nD, axis=1, keepdims=True)
    similarity_nn = unit_nD @ unit_nD.T
    np.fill_diagonal(similarity_nn, 1)
    return similarity_nn


class VendiImages(FeatureDistance):
    """Effective number of different images (Vendi score) by the cosine of {features} features; more is more varied.

    Formula: exp(-sum l log l) over the eigenvalues l of K / n, K the cosines of the features.
    Source: Friedman and Dieng 2023 (arXiv 2210.02410), with {features} features.
    Limits: it depends on the number of images, and counts noise and broken pictures as variety.
    Use: compares two models on the same prompts. Read it beside precision or a plausibility.
    """

    min_images = MIN_IMAGES

    def __init__(self, context: MetricContext) -> None:
        """It needs no reference."""

    def statistics(self, samples) -> dict[str, np.ndarray]:
        features_nD = self._rows([sample.features[self.extractor] for sample in samples]).features_RD
        if not len(samples):
            return {"similarity": np.zeros((0, 0))}
        features = {"features": features_nD.astype(np.float32)} if EXTRACTORS.get(self.extractor).kept else {}
        return {"similarity": cosine_similarity(features_nD)} | features

    @classmethod
    def evaluate(cls, statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        chosen = np.unique(indices)
        check_num_images(len(chosen), MIN_IMAGES, "generated")
        return vendi_score(statistics["similarity"][np.ix_(chosen, chosen)])

    @classmethod
    def join(cls, baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        both = joined(baseline, candidate, ("features",))
        return both and {"similarity": cosine_similarity(both["features"].astype(np.float64))}


def _vendi_on(extractor: str) -> MetricEntry:
    return metric_entry(VendiImages.on(extractor), name=f"vendi_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=True,
                        unit="different images", budget=0.2, usual=False, sees=("set_collapsed",))


on_every_extractor("vendi", _vendi_on, "effective number of different images")
