"""Silhouette against skeleton: closed forms, what neither depends on, and a real photograph with a third arm."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.features.silhouette import LIMBS, uncovered, unexplained
from tests.contract.test_metrics import BODY

SIDE = 512
POINTS = BODY[:, :2] * 0.4 + (256, 230)
TRUNK = 280 * 0.4


def drawn(points: np.ndarray = POINTS, width: int = 20) -> np.ndarray:
    """Limbs as thick lines on a filled trunk."""
    import cv2

    silhouette = np.zeros((SIDE, SIDE), np.float32)
    cv2.fillPoly(silhouette, [points[[11, 12, 24, 23]].astype(np.int32)], 1)
    for start, end in LIMBS:
        cv2.line(silhouette, *(tuple(points[index].astype(int).tolist()) for index in (start, end)), 1, width)
    return silhouette


def test_a_body_on_its_bones_is_explained_and_covered() -> None:
    assert unexplained(drawn(), POINTS) == 0
    assert uncovered(drawn(), POINTS) == pytest.approx(0, abs=0.02)


def test_what_lies_beside_counts_with_its_area_over_the_squared_trunk() -> None:
    silhouette = drawn()
    silhouette[20:60, 440:500] = 1
    assert unexplained(silhouette, POINTS) == pytest.approx(40 * 60 / TRUNK**2, rel=1e-6)


def test_a_limb_without_a_body_is_uncovered_by_its_share() -> None:
    """The left forearm goes from y = 190 to y = 234; without what is below 212 half of it is gone."""
    silhouette = drawn(width=8)
    assert POINTS[13, 1] == 190 and POINTS[15, 1] == 234
    silhouette[212:, :220] = 0
    silhouette[212:, 292:] = 0
    assert uncovered(silhouette, POINTS) == pytest.approx(0.5, abs=0.06)
    assert uncovered(np.zeros((SIDE, SIDE), np.float32), POINTS) == 1


def test_neither_depends_on_place_and_size() -> None:
    import cv2

    silhouette = drawn()
    silhouette[20:60, 440:500] = 1
    small = cv2.resize(silhouette, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    moved = np.roll(silhouette, (8, -16), axis=(0, 1))
    for changed, points in ((small, POINTS / 2), (moved, POINTS + (-16, 8))):
        assert unexplained(changed, points) == pytest.approx(unexplained(silhouette, POINTS), rel=0.03)
        assert uncovered(changed, points) == pytest.approx(uncovered(silhouette, POINTS), abs=0.03)


def test_beyond_the_image_nothing_is_known() -> None:
    """Of a portrait only the trunk is in the picture: legs below its edge are not missing. Points far off break nothing."""
    points = POINTS + (0, 250)
    assert uncovered(drawn(points), points) == pytest.approx(0, abs=0.05)
    wide = POINTS + (200, 0)  # a square around a narrow image: to its right there is nothing to see
    assert uncovered(drawn(wide)[:, :512] * (np.arange(512) < 470), wide) > 0.9
    assert uncovered(drawn(wide) * (np.arange(512) < 470), wide, inside=(470, 512)) == pytest.approx(0, abs=0.05)
    far = POINTS.copy()
    far[15] = (1e7, -1e7)
    assert np.isfinite(unexplained(drawn(), far)) and np.isfinite(uncovered(drawn(), far))
