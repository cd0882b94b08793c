"""Broken hands, from the 21 points of a real one: warped, fused, missing, overlong and added fingers, and others.

Which of them a metric may learn from, and which it is tested on, stands in `split.py`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from sana_bench.corruptions import register_on_window
from sana_bench.corruptions.geometry import (
    blended, blob, distance_to_line, erased, falloff, filled, grid_of, moved, patched, rotation, smooth_noise, swirled, wiped)

MARGIN = 0.5
FINGERS = {"thumb": (1, 2, 3, 4), "index": (5, 6, 7, 8), "middle": (9, 10, 11, 12), "ring": (13, 14, 15, 16), "little": (17, 18, 19, 20)}
FINGER_WIDTH = 0.2
"""Width of a finger in palm lengths (wrist to knuckle of the middle finger)."""
NAIL = 0.08
"""How far a finger goes on beyond the last point, in palm lengths: that point lies under the nail."""


def palm_length(points_21xy: np.ndarray) -> float:
    """Wrist to the knuckle of the middle finger, or across the knuckles where the palm is seen end-on."""
    length, width = points_21xy[9] - points_21xy[0], points_21xy[17] - points_21xy[5]
    return float(max(np.linalg.norm(length), 1.2 * np.linalg.norm(width), 1.0))


def finger_line(points_21xy: np.ndarray, finger: str) -> np.ndarray:
    """(4, 2) knuckle to the very tip of a finger."""
    line = points_21xy[list(FINGERS[finger])].copy()
    last = line[3] - line[2]
    line[3] += last / max(float(np.linalg.norm(last)), 1e-6) * NAIL * palm_length(points_21xy)
    return line


def finger_mask(grid: np.ndarray, line_M2: np.ndarray, palm: float) -> np.ndarray:
    """1 on a finger, 0 beyond the edge of its skin."""
    return falloff(distance_to_line(grid, line_M2), 0.45 * FINGER_WIDTH * palm, 0.75 * FINGER_WIDTH * palm)


def seen_apart(points_21xy: np.ndarray) -> dict[str, float]:
    """How far the outer half of each finger lies from the others, in finger widths: the more, the surer that it is seen by itself."""
    outer = {finger: _last_part(finger_line(points_21xy, finger), 0.5) for finger in FINGERS}
    scale = FINGER_WIDTH * palm_length(points_21xy)
    return {finger: min(float(distance_to_line(line[:, None], outer[other]).mean()) for other in FINGERS if other != finger) / scale
            for finger, line in outer.items()}


def choose_finger(points_21xy: np.ndarray, draw: np.random.Generator) -> str:
    """One of the two fingers that are best seen by themselves: damage to a finger behind others would show nothing."""
    apart = seen_apart(points_21xy)
    return str(draw.choice(sorted(apart, key=apart.get)[-2:]))


def _last_part(line_M2: np.ndarray, share: float) -> np.ndarray:
    """The end of a polyline that makes up `share` of its length."""
    lengths = np.linalg.norm(np.diff(line_M2, axis=0), axis=1)
    places = np.concatenate([[0], np.cumsum(lengths)]) / max(float(lengths.sum()), 1e-9)
    start = 1 - share
    first = np.array([np.interp(start, places, line_M2[:, axis]) for axis in range(2)])
    return np.concatenate([first[None], line_M2[places > start]])


_register = partial(register_on_window, part="hand", margin=MARGIN)


@_register("hand_warped", doses=(0.03, 0.06, 0.1, 0.15), unit="largest shift, share of the hand's size")
def warp(window, points, dose, draw):
    """Fingers bent and swollen by a smooth random shift of pixels."""
    size = float(np.ptp(points, axis=0).max())
    grid = grid_of(window)
    near = falloff(np.linalg.norm(grid - points.mean(axis=0), axis=-1), 0.6 * size, 0.95 * size)
    return moved(window, grid + smooth_noise(window.shape[:2], 0.07 * size, draw) * near[..., None] * dose * size)


@_register("hand_overlong_finger", doses=(0.2, 0.4, 0.7, 1.0), unit="share of the finger's length added")
def stretch_finger(window, points, dose, draw):
    """One finger is far too long."""
    return _scale_finger(window, points, choose_finger(points, draw), along=1 + dose)


@_register("hand_shortened_finger", doses=(0.2, 0.35, 0.5, 0.65), unit="share of the finger's length lost")
def shorten_finger(window, points, dose, draw):
    """One finger is far too short."""
    return _scale_finger(window, points, choose_finger(points, draw), along=1 - dose)


@_register("hand_swollen_finger", doses=(0.3, 0.6, 1.0, 1.5), unit="share of the finger's width added")
def swell_finger(window, points, dose, draw):
    """One finger is far too thick."""
    return _scale_finger(window, points, choose_finger(points, draw), across=1 + dose)


def _scale_finger(window, points, finger: str, *, along: float = 1.0, across: float = 1.0):
    """Scale about the line from knuckle to tip; what lies around the finger gives way, smoothly."""
    palm, line, grid = palm_length(points), finger_line(points, finger), grid_of(window)
    length = float(np.linalg.norm(line[3] - line[0]))
    axis = (line[3] - line[0]) / max(length, 1e-6)
    normal, width = np.array([-axis[1], axis[0]]), FINGER_WIDTH * palm
    u, v = (grid - line[0]) @ axis, (grid - line[0]) @ normal
    reach_u, reach_v = max(along, 1) * length + 0.8 * palm, max(across, 1) * 0.5 * width + 0.6 * width
    # Piecewise linear: the finger comes from its old extent, the rest is squeezed or pulled until `reach`.
    source_u = np.where((u > 0) & (u < reach_u), np.interp(u, [0, along * length, reach_u], [0, length, reach_u]), u)
    source_v = np.sign(v) * np.interp(np.abs(v), [0, across * 0.5 * width, reach_v], [0, 0.5 * width, reach_v])
    source_v = np.where(np.abs(v) < reach_v, source_v, v)
    near_u = falloff(np.abs(v), 0.55 * width, 1.1 * width)
    near_v = falloff(-u, -0.25 * length, 0) * falloff(u, 1.05 * length, 1.3 * length)
    return moved(window, grid + ((source_u - u) * near_u)[..., None] * axis + ((source_v - v) * near_v)[..., None] * normal)


@_register("hand_missing_finger", doses=(0.3, 0.5, 0.75, 1.0), unit="share of the finger that is gone, from its tip")
def remove_finger(window, points, dose, draw):
    """One finger is missing; what is around it goes on in its place."""
    palm, finger, grid = palm_length(points), choose_finger(points, draw), grid_of(window)
    part = _last_part(finger_line(points, finger), dose)
    own = distance_to_line(grid, part)
    others = np.min([distance_to_line(grid, finger_line(points, other)) for other in FINGERS if other != finger], axis=0)
    return filled(window, (own < 0.75 * FINGER_WIDTH * palm) & (own < others))


@_register("hand_fused_fingers", doses=(0.4, 0.6, 0.8, 1.0), unit="share of the fingers' length that is grown together")
def fuse_fingers(window, points, dose, draw):
    """Two neighbouring fingers, of those with the widest gap between them, are grown together with skin."""
    import cv2

    lines = [finger_line(points, finger) for finger in FINGERS]
    gaps = [np.linalg.norm(first - second, axis=1).mean() for first, second in zip(lines[:-1], lines[1:], strict=True)]
    first = int(draw.choice(np.argsort(gaps)[-2:]))
    parts = [_last_part(line[::-1], dose)[::-1] for line in lines[first:first + 2]]
    between = np.zeros(window.shape[:2], np.uint8)
    cv2.fillPoly(between, [np.round(np.concatenate([parts[0], parts[1][::-1]])).astype(np.int32)], 1)
    return _skin_over(window, parts, between, FINGER_WIDTH * palm_length(points))


def _skin_over(window, lines: list[np.ndarray], region: np.ndarray, width: float):
    """Paint `region` with the colours of the skin along the lines, which run into each other."""
    import cv2

    skin = np.min([distance_to_line(grid_of(window), line) for line in lines], axis=0) < 0.2 * width
    if not region.any() or not skin.any():
        return window
    shade = cv2.GaussianBlur(np.where(skin[..., None], window, 0).astype(np.float32), (0, 0), 0.4 * width)
    weight = cv2.GaussianBlur(skin.astype(np.float32), (0, 0), 0.4 * width)[..., None]
    colours = np.where(weight > 0.01, shade / np.maximum(weight, 1e-6), window[skin].mean(axis=0))
    grain = window.astype(np.float32) - cv2.GaussianBlur(window.astype(np.float32), (0, 0), 1.5)  # skin is never quite smooth
    return blended(window, colours + grain * skin.mean(), cv2.GaussianBlur(region.astype(np.float32), (0, 0), 0.08 * width))


@_register("hand_added_finger", doses=(0.5, 0.7, 0.85, 1.0), unit="length of the added finger, share of its pattern")
def add_finger(window, points, dose, draw):
    """A sixth finger, copied from one that is seen well and set in beside it."""
    palm, finger = palm_length(points), choose_finger(points, draw)
    line, outward = finger_line(points, finger), _away_from_others(points, finger)
    axis = line[3] - line[0]
    turn = np.radians(draw.uniform(10, 25)) * (1 if axis[0] * outward[1] - axis[1] * outward[0] > 0 else -1)
    return _set_in(window, line, line[0] + outward * FINGER_WIDTH * palm * draw.uniform(0.6, 1.0), turn, dose, palm)


def _away_from_others(points_21xy: np.ndarray, finger: str) -> np.ndarray:
    """Unit vector at a right angle to the finger, to the side on which fewer fingers are."""
    line = points_21xy[list(FINGERS[finger])]
    axis = (line[3] - line[0]) / max(float(np.linalg.norm(line[3] - line[0])), 1e-6)
    normal = np.array([-axis[1], axis[0]])
    others = np.concatenate([points_21xy[list(FINGERS[other])] for other in FINGERS if other != finger])
    return normal if ((others - line.mean(axis=0)) @ normal).mean() < 0 else -normal


def _set_in(window, line, place, turn: float, scale: float, palm: float):
    """Paste a copy of the finger on `line` with its knuckle at `place`, turned and scaled about it."""
    grid = grid_of(window)
    source = (grid - place) @ rotation(-turn).T / scale + line[0]
    inside = (source >= 0).all(axis=-1) & (source[..., 0] < window.shape[1] - 1) & (source[..., 1] < window.shape[0] - 1)
    return blended(window, moved(window, source), finger_mask(source, line, palm) * inside)


@_register("hand_bent_finger", doses=(20, 35, 55, 80), unit="degrees that the finger is bent sideways")
def bend_finger(window, points, dose, draw):
    """One finger is bent sideways in its middle joint, as no finger bends."""
    palm, finger = palm_length(points), choose_finger(points, draw)
    line, width = finger_line(points, finger), FINGER_WIDTH * palm_length(points)
    outward, axis = _away_from_others(points, finger), line[3] - line[0]
    turn = np.radians(dose) * (1 if axis[0] * outward[1] - axis[1] * outward[0] > 0 else -1)
    stump = filled(window, distance_to_line(grid_of(window), line[1:]) < 0.7 * width)
    kept = finger_mask(grid_of(window), line[:2], palm)
    source = (grid_of(window) - line[1]) @ rotation(-turn).T + line[1]
    bent = blended(stump, moved(window, source), finger_mask(source, line[1:], palm))
    return blended(bent, window, kept)


@_register("hand_swirled", doses=(40, 80, 130, 200), unit="degrees that the middle of the swirl is turned")
def swirl(window, points, dose, draw):
    """Part of the hand is turned about a point, as water in a drain."""
    centre = points[int(draw.integers(21))] * 0.5 + points[9] * 0.5
    return swirled(window, centre, np.radians(dose) * draw.choice((-1, 1)), 0.4 * float(np.ptp(points, axis=0).max()))


@_register("hand_patched", doses=(0.2, 0.3, 0.45, 0.6), unit="size of the patch, share of the hand's size")
def patch(window, points, dose, draw):
    """A round piece of the hand lies on another part of it, turned."""
    return patched(window, points, dose * float(np.ptp(points, axis=0).max()), draw)


@_register("hand_doubled", doses=(0.3, 0.5, 0.75, 1.0), unit="opacity of the second hand")
def double(window, points, dose, draw):
    """A second copy of the hand grows out of the same wrist, turned."""
    palm, grid = palm_length(points), grid_of(window)
    turn = np.radians(draw.uniform(20, 45)) * draw.choice((-1, 1))
    source = (grid - points[0]) @ rotation(-turn).T + points[0]
    lines = [np.concatenate([points[:1], finger_line(points, finger)]) for finger in FINGERS]
    mask = np.max([finger_mask(source, line, 1.2 * palm) for line in lines], axis=0)
    return blended(window, moved(window, source), mask * dose)


@_register("hand_melted", doses=(0.05, 0.1, 0.2, 0.3), unit="length of the smear, share of the hand's size")
def melt(window, points, dose, draw):
    """The fingers run into each other as if wet paint had been wiped."""
    size, grid = float(np.ptp(points, axis=0).max()), grid_of(window)
    paint = wiped(window, max(3, round(dose * size)), draw.uniform(0, np.pi))
    centre = points[[8, 12, 16, 20]].mean(axis=0)
    return blended(window, paint, falloff(np.linalg.norm(grid - centre, axis=-1), 0.3 * size, 0.55 * size))


@_register("hand_bitten", doses=(0.25, 0.35, 0.5, 0.65), unit="size of the bite, share of the hand's size")
def bite(window, points, dose, draw):
    """Part of the hand is gone as if bitten off: what lies beside it goes on there."""
    size, grid = float(np.ptp(points, axis=0).max()), grid_of(window)
    place = points[int(draw.choice((2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20)))]
    ring = [place + rotation(angle) @ np.array([(0.25 + 0.5 * dose) * size, 0]) for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False)]
    inside = [spot for spot in ring if (spot >= 0).all() and (spot < np.array(window.shape[1::-1])).all()] or [place]
    origin = max(inside, key=lambda spot: np.linalg.norm(points - spot, axis=1).min())  # furthest from the hand itself
    return blended(window, moved(window, grid - place + origin), blob(grid, place, 0.5 * dose * size, draw))


@_register("hand_stained", doses=(0.2, 0.3, 0.45, 0.6), unit="size of the stain, share of the hand's size")
def stain(window, points, dose, draw):
    """A blob of plain skin hides what is below it, lines and edges."""
    size, grid = float(np.ptp(points, axis=0).max()), grid_of(window)
    bones = np.concatenate([points[list(FINGERS[finger])] for finger in FINGERS])
    place = bones[int(draw.integers(len(bones)))] + draw.normal(0, 0.03 * size, 2)
    region = blob(grid, place, 0.45 * dose * size, draw) > 0.5
    return _skin_over(window, [finger_line(points, finger) for finger in FINGERS], region.astype(np.uint8), FINGER_WIDTH * palm_length(points))


@_register("hand_long_palm", doses=(0.15, 0.3, 0.5, 0.75), unit="share of the palm's length added, or taken away at the same factor")
def stretch_palm(window, points, dose, draw):
    """The palm is far too long or too short for its fingers."""
    factor = (1 + dose) ** draw.choice((-1, 1))
    return _moved_along(window, points, [0, factor, factor + 4], [0, 1, 5])


@_register("hand_long_fingers", doses=(0.15, 0.3, 0.45, 0.6), unit="share of the fingers' length added, or taken away at the same factor")
def stretch_fingers(window, points, dose, draw):
    """All fingers are far too long or too short for their palm."""
    factor = (1 + dose) ** draw.choice((-1, 1))
    return _moved_along(window, points, [0, 1, 1 + 1.2 * factor, 4], [0, 1, 2.2, 4])


def _moved_along(window, points, places: list[float], sources: list[float]):
    """Move what lies at `sources` to `places`, in palms from the wrist towards the knuckles, with all between them in proportion.

    Nothing moves at the window's edge, where it would tear the picture.
    """
    grid, knuckles = grid_of(window), points[[5, 9, 13, 17]].mean(axis=0)
    length = max(float(np.linalg.norm(knuckles - points[0])), 1.0)
    axis = (knuckles - points[0]) / length
    u, v = (grid - points[0]) @ axis / length, (grid - points[0]) @ np.array([-axis[1], axis[0]]) / length
    source = np.where(u > 0, np.interp(u, places, sources), u)
    to_edge = np.minimum(grid, np.array(window.shape[1::-1]) - 1 - grid).min(axis=-1) / length
    near = falloff(np.abs(v), 0.9, 1.6) * (1 - falloff(to_edge, 0, 0.5))
    return moved(window, grid + ((source - u) * length * near)[..., None] * axis)


@_register("hand_squeezed", doses=(0.2, 0.35, 0.55, 0.8), unit="share of the width added, or taken away at the same factor")
def squeeze(window, points, dose, draw):
    """The whole hand is far too broad or too narrow."""
    factor, grid, middle = (1 + dose) ** draw.choice((-1, 1)), grid_of(window), points.mean(axis=0)
    size = float(np.ptp(points, axis=0).max())
    axis = (points[9] - points[0]) / max(float(np.linalg.norm(points[9] - points[0])), 1e-6)
    normal = np.array([-axis[1], axis[0]])
    u, v = (grid - middle) @ axis, (grid - middle) @ normal
    source = np.sign(v) * np.interp(np.abs(v), [0, factor * 0.35 * size, 1.0 * size], [0, 0.35 * size, 1.0 * size])
    near = falloff(np.abs(u), 0.5 * size, 0.8 * size)
    return moved(window, grid + ((source - v) * near)[..., None] * normal)


@_register("hand_erased", doses=(0.7, 0.85, 0.95, 1.0), unit="opacity of what is put in the hand's place")
def erase(window, points, dose, draw):
    """The hand is gone; what surrounds it goes on in its place."""
    grid = grid_of(window)
    lines = [np.concatenate([points[:1], finger_line(points, finger)]) for finger in FINGERS]
    away = np.min([distance_to_line(grid, line) for line in lines], axis=0)
    return erased(window, falloff(away, 0.25 * palm_length(points), 0.4 * palm_length(points)), dose)
