"""Skin tone on drawn faces, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sana_bench.features.skin_tone import (MONK_HEX, SKIN_POLYGONS, evenly_lit, hue, ita, monk_lab, nearest_monk, rgb_to_lab,
                                           skin_pixels, skin_tone)

SIDE = 400
BACKGROUND = (0, 255, 0)


def mesh(side: float = SIDE, left: float = 0, top: float = 0) -> np.ndarray:
    """478 points of which the skin polygons are an upper strip and two decagons in the lower half, within a square."""
    points = np.full((478, 2), 0.5)
    strip = [(0.3, 0.25), (0.4, 0.2), (0.5, 0.2), (0.6, 0.2), (0.7, 0.25), (0.65, 0.3), (0.6, 0.35), (0.5, 0.35),
             (0.4, 0.35), (0.35, 0.3)]
    points[list(SKIN_POLYGONS[0])] = strip
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1) * 0.12
    points[list(SKIN_POLYGONS[1])] = circle + (0.3, 0.65)
    points[list(SKIN_POLYGONS[2])] = circle + (0.7, 0.65)
    return (points * side + (left, top)).astype(np.float32)


def face(colour: tuple[int, ...]) -> np.ndarray:
    """Skin of one colour on a green image; only what lies in the polygons, with two pixels around, is skin."""
    pixels = np.full((SIDE, SIDE, 3), BACKGROUND, np.uint8)
    pixels[78:143, 118:283] = colour
    pixels[210:311, 70:331] = colour
    return pixels


@pytest.mark.parametrize("monk", range(1, 11))
def test_a_face_of_a_monk_colour_has_that_tone(monk: int) -> None:
    tone = skin_tone(face(tuple(bytes.fromhex(MONK_HEX[monk - 1]))), mesh())
    assert tone.monk == monk
    np.testing.assert_allclose(tone.lab, monk_lab()[monk - 1])
    assert tone.num_pixels > 10_000


def test_monk_tones_in_lab_and_ita_are_the_published_ones() -> None:
    """Values computed from the hex colours (D65): tones 1, 5, 6 and 10."""
    expected = {1: (94.21, 1.50, 5.43, 83.0), 5: (77.90, 3.47, 23.14, 50.3),
                6: (55.14, 7.79, 26.74, 10.9), 10: (14.61, 1.48, 3.53, -84.3)}
    for monk, (*lab, angle) in expected.items():
        np.testing.assert_allclose(monk_lab()[monk - 1], lab, atol=0.01)
        assert ita(monk_lab()[monk - 1]) == pytest.approx(angle, abs=0.05)


def test_lab_by_the_definition() -> None:
    """sRGB to linear light, to XYZ under D65, to Lab, written out."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3), dtype=np.uint8)
    value = pixels / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375],
                       [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ to_xyz.T
    ratio = xyz / (0.95047, 1.0, 1.08883)
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)
    np.testing.assert_allclose(rgb_to_lab(pixels), lab, atol=0.02)


def test_ita_is_an_angle_in_all_directions() -> None:
    assert ita(np.array([50, 0, 10])) == 0
    assert ita(np.array([60, 0, 10])) == pytest.approx(45)
    assert ita(np.array([60, 0, -10])) == pytest.approx(135)
    assert ita(np.array([40, 0, 0])) == pytest.approx(-90)


def test_hue_is_an_angle_from_red_to_yellow() -> None:
    assert [hue(np.array([50, *ab])) for ab in ((1, 0), (1, 1), (0, 1), (-1, 0))] == pytest.approx([0, 45, 90, 180])
    assert hue(monk_lab()[4]) == pytest.approx(81.5, abs=0.05)  # published beside the ITA


def lit(left: float, right: float, mottled: float = 0) -> np.ndarray:
    """A face of Monk tone 6, its cheeks `left` and `right` times as bright; every other row in part by `mottled` less so."""
    pixels = face(tuple(bytes.fromhex(MONK_HEX[5]))).astype(float)
    pixels[200:, :200] *= left
    pixels[200:, 200:] *= right
    pixels[::2] *= 1 - mottled
    return pixels.astype(np.uint8)


def test_a_cheek_in_shadow_leaves_the_tone_undetermined() -> None:
    even, shadow = skin_tone(lit(1, 1), mesh()), skin_tone(lit(1, 0.7), mesh())
    assert even.monk == 6 and shadow.monk == 0
    np.testing.assert_allclose(shadow.lab, even.lab)  # two of three parts still say what they said
    assert skin_tone(lit(1, 0.9), mesh()).monk == 6


