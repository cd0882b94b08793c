"""How unusual the shape of a hand, a face or a body is among real ones: Mahalanobis distance under a shrunk covariance.

Legend: M real shapes, D log ratios a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.errors import InsufficientSamplesError

FARTHEST = 5.0
"""Times the median real distance: parts that deviate more, and parts that are missing, count as this much. Real ones stay below 3."""
NUM_FOLDS = 10
FEWEST_PEOPLE = 3


def ledoit_wolf(shapes_MD: np.ndarray) -> np.ndarray:
    """(D, D) covariance, shrunk towards a multiple of the identity by the amount that minimises the expected squared error.

    Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", section 3.2.
    """
    num_shapes, num_ratios = shapes_MD.shape
    centred_MD = shapes_MD - shapes_MD.mean(0)
    sample_DD = centred_MD.T @ centred_MD / num_shapes
    target_DD = np.trace(sample_DD) / num_ratios * np.eye(num_ratios)
    dispersion = np.square(sample_DD - target_DD).sum()
    if dispersion == 0:
        return target_DD
    # Sum over shapes of |x x' - S|^2, without the outer products.
    error = (np.square(np.square(centred_MD).sum(1)).sum() - num_shapes * np.square(sample_DD).sum()) / num_shapes**2
    shrinkage = min(error / dispersion, 1.0)
    return shrinkage * target_DD + (1 - shrinkage) * sample_DD


@dataclass(frozen=True)
class ShapeReference:
    """Real shapes, as `fit_shapes` sums them up."""

    mean_D: np.ndarray
    precision_DD: np.ndarray
    distances_M: np.ndarray
    """Ascending distances of the real shapes, each measured against a fit that did not see it."""

    def distance(self, shape_D: np.ndarray) -> float:
        """Mahalanobis distance to the real shapes; 0 is their mean."""
        return float(_distances(shape_D[None], self.mean_D, self.precision_DD)[0])

    def relative_distance(self, shape_D: np.ndarray) -> float:
        """Distance in units of the median real one: half of the real shapes are below 1."""
        return self.distance(shape_D) / float(np.median(self.distances_M))

    def survival(self, shape_D: np.ndarray) -> float:
        """Share of real shapes that are at least as unusual, the shape itself counted in; in [1 / (M + 1), 1]."""
        num_farther = int((self.distances_M >= self.distance(shape_D)).sum())
        return (1 + num_farther) / (1 + len(self.distances_M))


def image_deviation(relative_distances_F: np.ndarray, expected: int) -> float:
    """What one image gets: the least deviating `expected` of its parts, missing ones as FARTHEST, on average; in [0, FARTHEST].

    A part that is too broken to be found therefore never lowers it.
    """
    return mean_of_expected(np.sort(np.minimum(np.asarray(relative_distances_F, dtype=np.float64), FARTHEST)), expected, missing=FARTHEST)


def mean_of_expected(best_first_F: np.ndarray, expected: int, *, missing: float) -> float:
    """Mean of the best `expected` values, at least one, where those that are missing count as `missing`."""
    best = best_first_F[:expected]
    return float((best.sum() + missing * (expected - len(best))) / expected)


def reference_to_json(reference: ShapeReference) -> dict[str, list]:
    return {"mean": np.round(reference.mean_D, 6).tolist(), "precision": np.round(reference.precision_DD, 6).tolist(),
            "distances": np.round(reference.distances_M, 6).tolist()}


def reference_from_json(document: dict[str, list]) -> ShapeReference:
    return ShapeReference(*(np.array(document[key], dtype=np.float64) for key in ("mean", "precision", "distances")))


def fit_shapes(shapes_MD: np.ndarray, people: Sequence[str], minimum: int, what: str) -> ShapeReference:
    """Sum up real shapes.

    Their own distances come from fits that leave out whole people, because a shape of somebody who helped to fit lies closer
    than one of somebody new. Where people are unknown, neighbours in the data set stand in for them.

    Args:
        shapes_MD: (M, D) log ratios.
        people: whose each is, M names; empty, or fewer than three different ones, where that is not known.
        minimum: fewest shapes.
        what: what they are, for the message.

    Raises:
        InsufficientSamplesError: fewer than `minimum` shapes.
    """
    if len(shapes_MD) < minimum:
        raise InsufficientSamplesError(
            f"{len(shapes_MD)} {what} found in the reference images, and this metric needs at least {minimum}: "
            "set data.reference to images that show more, or leave it out of score.metrics")
    distances = []
    for fold in _folds(len(shapes_MD), people):
        rest_MD = np.delete(shapes_MD, fold, axis=0)
        distances.append(_distances(shapes_MD[fold], rest_MD.mean(0), np.linalg.inv(ledoit_wolf(rest_MD))))
    return ShapeReference(shapes_MD.mean(0), np.linalg.inv(ledoit_wolf(shapes_MD)), np.sort(np.concatenate(distances)))


def _folds(num_shapes: int, people: Sequence[str]) -> list[np.ndarray]:
    names = sorted(set(people))
    if len(names) < FEWEST_PEOPLE:
        return np.array_split(np.arange(num_shapes), NUM_FOLDS)
    return [np.flatnonzero(np.asarray(people) == name) for name in names]


def _distances(shapes_MD: np.ndarray, mean_D: np.ndarray, precision_DD: np.ndarray) -> np.ndarray:
    offsets_MD = shapes_MD - mean_D
    return np.sqrt(np.einsum("md,de,me->m", offsets_MD, precision_DD, offsets_MD))
