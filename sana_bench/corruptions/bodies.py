"""Broken bodies, from the 33 points of a real pose: overlong, shrunken, missing, bent and additional limbs, a head too large.

Which of them a metric may learn from, and which it is tested on, stands in `split.py`.
"""

from __future__ import annotations

import numpy as np

from sana_bench.corruptions import register_corruption
from sana_bench.corruptions.geometry import blended, distance_to_line, erased, falloff, filled, grid_of, moved, on_window, rotation

MARGIN = 0.1
ARMS, LEGS = ((11, 13, 15), (12, 14, 16)), ((23, 25, 27), (24, 26, 28))
"""Shoulder, elbow, wrist; hip, knee, ankle: MediaPipe's points of a pose."""
SHOULDERS, HIPS, HANDS, NOSE = (11, 12), (23, 24), {15: (17, 19), 16: (18, 20)}, 0


def trunk_length(points_33xy: np.ndarray) -> float:
    return float(max(np.linalg.norm(points_33xy[list(SHOULDERS)].mean(axis=0) - points_33xy[list(HIPS)].mean(axis=0)), 1.0))


def limb_line(points_33xy: np.ndarray, limb: tuple[int, int, int]) -> np.ndarray:
    """(4, 2): the three joints, and the end of the hand or foot."""
    line = points_33xy[list(limb)]
    end = points_33xy[list(HANDS[limb[2]])].mean(axis=0) if limb[2] in HANDS else line[2] + 0.12 * (line[2] - line[0])
    return np.concatenate([line, (line[2] + 1.8 * (end - line[2]) if limb[2] in HANDS else end)[None]])


def limb_width(points_33xy: np.ndarray, limb: tuple[int, int, int]) -> float:
    return (0.22 if limb in ARMS else 0.36) * trunk_length(points_33xy)


def limb_mask(grid: np.ndarray, line_M2: np.ndarray, width: float) -> np.ndarray:
    return falloff(distance_to_line(grid, line_M2), 0.45 * width, 0.65 * width)


def _choose(draw: np.random.Generator, limbs: tuple) -> tuple[int, int, int]:
    return limbs[int(draw.integers(len(limbs)))]


@register_corruption("body_overlong_arm", part="body", doses=(0.15, 0.3, 0.5, 0.8), unit="share of the arm's length added")
def stretch_arm(pixels_HW3, points_N2, dose, draw):
    """One arm is far too long."""
    limb = _choose(draw, ARMS)
    return on_window(pixels_HW3, points_N2, 0.3, lambda window, points: _stretch(
        window, limb_line(points, limb), 1 + dose, limb_width(points, limb)))


@register_corruption("body_short_legs", part="body", doses=(0.15, 0.25, 0.35, 0.5), unit="share of the legs' length lost")
def shorten_legs(pixels_HW3, points_N2, dose, draw):
    """Both legs are far too short; the ground comes up."""
    def edit(window, points):
        hip, ankle = points[list(HIPS), 1].mean(), points[[27, 28], 1].max()
        rows, end = np.arange(window.shape[0], dtype=np.float32), hip + (1 - dose) * (ankle - hip)
        source = np.interp(rows, [0, hip, end, window.shape[0] - 1], [0, hip, ankle, window.shape[0] - 1])
        grid = grid_of(window)
        return moved(window, np.stack([grid[..., 0], np.broadcast_to(source[:, None], window.shape[:2])], axis=-1))

    return on_window(pixels_HW3, points_N2, MARGIN, edit)


@register_corruption("body_missing_forearm", part="body", doses=(0.4, 0.6, 0.8, 1.0), unit="share of forearm and hand that is gone")
def remove_forearm(pixels_HW3, points_N2, dose, draw):
    """One arm ends at or below the elbow; what is around it goes on in its place."""
    limb = _choose(draw, ARMS)

    def edit(window, points):
        line = limb_line(points, limb)[1:]
        kept = line[0] + (1 - dose) * (line[-1] - line[0])
        hole = distance_to_line(grid_of(window), np.stack([kept, *line[1:]] if dose > 0.5 else [kept, line[-1]])) < 0.6 * limb_width(points, limb)
        return filled(window, hole, radius_px=5)

    return on_window(pixels_HW3, points_N2, MARGIN, edit)


