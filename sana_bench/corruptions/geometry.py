"""What corruptions share: work on a window, move pixels smoothly, paste and fill with soft edges.

Legend: a window's pixels are (h, w, 3) uint8, its masks (h, w) float32 in [0, 1], its grids (h, w, 2) float32 of x and y.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def on_window(pixels_HW3: np.ndarray, points_N2: np.ndarray, margin: float,
              edit: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """A copy of the picture in which `edit(window, points in the window)` took the place of the window around the points.

    Args:
        margin: how far the window reaches beyond the points, in sizes of their bounding box.
    """
    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    reach = margin * float((high - low).max())
    left, top = np.maximum(np.floor(low - reach), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high + reach), (pixels_HW3.shape[1], pixels_HW3.shape[0])).astype(int)
    result = pixels_HW3.copy()
    if left < right and top < bottom:
        result[top:bottom, left:right] = edit(pixels_HW3[top:bottom, left:right], points_N2 - (left, top))
    return result


def grid_of(window: np.ndarray) -> np.ndarray:
    """(h, w, 2) float32, the place of every pixel."""
    height, width = window.shape[:2]
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)), axis=-1)


def moved(window: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The window whose every pixel is taken from the place `source` (h, w, 2) says."""
    import cv2

    return cv2.remap(window, source.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def smooth_noise(shape: tuple[int, int], scale_px: float, draw: np.random.Generator) -> np.ndarray:
    """(h, w, 2) float32 vectors whose largest length is 1 and which change over about `scale_px` pixels."""
    import cv2

    noise = draw.standard_normal((*shape, 2)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(scale_px, 1.0))
    return noise / max(float(np.linalg.norm(noise, axis=-1).max()), 1e-9)


def falloff(distance: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """1 up to `inner`, 0 from `outer` on, smooth in between."""
    share = np.clip((outer - distance) / max(outer - inner, 1e-6), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def distance_to_line(grid: np.ndarray, line_M2: np.ndarray) -> np.ndarray:
    """(h, w) distance of every pixel to a polyline of M points."""
    nearest = np.full(grid.shape[:2], np.inf)
    for start, end in zip(line_M2[:-1], line_M2[1:], strict=True):
        along = end - start
        share = np.clip(((grid - start) @ along) / max(float(along @ along), 1e-9), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(grid - start - share[..., None] * along, axis=-1))
    return nearest


def blended(below: np.ndarray, above: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`above` where the mask is 1, `below` where it is 0."""
    mixed = below + (above.astype(np.float32) - below) * mask[..., None]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


FILL_PX = 480
"""Longer side at which holes are filled: what is made up has nothing fine in it, and OpenCV needs half a minute at full size."""


def filled(window: np.ndarray, hole: np.ndarray, radius_px: float = 3.0) -> np.ndarray:
    """The window with the pixels of `hole` (h, w) bool made up from what surrounds them, within `radius_px`.

    Source: Telea 2004, "An image inpainting technique based on the fast marching method", as in OpenCV.
    """
    import cv2

    height, width = window.shape[:2]
    share = min(1.0, FILL_PX / max(height, width))
    if share == 1:
        return cv2.inpaint(np.ascontiguousarray(window), hole.astype(np.uint8), radius_px, cv2.INPAINT_TELEA)
    size = max(2, round(width * share)), max(2, round(height * share))
    small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    small = cv2.inpaint(cv2.resize(window, size, interpolation=cv2.INTER_AREA), small_hole.astype(np.uint8),
                        max(radius_px * share, 2.0), cv2.INPAINT_TELEA)
    return np.where(hole[..., None], cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), window)


def erased(window: np.ndarray, mask: np.ndarray, dose: float) -> np.ndarray:
    """The window in which what surrounds the mask lies over it, with the opacity `dose`."""
    return blended(window, filled(window, mask > 0.05), mask * dose)


def wiped(window: np.ndarray, length_px: int, angle: float) -> np.ndarray:
    """The window smeared along a direction, as if wet paint had been wiped."""
    import cv2

    offsets, middle = np.linspace(-length_px / 2, length_px / 2, length_px), (length_px + 1) / 2
    kernel = np.zeros((length_px + 2, length_px + 2), np.float32)
    kernel[np.round(middle + offsets * np.sin(angle)).astype(int), np.round(middle + offsets * np.cos(angle)).astype(int)] = 1
    return cv2.filter2D(window, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def blob(grid: np.ndarray, place: np.ndarray, radius: float, draw: np.random.Generator) -> np.ndarray:
    """A mask with a random, wavy, longish outline: 1 inside, with an edge of a tenth of the radius."""
    away = (grid - place) @ rotation(draw.uniform(0, np.pi)) * np.sqrt([(stretch := draw.uniform(1, 2.5)), 1 / stretch])
    angle = np.arctan2(away[..., 1], away[..., 0])
    waves = sum(0.3 / count * np.sin(count * angle + draw.uniform(0, 2 * np.pi)) for count in (1, 2, 3, 5))
    return falloff(np.linalg.norm(away, axis=-1) / radius - waves, 0.9, 1.0)


def rotation(angle: float) -> np.ndarray:
    """(2, 2), turns a vector by `angle`."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def swirled(window: np.ndarray, centre: np.ndarray, angle: float, reach: float) -> np.ndarray:
    """The window turned about a point: by `angle` at the point, less and less up to `reach` pixels from it."""
    away = grid_of(window) - centre
    angles = angle * falloff(np.linalg.norm(away, axis=-1), 0, reach)
    turned = np.stack([away[..., 0] * np.cos(angles) - away[..., 1] * np.sin(angles),
                       away[..., 0] * np.sin(angles) + away[..., 1] * np.cos(angles)], axis=-1)
    return moved(window, centre + turned)


def patched(window: np.ndarray, points_N2: np.ndarray, size_px: float, draw: np.random.Generator) -> np.ndarray:
    """The window in which a round piece around one of the points lies, turned, on another one."""
    grid, (origin, place) = grid_of(window), (points_N2[index] for index in draw.choice(len(points_N2), 2, replace=False))
    mask = falloff(np.linalg.norm(grid - place, axis=-1), 0.3 * size_px, 0.5 * size_px)
    return blended(window, moved(window, (grid - place) @ rotation(draw.uniform(-np.pi, np.pi)).T + origin), mask)