def test_dappled_light_leaves_the_tone_undetermined() -> None:
    assert skin_tone(lit(1, 1, mottled=0.1), mesh()).monk == 6
    assert skin_tone(lit(1, 1, mottled=0.3), mesh()).monk == 0


def test_even_light_by_its_limits() -> None:
    flat = np.full(100, 60.0)
    assert evenly_lit([flat, flat, flat + 10]) and not evenly_lit([flat, flat, flat + 10.1])
    assert evenly_lit([flat, flat, flat[:19] + 30])  # too few pixels to have a say
    half = np.repeat([60.0, 72.0], 50)
    assert evenly_lit([half] * 3) and not evenly_lit([np.repeat([60.0, 72.1], 50)] * 3)


def test_a_colour_far_from_skin_is_undetermined() -> None:
    for colour in ((30, 60, 220), (40, 200, 60), (240, 30, 30)):
        assert skin_tone(face(colour), mesh()).monk == 0
    assert nearest_monk(monk_lab()[5] - (0, 24.9, 0)) == nearest_monk(monk_lab()[5]) == 6
    assert nearest_monk(monk_lab()[5] - (0, 25.1, 0)) == 0


def test_shine_and_shadow_do_not_move_the_tone() -> None:
    """A clipped spot and a dark stripe over a third of each cheek are left out, so that the median stays put."""
    skin = tuple(bytes.fromhex(MONK_HEX[5]))
    clean, spoiled = face(skin), face(skin)
    spoiled[220:250, 80:320] = 255
    spoiled[275:300, 80:320] = (20, 15, 12)
    before, after = skin_tone(clean, mesh()), skin_tone(spoiled, mesh())
    np.testing.assert_array_equal(before.lab, after.lab)
    assert after.num_pixels < before.num_pixels


def test_less_light_is_darker() -> None:
    noise = np.random.default_rng(1).normal(0, 3, (SIDE, SIDE, 3))
    light = np.clip(face(tuple(bytes.fromhex(MONK_HEX[4]))) + noise, 0, 249)
    tones = [skin_tone((light * factor).astype(np.uint8), mesh()) for factor in (1, 0.8, 0.6, 0.4, 0.2)]
    assert all(after.monk > before.monk and after.ita < before.ita for before, after in zip(tones, tones[1:]))


def test_a_tiny_face_is_undetermined_but_counted() -> None:
    small = Image.fromarray(face(tuple(bytes.fromhex(MONK_HEX[5])))).resize((30, 30), Image.Resampling.BOX)
    tone = skin_tone(np.asarray(small), mesh(30))
    assert tone.monk == 0 and 0 < tone.num_pixels < 200
    assert np.isfinite(tone.lab).all()


def test_a_face_outside_the_image_has_no_pixel() -> None:
    tone = skin_tone(face((160, 126, 86)), mesh(left=5000))
    assert (tone.monk, tone.num_pixels) == (0, 0)
    assert np.isnan(tone.lab).all() and np.isnan(tone.ita) and np.isnan(tone.hue)


def test_pixels_are_those_inside_the_polygons_and_the_image() -> None:
    numbered = np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE)
    pixels = np.stack([numbered & 255, numbered >> 8 & 255, numbered >> 16], -1).astype(np.uint8)
    inside = skin_pixels(pixels, mesh()).astype(int) @ (1, 256, 65536)
    rows, columns = inside // SIDE, inside % SIDE
    cheeks = rows > 200
    # The strip is 0.2, 0.4, 0.3 and 0.2 wide at steps of 0.05: area 0.05 (0.3 + 0.35 + 0.25). Two decagons of radius 48.
    assert (~cheeks).sum() == pytest.approx(0.045 * SIDE**2, rel=0.05)
    assert cheeks.sum() == pytest.approx(2 * 5 * 48**2 * np.sin(2 * np.pi / 10), rel=0.05)
    distance = np.minimum(np.hypot(columns - 120, rows - 260), np.hypot(columns - 280, rows - 260))[cheeks]
    assert distance.max() < 50
    shifted = skin_pixels(pixels, mesh(left=-120)).astype(int) @ (1, 256, 65536)
    assert 0 < len(shifted) < len(inside) and len(np.unique(shifted)) == len(shifted)