@register_corruption("body_added_arm", part="body", doses=(0.4, 0.6, 0.8, 1.0), unit="opacity of the third arm")
def add_arm(pixels_HW3, points_N2, dose, draw):
    """A third arm grows out of a shoulder."""
    limb = _choose(draw, ARMS)

    def edit(window, points):
        line, grid = limb_line(points, limb), grid_of(window)
        outward = np.sign(points[limb[0], 0] - points[list(SHOULDERS), 0].mean()) or 1
        source = (grid - line[0]) @ rotation(outward * np.radians(draw.uniform(35, 70))).T + line[0]
        return blended(window, moved(window, source), limb_mask(source, line, limb_width(points, limb)) * dose)

    return on_window(pixels_HW3, points_N2, 0.3, edit)


@register_corruption("body_bent_shin", part="body", doses=(15, 30, 50, 75), unit="degrees that the shin is bent sideways")
def bend_shin(pixels_HW3, points_N2, dose, draw):
    """One shin is bent sideways at the knee, as no knee bends."""
    limb = _choose(draw, LEGS)

    def edit(window, points):
        line, width, grid = limb_line(points, limb), limb_width(points, limb), grid_of(window)
        outward = np.sign(points[limb[0], 0] - points[list(HIPS), 0].mean()) or 1
        stump = filled(window, distance_to_line(grid, line[1:]) < 0.6 * width, radius_px=5)
        source = (grid - line[1]) @ rotation(outward * np.radians(dose)).T + line[1]
        bent = blended(stump, moved(window, source), limb_mask(source, line[1:], width))
        return blended(bent, window, limb_mask(grid, line[:2], width))

    return on_window(pixels_HW3, points_N2, 0.3, edit)


@register_corruption("body_large_head", part="body", doses=(0.25, 0.5, 0.9, 1.4), unit="share of the head's size added")
def enlarge_head(pixels_HW3, points_N2, dose, draw):
    """The head is far too large for the body."""
    def edit(window, points):
        grid, radius = grid_of(window), 0.45 * trunk_length(points)
        chin = points[NOSE] + 0.35 * (points[list(SHOULDERS)].mean(axis=0) - points[NOSE])
        centre = points[NOSE] + 0.15 * (points[NOSE] - chin)
        source = (grid - chin) / (1 + dose) + chin
        return blended(window, moved(window, source), falloff(np.linalg.norm(source - centre, axis=-1), 0.8 * radius, 1.1 * radius))

    return on_window(pixels_HW3, points_N2, 0.3, edit)


@register_corruption("body_erased", part="body", doses=(0.7, 0.85, 0.95, 1.0), unit="opacity of what is put in the body's place")
def erase(pixels_HW3, points_N2, dose, draw):
    """The person is gone; what surrounds them goes on in their place."""
    def edit(window, points):
        grid, trunk = grid_of(window), trunk_length(points)
        spine = np.stack([points[list(HIPS)].mean(axis=0), points[list(SHOULDERS)].mean(axis=0), points[NOSE]])
        away = np.min([distance_to_line(grid, limb_line(points, limb)) for limb in (*ARMS, *LEGS)], axis=0)
        away = np.minimum(away, distance_to_line(grid, spine) - 0.25 * trunk)
        return erased(window, falloff(away, 0.25 * trunk, 0.35 * trunk), dose)

    return on_window(pixels_HW3, points_N2, 0.3, edit)


def _stretch(window, line: np.ndarray, factor: float, width: float):
    """Stretch a limb along the line from its first to its last point; what lies beyond gives way."""
    length, grid = float(np.linalg.norm(line[-1] - line[0])), grid_of(window)
    axis = (line[-1] - line[0]) / max(length, 1e-6)
    along, across = (grid - line[0]) @ axis, np.abs((grid - line[0]) @ np.array([-axis[1], axis[0]]))
    reach = factor * length + width
    source = np.where((along > 0) & (along < reach), np.interp(along, [0, factor * length, reach], [0, length, reach]), along)
    bend = float(distance_to_line(line[1][None, None], line[[0, -1]])[0, 0])
    near = falloff(across, 0.6 * width + bend, 1.2 * width + bend)
    return moved(window, grid + ((source - along) * near)[..., None] * axis)
