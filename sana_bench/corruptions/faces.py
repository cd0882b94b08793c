"""Broken faces, from the mesh of a real one: melted, asymmetric, doubled, misplaced and blurred features, and others.

Which of them a metric may learn from, and which it is tested on, stands in `split.py`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from sana_bench.corruptions import register_on_window
from sana_bench.corruptions.geometry import blended, erased, falloff, filled, grid_of, moved, patched, rotation, smooth_noise, swirled, wiped

MARGIN = 0.25
FEATURES = {"left_eye": (33, 133, 159, 145), "right_eye": (263, 362, 386, 374), "mouth": (61, 291, 0, 17), "nose": (129, 358, 168, 2)}
"""Points of MediaPipe's face mesh around each feature; left and right as seen in the picture."""
CHIN, FOREHEAD, LEFT_CHEEK, RIGHT_CHEEK = 152, 10, 234, 454


class Feature:
    """An eye, the mouth or the nose: its middle, and half its extent along and across the face."""

    def __init__(self, points_N2: np.ndarray, name: str):
        corners = points_N2[list(FEATURES[name])]
        self.centre = corners.mean(axis=0)
        self.half = float(np.linalg.norm(corners[0] - corners[1])) / 2

    def mask(self, grid: np.ndarray, size: float = 1.0) -> np.ndarray:
        """1 on the feature, 0 a good way beyond it."""
        distance = np.linalg.norm(grid - self.centre, axis=-1)
        return falloff(distance, 1.0 * size * self.half, 1.7 * size * self.half)


def face_size(points_N2: np.ndarray) -> float:
    """Chin to forehead, or cheek to cheek where that is more."""
    return float(max(np.linalg.norm(points_N2[CHIN] - points_N2[FOREHEAD]), np.linalg.norm(points_N2[LEFT_CHEEK] - points_N2[RIGHT_CHEEK]), 1.0))


