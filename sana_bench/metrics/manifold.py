"""Precision, recall, density and coverage: fidelity and variety apart, from nearest neighbours among features.

A real image's ball reaches to its k-th nearest real neighbour. Precision: share of generated images inside some ball. Density: how
many balls a generated image is in, over k. Coverage: share of real images with a generated one in their ball. Recall: precision with
the roles swapped, which counts outliers among generated images for variety; coverage does not.

Legend: N generated images, M real images, D feature dimensions, K neighbours.
Source: Kynkäänniemi et al. 2019 (arXiv 1904.06991), Naeem et al. 2020 (arXiv 2002.09797); balls are open, as in the latter's code.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.metrics import MetricEntry, metric_entry, on_every_extractor
from sana_bench.metrics.feature_distance import USUAL, FeatureDistance

K = 5


def distances(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """(N, M) float64 Euclidean."""
    squares_NM = np.square(x_ND).sum(1)[:, None] + np.square(y_MD).sum(1) - 2 * x_ND @ y_MD.T
    return np.sqrt(squares_NM.clip(0))


def radii(distances_NN: np.ndarray) -> np.ndarray:
    """(N,) distance of each point to its K-th nearest other, from distances with zeros on the diagonal."""
    return np.partition(distances_NN, K, axis=1)[:, K]


def _inside_real(generated_ND: np.ndarray, real_MD: np.ndarray) -> np.ndarray:
    """(N, M) bool, whether a generated image lies in a real one's ball."""
    between_MM = distances(real_MD, real_MD)
    np.fill_diagonal(between_MM, 0)
    return distances(generated_ND.reshape(-1, real_MD.shape[1]), real_MD) < radii(between_MM)


def ball_statistics(generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """`inside`: (N, M) bool."""
    return {"inside": _inside_real(generated_ND, real_MD)}


def recall_statistics(generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """`between`: (N, N) distances of generated images; `to_real`: (N, M). float32, where nothing hangs on a rounding."""
    generated_ND = generated_ND.reshape(-1, real_MD.shape[1])
    between_NN = distances(generated_ND, generated_ND)
    np.fill_diagonal(between_NN, 0)
    return {"between": between_NN.astype(np.float32), "to_real": distances(generated_ND, real_MD).astype(np.float32)}


class _Manifold(FeatureDistance):
    """More images than neighbours, on either side."""

    min_images, per_row = K + 2, ("inside",)
    reduce = staticmethod(ball_statistics)


class Precision(_Manifold):
    """Share of generated images whose {features} features are among those of real people; fidelity, blind to variety.

    Formula: mean over generated images of whether they lie within the distance of some real image to its 5th nearest real one.
    Source: Kynkäänniemi et al. 2019 (arXiv 1904.06991), k = 5, with {features} features.
    Limits: real outliers have large balls; few real images make all of them large. It sees what the extractor sees of a picture.
    Use: read it beside recall or coverage, at one number of images, with the same real images.
    """

    @staticmethod
    def distance(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        return float(statistics["inside"][indices].any(axis=1).mean())


class Density(_Manifold):
    """In how many balls of real people a generated image lies, by {features} features; 1 is as real ones, above 1 is the middle of them.

    Formula: mean over generated images of the number of real images within whose distance to their 5th nearest they lie, over 5.
    Source: Naeem et al. 2020 (arXiv 2002.09797), k = 5, with {features} features.
    Limits: it grows as variety shrinks towards the middle of the real images. It sees what the extractor sees of a picture.
    Use: read it beside coverage, at one number of images, with the same real images.
    """

    @staticmethod
    def distance(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        return float(statistics["inside"][indices].sum(axis=1).mean() / K)


class Coverage(_Manifold):
    """Share of real people with a generated image near them, by {features} features: variety.

    Formula: share of real images within whose distance to their 5th nearest real one lies at least one generated image.
    Source: Naeem et al. 2020 (arXiv 2002.09797), k = 5, with {features} features.
    Limits: it grows with the number of generated images, and reaches at most what the reference shows.
    Use: compares two models at one number of images, with the same real images.
    """

    @staticmethod
    def distance(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        return float(statistics["inside"][np.unique(indices)].any(axis=0).mean())


class Recall(_Manifold):
    """Share of real people whose {features} features are among those of generated images: variety.

    Formula: mean over real images of whether they lie within the distance of some generated image to its 5th nearest generated one.
    Source: Kynkäänniemi et al. 2019 (arXiv 1904.06991), k = 5, with {features} features.
    Limits: generated outliers have large balls, so that broken images can pass for variety: read coverage too.
    Use: compares two models at one number of images, with the same real images.
    """

    reduce, per_row = staticmethod(recall_statistics), ()

    @staticmethod
    def distance(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        chosen = np.unique(indices)
        radii_n = radii(statistics["between"][np.ix_(chosen, chosen)])
        return float((statistics["to_real"][chosen] < radii_n[:, None]).any(axis=0).mean())


_SHARED = dict(version=1, kind="set", higher_is_better=True, budget=0.05, needs_reference=True, fewest_images=100)


def _precision_on(extractor: str) -> MetricEntry:
    return metric_entry(Precision.on(extractor), name=f"precision_{extractor}", extractor=extractor, unit="share", usual=False, sees=("picture_noisy",), **_SHARED)


def _density_on(extractor: str) -> MetricEntry:
    return metric_entry(Density.on(extractor), name=f"density_{extractor}", extractor=extractor, unit="balls a ball of real ones", usual=False,
                        sees=("picture_noisy",), **_SHARED)


def _coverage_on(extractor: str) -> MetricEntry:
    return metric_entry(Coverage.on(extractor), name=f"coverage_{extractor}", extractor=extractor, unit="share", usual=extractor == USUAL,
                        sees=("set_collapsed",), **_SHARED)


def _recall_on(extractor: str) -> MetricEntry:
    return metric_entry(Recall.on(extractor), name=f"recall_{extractor}", extractor=extractor, unit="share", usual=False, sees=("set_collapsed",), **_SHARED)


on_every_extractor("precision", _precision_on, "share of generated images among real ones")
on_every_extractor("density", _density_on, "how far in the middle of real images generated ones lie")
on_every_extractor("coverage", _coverage_on, "share of real images with a generated one near")
on_every_extractor("recall", _recall_on, "share of real images among generated ones")
