"""What every distance between features of generated images and of real people shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.errors import InsufficientSamplesError, MetricError
from sana_bench.features import EXTRACTORS, Features
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, variant_of


USUAL = "efficientnet_lite0"
"""The extractor whose distances a run measures where it names no metrics: pretrained, and in a package."""

MOST_ENLARGED = 1.05
"""Factor up to which a reference picture counts at native resolution; softer ones would make a blur look real."""


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


def seen_of_image(rows: str) -> str:
    """For the limits on a card: what a distance on such rows sees of an image and what not."""
    if not rows:
        return "it sees images as the extractor does, in small: neither blur, noise and texture at 2K nor a broken hand"
    if rows == "patch":
        return ("it sees a few patches of an image at native resolution and no person as a whole; reference pictures that were enlarged to the "
                "size of the generated ones are left out")
    return (f"a {rows} that is broken beyond finding drops out, so that it can fall where more {rows}s are lost (survivor bias): read it beside "
            f"{rows}_rate")


def check_num_images(num_images: int, minimum: int, which: str, that: str = "") -> None:
    """Raises InsufficientSamplesError where there are fewer than `minimum` images of that kind."""
    if num_images < minimum:
        raise InsufficientSamplesError(f"{num_images} {which} image(s){that}, and this metric needs at least {minimum}: "
                                       f"add images, or leave it out of score.metrics")


@dataclass(frozen=True)
class Rows:
    """Features of some images, of which each has one row, several, or none."""

    features_RD: np.ndarray
    """float64, finite."""
    owner_R: np.ndarray
    """Which image each row is of, ascending integers."""

    @property
    def num_images(self) -> int:
        """Those that have a row."""
        return len(self.spans()[0])

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """((N,), (N,)) integers, the first row and the number of rows of each image that has one."""
        _, starts_N, counts_N = np.unique(self.owner_R, return_index=True, return_counts=True)
        return starts_N, counts_N


def one_row_each(features_ND: np.ndarray) -> Rows:
    return Rows(features_ND.astype(np.float64), np.arange(len(features_ND)))


def feature_rows(features: Sequence[Features], array: str = "features") -> Rows:
    """The rows of all images, of an array that is (D,) or (R, D) an image.

    Raises:
        MetricError: a feature is not finite.
    """
    by_image = [np.atleast_2d(feature[array]) for feature in features]
    matrix_RD = feature_matrix([{array: row} for rows in by_image for row in rows], array)
    return Rows(matrix_RD, np.repeat(np.arange(len(by_image)), [len(rows) for rows in by_image]))


def rows_of(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> np.ndarray:
    """The rows of the chosen images, image after image; the images themselves where `statistics` has no `owner`: each has one row."""
    if "owner" not in statistics:
        return indices
    starts, ends = (np.searchsorted(statistics["owner"], indices, side) for side in ("left", "right"))
    return np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])


def joined(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], per_row: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Statistics of both sides as one set, of which these arrays have a row on their first axis and the others are the same on both sides.

    Returns:
        None where one side lacks such an array.
    """
    if not all(name in side for name in per_row for side in (baseline, candidate)):
        return None
    both = {**baseline, **{name: np.concatenate([baseline[name], candidate[name]]) for name in per_row}}
    if "owner" not in baseline and "owner" not in candidate:
        return both
    owners = [side.get("owner", np.arange(len(side[per_row[0]]))) for side in (baseline, candidate)]
    return {**both, "owner": np.concatenate([owners[0], owners[1] + len(np.unique(owners[0]))])}


class FeatureDistance:
    """A set metric on the pooled features of its extractor. A subclass says how they are reduced and what the distance is.

    What is drawn, left out and paired is always an image with all its rows, because rows of one image are no independent measure.
    """

    extractor: str
    """Set by `register_metric`."""
    per_row: tuple[str, ...] = ()
    """Arrays of `reduce` with a generated row on their first axis, where all else is of the reference alone."""
    min_images: int
    """Fewest images, on either side, that it says anything about."""
    reduce: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
    """((R, D) generated, (S, D) real) features -> statistics, those of per-row size with generated rows on their first axes."""
    distance: Callable[[Mapping[str, np.ndarray], np.ndarray], float]
    """(statistics, (r,) integers into the generated rows) -> value."""

    @classmethod
    def on(cls, extractor: str) -> type[FeatureDistance]:
        """The same distance on the pooled features of an extractor, with a card that names it and what it sees of an image."""
        return variant_of(cls, extractor, features=extractor, seen=seen_of_image(EXTRACTORS.get(extractor).rows))

    def __init__(self, context: MetricContext) -> None:
        entry, enlarged = EXTRACTORS.get(self.extractor), context.reference_enlarged or [1.0] * len(context.reference)
        check_num_images(len(context.reference), self.min_images, "reference")
        self.real = self._rows([features[self.extractor] for features, factor in zip(context.reference, enlarged, strict=True)
                                if not entry.native or factor <= MOST_ENLARGED])
        if not entry.native:
            check_num_images(self.real.num_images, self.min_images, "reference", f" with a {entry.rows} found" if entry.rows else "")

    def _rows(self, features: Sequence[Features]) -> Rows:
        return feature_rows(features, EXTRACTORS.get(self.extractor).pooled)

    def usable(self, sample: ScoredSample) -> Unscored | None:
        entry = EXTRACTORS.get(self.extractor)
        if entry.native and self.real.num_images < self.min_images:
            return Unscored(f"{self.real.num_images} reference picture(s) of the images' size or more, and {self.min_images} are needed")
        return None if sample.features[self.extractor][entry.pooled].size else Unscored(f"no {entry.rows} found")

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        generated = self._rows([sample.features[self.extractor] for sample in samples])
        one_each = np.array_equal(generated.owner_R, np.arange(len(samples)))
        return self.reduce(generated.features_RD, self.real.features_RD) | ({} if one_each else {"owner": generated.owner_R})

    @classmethod
    def evaluate(cls, statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        check_num_images(len(np.unique(indices)), cls.min_images, "generated")
        return cls.distance(statistics, rows_of(statistics, indices))

    @classmethod
    def join(cls, baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        return joined(baseline, candidate, cls.per_row) if cls.per_row else None
