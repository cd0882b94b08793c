"""What the networks learn from: views of hands and faces of the training people, whole and damaged, with a map of the damage.

Among the whole ones are photographs turned and resized, and ones damaged beside the part, so that neither resampling nor
the traces of an edit can pass for a broken finger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sana_bench.corruptions import CORRUPTIONS, corrupt
from sana_bench.corruptions.beside import damaged_beside
from sana_bench.features.mediapipe_task import Landmarker, Window
from sana_bench.features.upright_view import MAP, Part, cut_view, size_of, transformed, view_matrix
from sana_bench.split import LEARNED_KINDS

MATERIAL_VERSION = 1
PART_PX = 220
"""Parts that are larger in the 2048 px view are first reduced to this, which the network's view holds without loss."""
REACH = 1.3
"""How far the window around a part reaches beyond its points, in their size: what the turned view can show."""
NUM_WHOLE, NUM_BESIDE, NUM_SEEDS = 10, 8, 2
VISIBLE = 12
"""Change of an 8-bit value from which on a pixel counts as damaged."""


@dataclass(frozen=True)
class Take:
    """One hand or face of a photograph in its window."""

    person: str
    window_HW3: np.ndarray
    points_N2: np.ndarray
    mirrored: bool


@dataclass(frozen=True)
class Example:
    """One view of a take."""

    view: np.ndarray
    """(SIDE, SIDE, 3) uint8."""
    damage: np.ndarray
    """(MAP, MAP) uint8, share of damaged pixels times 255."""
    points_N3: np.ndarray
    """float32, in pixels of the view; depth in the same unit."""
    dose: int
    """0 whole, else 1 to 4, from hardly visible to blatant."""
    person: str


def learned_kinds(part: Part) -> list[str]:
    return [name for name in CORRUPTIONS.names() if CORRUPTIONS.get(name).part == part.name and name in LEARNED_KINDS]


def take_of(person: str, pixels_HW3: np.ndarray, points_N2: np.ndarray, mirrored: bool) -> Take:
    """Cut the window around a part and reduce it to PART_PX."""
    import cv2

    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    reach = REACH * size_of(points_N2)
    left, top = np.maximum(np.floor(low - reach), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + reach), pixels_HW3.shape[1::-1]).astype(int)
    window, points = pixels_HW3[top:bottom, left:right], points_N2.astype(np.float64) - (left, top)
    share = min(PART_PX / size_of(points), 1.0)
    if share < 1:
        window, points = cv2.resize(window, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), points * share
    return Take(person, np.ascontiguousarray(window), points, mirrored)


class Detector:
    """The part's own landmarker, asked again on every damaged window: views are cut as they will be when scoring."""

    def __init__(self, part: Part):
        kind, options = {"hand": ("Hand", {"num_hands": 2}), "face": ("Face", {"num_faces": 2})}[part.name]
        self.landmarker, self.kind = Landmarker(kind, f"mediapipe_{part.name}", **options), part.name

    def find(self, window_HW3: np.ndarray, points_N2: np.ndarray) -> np.ndarray | None:
        """The part's points (N, 3) as they are found now, or None where it is not found near the known ones."""
        whole = Window.whole(window_HW3)
        result = self.landmarker.detect(window_HW3, whole)
        found = [whole.to_image(each).astype(np.float64) for each in getattr(result, f"{self.kind}_landmarks")]
        away = [float(np.linalg.norm(points[:, :2] - points_N2, axis=1).mean()) for points in found]
        return found[int(np.argmin(away))] if away and min(away) < 0.35 * size_of(points_N2) else None

    def close(self) -> None:
        self.landmarker.close()


def examples_of(take: Take, part: Part, detector: Detector, seed: int) -> Iterator[Example]:
    """Whole views, views damaged beside the part, and views of every learned kind and dose; what is not found is left out."""
    draw, kinds = np.random.default_rng((seed, 1)), learned_kinds(part)
    yield from _example(take, part, detector, take.window_HW3, take.points_N2, 0)
    for _ in range(NUM_WHOLE):
        yield from _example(take, part, detector, *_turned(take, draw), 0)
    for index in range(NUM_BESIDE):
        kind = kinds[int(draw.integers(len(kinds)))]
        dose = CORRUPTIONS.get(kind).doses[int(draw.integers(4))]
        yield from _example(take, part, detector, damaged_beside(take.window_HW3, take.points_N2, kind, dose, (seed, 2, index), draw), take.points_N2, 0)
    for number, kind in enumerate(kinds):
        for level, dose in enumerate(CORRUPTIONS.get(kind).doses, start=1):
            for repeat in range(NUM_SEEDS):
                damaged = corrupt(kind, take.window_HW3, take.points_N2, dose, (seed, 3, number, level, repeat))
                yield from _example(take, part, detector, damaged, take.points_N2, level)


def _example(take: Take, part: Part, detector: Detector, window: np.ndarray, expected_N2: np.ndarray, dose: int) -> Iterator[Example]:
    import cv2

    points = detector.find(window, expected_N2)
    if points is None:
        return
    matrix, damage = view_matrix(part, points[:, :2], take.mirrored), np.zeros((MAP, MAP), np.uint8)
    if dose:
        changed = np.abs(window.astype(np.int16) - take.window_HW3).max(axis=-1) > VISIBLE
        damage = cv2.resize(cut_view(np.repeat(changed[..., None] * np.uint8(255), 3, axis=-1), matrix)[..., 0], (MAP, MAP),
                            interpolation=cv2.INTER_AREA)
    depth = points[:, 2:] * np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    there = np.concatenate([transformed(points[:, :2], matrix), depth], axis=1)
    yield Example(cut_view(window, matrix), damage, there.astype(np.float32), dose, take.person)


def _turned(take: Take, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    centre = take.points_N2.mean(axis=0)
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), draw.uniform(-25, 25), draw.uniform(0.8, 1.15))
    window = cv2.warpAffine(take.window_HW3, matrix, take.window_HW3.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return window, transformed(take.points_N2, matrix)