def axes(points_N2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors from the left to the right side of the face, and down to its chin."""
    across = points_N2[RIGHT_CHEEK] - points_N2[LEFT_CHEEK]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    return across, np.array([-across[1], across[0]])


def inner_face(grid: np.ndarray, points_N2: np.ndarray) -> np.ndarray:
    """1 on eyes, nose and mouth, 0 outside the face."""
    middle, size = points_N2.mean(axis=0), face_size(points_N2)
    return falloff(np.linalg.norm(grid - middle, axis=-1), 0.38 * size, 0.6 * size)


_register = partial(register_on_window, part="face", margin=MARGIN)


def _choose(draw: np.random.Generator, *names: str) -> str:
    return str(draw.choice(names or tuple(FEATURES)))


@_register("face_melted", doses=(0.03, 0.06, 0.1, 0.15), unit="largest sag, share of the face's size")
def melt(window, points, dose, draw):
    """The features run down the face as wax, each column of it by another length."""
    size, grid, (across, down) = face_size(points), grid_of(window), axes(points)
    u = (grid - points.mean(axis=0)) @ across
    waves = sum(np.sin(u / size * 2 * np.pi * count + draw.uniform(0, 2 * np.pi)) / count for count in (1.0, 2.0, 3.0))
    sag = np.clip(0.5 + waves / 3, 0, 1) * dose * size * inner_face(grid, points)
    return moved(window, grid - sag[..., None] * down)


@_register("face_asymmetric", doses=(0.04, 0.08, 0.13, 0.2), unit="shift of one half against the other, share of the face's size")
def shift_half(window, points, dose, draw):
    """One half of the face is higher than the other."""
    size, grid, (across, down) = face_size(points), grid_of(window), axes(points)
    u = (grid - points[1]) @ across * draw.choice((-1, 1))
    half = 1 / (1 + np.exp(-np.clip(u / (0.04 * size), -30, 30)))
    shift = half * dose * size * inner_face(grid, points) * draw.choice((-1, 1))
    return moved(window, grid - shift[..., None] * down)


@_register("face_doubled_feature", doses=(0.4, 0.6, 0.8, 1.0), unit="opacity of the second one")
def double_feature(window, points, dose, draw):
    """A second eye or mouth lies beside the first."""
    size, grid, (across, down) = face_size(points), grid_of(window), axes(points)
    feature = Feature(points, _choose(draw, "left_eye", "right_eye", "mouth"))
    offset = (down * draw.choice((-1, 1)) + across * draw.uniform(-0.3, 0.3)) * draw.uniform(0.12, 0.18) * size
    return blended(window, moved(window, grid - offset), feature.mask(grid - offset, 0.9) * dose)


@_register("face_misplaced_feature", doses=(0.05, 0.1, 0.15, 0.2), unit="shift, share of the face's size")
def misplace_feature(window, points, dose, draw):
    """An eye or the mouth is in the wrong place."""
    size, grid = face_size(points), grid_of(window)
    feature = Feature(points, _choose(draw, "left_eye", "right_eye", "mouth"))
    offset = rotation(draw.uniform(0, 2 * np.pi)) @ np.array([dose * size, 0])
    bare = filled(window, feature.mask(grid) > 0.5, radius_px=max(3.0, 0.03 * size))
    return blended(bare, moved(window, grid - offset), feature.mask(grid - offset))


@_register("face_blurred_features", doses=(0.01, 0.02, 0.035, 0.05), unit="deviation of the blur, share of the face's size")
def blur_features(window, points, dose, draw):
    """Eyes, nose and mouth are out of focus while the rest of the picture is sharp."""
    import cv2

    soft = cv2.GaussianBlur(window, (0, 0), max(dose * face_size(points), 0.3))
    return blended(window, soft, inner_face(grid_of(window), points))


@_register("face_warped", doses=(0.02, 0.04, 0.07, 0.1), unit="largest shift, share of the face's size")
def warp(window, points, dose, draw):
    """Features bent by a smooth random shift of pixels."""
    size, grid = face_size(points), grid_of(window)
    shift = smooth_noise(window.shape[:2], 0.08 * size, draw) * inner_face(grid, points)[..., None]
    return moved(window, grid + shift * dose * size)


@_register("face_swirled", doses=(20, 40, 70, 110), unit="degrees that the middle of the swirl is turned")
def swirl(window, points, dose, draw):
    """Part of the face is turned about a point."""
    angle = np.radians(dose) * draw.choice((-1, 1))
    return swirled(window, Feature(points, _choose(draw)).centre, angle, 0.3 * face_size(points))


@_register("face_scaled_feature", doses=(0.25, 0.5, 0.8, 1.2), unit="share of its size added, or taken away at the same factor")
def scale_feature(window, points, dose, draw):
    """An eye, the mouth or the nose is far too large or too small."""
    grid, feature = grid_of(window), Feature(points, _choose(draw))
    factor = (1 + dose) ** draw.choice((-1, 1))
    away = grid - feature.centre
    radius = np.linalg.norm(away, axis=-1)
    reach = 2.2 * max(factor, 1) * feature.half
    source = np.interp(radius, [0, factor * feature.half, reach], [0, feature.half, reach])
    share = np.where(radius < reach, source / np.maximum(radius, 1e-6), 1)
    return moved(window, feature.centre + away * share[..., None])


@_register("face_smeared", doses=(0.03, 0.06, 0.1, 0.16), unit="length of the smear, share of the face's size")
def smear(window, points, dose, draw):
    """One side of the face is wiped as wet paint."""
    size, grid = face_size(points), grid_of(window)
    paint = wiped(window, max(3, round(dose * size)), draw.uniform(0, np.pi))
    centre = Feature(points, _choose(draw)).centre
    return blended(window, paint, falloff(np.linalg.norm(grid - centre, axis=-1), 0.18 * size, 0.35 * size))


@_register("face_patched", doses=(0.15, 0.22, 0.3, 0.4), unit="size of the patch, share of the face's size")
def patch(window, points, dose, draw):
    """A round piece of the face lies on another part of it, turned."""
    return patched(window, points, dose * face_size(points), draw)


@_register("face_erased", doses=(0.7, 0.85, 0.95, 1.0), unit="opacity of what is put in the face's place")
def erase(window, points, dose, draw):
    """The face is gone; what surrounds it goes on in its place."""
    middle, size = points.mean(axis=0), face_size(points)
    return erased(window, falloff(np.linalg.norm(grid_of(window) - middle, axis=-1), 0.55 * size, 0.7 * size), dose)
