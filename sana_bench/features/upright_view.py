"""The upright view of a hand or a face in which damage is looked for, and where its skeleton lies in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 224
"""Pixels of the view; the network's map has MAP of them."""
MAP = 28


@dataclass(frozen=True)
class Part:
    """How views of a part are cut."""

    name: str
    up: tuple[int, int]
    """The view is turned so that the way from the first of these points to the second goes up."""
    reach: float
    """Half the side of the view, in sizes of the points' bounding box."""
    lines: tuple[tuple[int, ...], ...]
    """Polylines through the points that are drawn, each into a channel of its own, to say where what should be."""
    swapped: tuple[tuple[int, int], ...] = ()
    """Pairs of points on the lines that trade places in a mirrored picture."""

    def known_points(self, mirrored: bool = False) -> list[int]:
        """The points on the lines; of a mirrored picture, in the order that makes them the same places."""
        points = sorted({point for line in self.lines for point in line})
        other = dict([*self.swapped, *((right, left) for left, right in self.swapped)]) if mirrored else {}
        return [other.get(point, point) for point in points]


HAND = Part("hand", up=(0, 9), reach=0.9, lines=(
    (0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20), (5, 9, 13, 17)))
FACE = Part("face", up=(152, 10), reach=0.75, lines=(
    (33, 159, 133, 145, 33), (263, 386, 362, 374, 263), (61, 0, 291, 17, 61), (168, 1, 2), (129, 2, 358), (10, 234, 152, 454, 10),
    (105, 107), (334, 336)), swapped=(
    (33, 263), (133, 362), (159, 386), (145, 374), (61, 291), (129, 358), (234, 454), (105, 334), (107, 336)))


def size_of(points_N2: np.ndarray) -> float:
    """Longer side of the points' bounding box, at least 1."""
    return max(float(np.ptp(points_N2, axis=0).max()), 1.0)


def view_matrix(part: Part, points_N2: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """(2, 3) affine matrix from pixels of the image to pixels of the view, which stands upright around the points.

    Args:
        points_N2: the part's landmarks in pixels.
        mirrored: mirror the view, so that left hands look like right ones.
    """
    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    right, down = points_N2[part.up[1]] - points_N2[part.up[0]]
    angle, scale = np.arctan2(right, -down), SIDE / (2 * part.reach * size_of(points_N2))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = np.diag([-1.0, 1.0]) @ turn
    return np.concatenate([turn, (SIDE / 2 - turn @ ((low + high) / 2))[:, None]], axis=1)


def transformed(points_N2: np.ndarray, matrix_23: np.ndarray) -> np.ndarray:
    return points_N2 @ matrix_23[:, :2].T + matrix_23[:, 2]


def cut_view(pixels_HW3: np.ndarray, matrix_23: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8, black outside the image; averaged, not sampled, where the image is finer."""
    import cv2

    matrix, scale = 2 * matrix_23, 2 * float(np.hypot(*matrix_23[0, :2]))
    corners = np.array([[0, 0], [2 * SIDE, 0], [0, 2 * SIDE], [2 * SIDE, 2 * SIDE]], np.float64)
    back = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    height, width = pixels_HW3.shape[:2]
    left, top = np.clip(np.floor(back.min(axis=0)).astype(int) - 2, 0, (width, height))
    right, bottom = np.clip(np.ceil(back.max(axis=0)).astype(int) + 2, 0, (width, height))
    if right - left < 2 or bottom - top < 2:
        return np.zeros((SIDE, SIDE, 3), np.uint8)
    window = pixels_HW3[top:bottom, left:right]
    ratio = np.ones(2)
    if scale < 1:
        size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
        window = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
        ratio = np.array(size) / (right - left, bottom - top)
    # A pixel's middle is at half a pixel: (x + 0.5) ratio - 0.5 in the shrunk window.
    to_window = np.array([left, top]) - (0.5 / ratio - 0.5)
    turn = matrix[:, :2] / ratio
    shifted = np.concatenate([turn, (matrix[:, 2] + matrix[:, :2] @ to_window)[:, None]], axis=1)
    view = cv2.warpAffine(window, shifted, (2 * SIDE, 2 * SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def skeleton_map(part: Part, points_N2: np.ndarray) -> np.ndarray:
    """(L, MAP, MAP) float32 in [0, 1]: the part's lines through its points, which are in pixels of the view."""
    import cv2

    drawn = np.zeros((len(part.lines), 2 * MAP, 2 * MAP), np.uint8)
    scaled = np.clip(points_N2 * (2 * MAP / SIDE), -4 * MAP, 6 * MAP)
    for channel, line in zip(drawn, part.lines, strict=True):
        cv2.polylines(channel, [np.round(scaled[list(line)] * 16).astype(np.int32)], False, 255, 2, cv2.LINE_AA, 4)
    return np.stack([cv2.resize(channel, (MAP, MAP), interpolation=cv2.INTER_AREA) for channel in drawn]).astype(np.float32) / 255
