"""Views of parts: upright, centred, of one size, mirrored where asked, and averaged down without a shift."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.features.upright_view import (
    FACE, HAND, MAP, SIDE, cut_view, size_of, skeleton_map, transformed, view_matrix)


def points_of(part, angle: float, size: float) -> np.ndarray:
    """Random points whose way up points at `angle` degrees from the image's up, about (500, 400)."""
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (478 if part is FACE else 21, 2))
    points[part.up[0]], points[part.up[1]] = (0, 0.5), (0, -0.5)
    turn = np.radians(angle)
    return points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).T * size + (500, 400)


@pytest.mark.parametrize("part", [HAND, FACE], ids=["hand", "face"])
@pytest.mark.parametrize("angle", [0, 35, 90, -160])
def test_the_view_is_upright_centred_and_of_one_scale(part, angle: float) -> None:
    points = points_of(part, angle, 300)
    there = transformed(points, view_matrix(part, points))
    down = there[part.up[0]] - there[part.up[1]]
    assert down[0] == pytest.approx(0, abs=1e-6) and down[1] > 0
    low, high = points.min(axis=0), points.max(axis=0)
    assert transformed((low + high)[None] / 2, view_matrix(part, points))[0] == pytest.approx([SIDE / 2, SIDE / 2])
    assert down[1] == pytest.approx(300 * SIDE / (2 * part.reach * size_of(points)))


def test_a_mirrored_view_is_the_mirror_image() -> None:
    points = points_of(HAND, 20, 300)
    plain, mirrored = (transformed(points, view_matrix(HAND, points, each)) for each in (False, True))
    assert mirrored[:, 0] == pytest.approx(SIDE - plain[:, 0])
    assert mirrored[:, 1] == pytest.approx(plain[:, 1])


@pytest.mark.parametrize("size", [60, 150, 700, 1900])
def test_what_lies_at_a_point_lies_there_in_the_view(size: float) -> None:
    """A bright disc around one point, at every scale; its middle is found within a pixel and a half."""
    pixels, points = np.zeros((2048, 2048, 3), np.uint8), points_of(HAND, 40, size) + (500, 600)
    y, x = np.mgrid[:2048, :2048]
    pixels[np.hypot(x - points[5, 0], y - points[5, 1]) < 0.06 * size] = 255
    matrix = view_matrix(HAND, points)
    view = cut_view(pixels, matrix).astype(float).mean(axis=2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    middle = np.array([(columns * view).sum(), (rows * view).sum()]) / view.sum()
    assert middle == pytest.approx(transformed(points[5:6], matrix)[0], abs=1.5)


def test_outside_of_the_image_is_black() -> None:
    points = points_of(HAND, 0, 300) - (600, 0)  # most of the hand is left of the image
    view = cut_view(np.full((800, 800, 3), 255, np.uint8), view_matrix(HAND, points))
    assert view[:, :40].max() == 0 and view[SIDE // 2, -1].min() == 255
    assert cut_view(np.full((800, 800, 3), 255, np.uint8), view_matrix(HAND, points - 5000)).max() == 0


def test_the_skeleton_is_drawn_where_the_bones_are() -> None:
    points = points_of(HAND, 0, 300)
    there = transformed(points, view_matrix(HAND, points))
    drawn = skeleton_map(HAND, there)
    assert drawn.shape == (len(HAND.lines), MAP, MAP) and 0 <= drawn.min() and drawn.max() <= 1
    for channel, line in zip(drawn, HAND.lines, strict=True):
        for x, y in there[list(line)] * MAP / SIDE:
            assert channel[min(int(y), MAP - 1), min(int(x), MAP - 1)] > 0
    assert skeleton_map(HAND, there + 10_000).max() == 0


def test_mirrored_points_of_a_face_are_the_same_places() -> None:
    plain, mirrored = FACE.known_points(), FACE.known_points(mirrored=True)
    assert sorted(plain) == sorted(mirrored) and plain != mirrored
    assert mirrored[plain.index(33)] == 263 and mirrored[plain.index(152)] == 152
    assert HAND.known_points() == HAND.known_points(mirrored=True) == list(range(21))
