"""Whether a body's silhouette and its skeleton tell the same story: limbs without bones, bones without limbs.

A pose always has two arms and two legs. A third arm is left over beside it, and an arm that is too long for a pose's idea of
people gets a guessed wrist in the air.

Legend: S = pixels of a side of the silhouette.
"""

from __future__ import annotations

import numpy as np

LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28))
FEET = ((27, 31), (28, 32), (27, 29), (28, 30), (29, 31), (30, 32))
HANDS = ((15, (17, 19)), (16, (18, 20)))
TRUNK = (11, 12, 24, 23)
LIMB_REACH, HEAD_REACH = 0.14, 0.45
"""How far flesh and cloth lie from the bone, in trunk lengths; about the nose, from there to as far above as the neck is below, hair too."""
NUM_PLACES = 24
"""Looked at along each limb."""


def unexplained(silhouette_SS: np.ndarray, points_33xy: np.ndarray) -> float:
    """Area of the silhouette that lies away from the skeleton, in squared trunk lengths; 0 where all of it belongs to a bone.

    Args:
        silhouette_SS: (S, S) in [0, 1], 1 on the body.
        points_33xy: (33, 2) pose in pixels of the silhouette.
    """
    import cv2

    trunk = _trunk_length(points_33xy)
    explained = np.zeros(silhouette_SS.shape, np.uint8)
    shoulders, nose = points_33xy[[11, 12]].mean(axis=0), points_33xy[0]
    hands = [(points_33xy[wrist], points_33xy[wrist] + 1.8 * (points_33xy[list(ends)].mean(axis=0) - points_33xy[wrist])) for wrist, ends in HANDS]
    limbs = [*[(points_33xy[start], points_33xy[end]) for start, end in (*LIMBS, *FEET)], *hands]
    for start, end in limbs:
        cv2.line(explained, _pixel(start), _pixel(end), 1, max(1, round(2 * LIMB_REACH * trunk)))
    cv2.fillPoly(explained, [np.array([_pixel(points_33xy[index]) for index in TRUNK], np.int32)], 1)
    outline = [_pixel(points_33xy[index]) for index in (*TRUNK, TRUNK[0])]
    for start, end in zip(outline[:-1], outline[1:], strict=True):
        cv2.line(explained, start, end, 1, max(1, round(2 * 1.4 * LIMB_REACH * trunk)))  # cloth hangs wider on a trunk
    cv2.line(explained, _pixel(shoulders), _pixel(nose + 0.8 * (nose - shoulders)), 1, max(1, round(2 * HEAD_REACH * trunk)))
    return float(((silhouette_SS > 0.5) & (explained == 0)).sum() / trunk**2)


def uncovered(silhouette_SS: np.ndarray, points_33xy: np.ndarray, inside: tuple[float, float] = (np.inf, np.inf)) -> float:
    """Share of the worst limb (upper or lower arm or leg) along which there is no body, in [0, 1]; beyond the image nothing is known.

    Args:
        inside: width and height of the image in pixels of the silhouette, which may be of a square around it.
    """
    import cv2

    ends = points_33xy[np.array(LIMBS)]
    places = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * np.linspace(0, 1, NUM_PLACES)[:, None]
    seen = cv2.remap(silhouette_SS.astype(np.float32), (places - 0.5).astype(np.float32), None, cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
    seen[(places >= inside).any(axis=-1)] = 1
    return float(np.clip(1 - seen.mean(axis=1).min(), 0, 1))


def _trunk_length(points_33xy: np.ndarray) -> float:
    return float(max(np.linalg.norm(points_33xy[[11, 12]].mean(axis=0) - points_33xy[[23, 24]].mean(axis=0)), 1.0))


def _pixel(place_2: np.ndarray) -> tuple[int, int]:
    """As whole numbers near enough to the image for OpenCV, which fails on far ones."""
    x, y = np.clip(np.floor(np.nan_to_num(place_2)), -4096, 4096).astype(int)
    return int(x), int(y)
