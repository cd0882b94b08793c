"""Controls: the same damage done beside a hand or a face that stays whole. Who minds it sees traces of edits, not broken parts."""

from __future__ import annotations

import numpy as np

from sana_bench.corruptions import CORRUPTIONS, corrupt, register_on_window
from sana_bench.split import LEARNED_KINDS

MARGIN = 1.7
"""Of the window: the damage is done one size of the part away, and reaches half a size further."""


def damaged_beside(window: np.ndarray, points_N2: np.ndarray, kind: str, dose: float, seed: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """The window with that damage done about one part's size away, and the part itself put back whole."""
    import cv2

    size = max(float(np.ptp(points_N2, axis=0).max()), 1.0)
    offset = np.array([draw.choice((-1, 1)) * draw.uniform(0.9, 1.1) * size, draw.uniform(-0.5, 0.5) * size])
    damaged = corrupt(kind, window, points_N2 + offset, dose, seed)
    hull, mask = cv2.convexHull(points_N2.astype(np.float32)).astype(np.int32), np.zeros(damaged.shape[:2], np.float32)
    cv2.fillConvexPoly(mask, hull, 1.0)
    mask = cv2.dilate(mask, np.ones((3, 3)), iterations=max(1, round(0.06 * size)))[..., None]
    mask = np.clip(cv2.GaussianBlur(mask, (0, 0), 0.03 * size), 0, 1)[..., None]
    return np.round(damaged * (1 - mask) + window * mask).astype(np.uint8)


def _any_held_out(window, points, dose, draw, part: str):
    kinds = [name for name in CORRUPTIONS.names() if name.startswith(f"{part}_") and name not in LEARNED_KINDS and not name.endswith("_beside")]
    kind = str(draw.choice(kinds))
    return damaged_beside(window, points, kind, CORRUPTIONS.get(kind).doses[int(dose) - 1], (int(draw.integers(2**31)),), draw)


@register_on_window("hand_beside", part="hand", margin=MARGIN, doses=(1, 2, 3, 4), unit="step of another kind of damage, done beside the hand")
def damage_beside_hand(window, points, dose, draw):
    """What another kind does to hands happens beside the hand, which stays whole."""
    return _any_held_out(window, points, dose, draw, "hand")


@register_on_window("face_beside", part="face", margin=MARGIN, doses=(1, 2, 3, 4), unit="step of another kind of damage, done beside the face")
def damage_beside_face(window, points, dose, draw):
    """What another kind does to faces happens beside the face, which stays whole."""
    return _any_held_out(window, points, dose, draw, "face")
