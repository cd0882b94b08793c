"""Views under augmentation: untouched ones to the bit, no borders, and regions where they are seen."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from sana_bench.data.augment import UNTOUCHED, Augmentation
from sana_bench.data.samples import Draw, People, Picture, Region
from sana_bench.data.views import MARGIN, fit_view, make_view, region_boxes, view_enlargement, view_identity

SIZES = st.tuples(st.integers(40, 240), st.integers(40, 240))
TARGETS = st.tuples(st.sampled_from([32, 64, 96, 160]), st.sampled_from([32, 64, 96, 160]))
FITS = st.sampled_from(["crop", "pad"])
SHARES = st.floats(0, 1)
GEOMETRY = st.builds(Augmentation, flip=st.booleans(), angle=st.one_of(st.just(0.0), st.floats(-15, 15)), kept=st.floats(0.7, 1),
                     shift_x=st.floats(-1, 1), shift_y=st.floats(-1, 1))


def picture_of(size: tuple[int, int], **fields) -> Picture:
    return Picture(source="s", path=Path("a.png"), content="0", name="a.png", text="a woman", size=size, **fields)


def cut_crop(data, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """A part of at least 40 px of an image, or None."""
    if data.draw(st.booleans()):
        return None
    width, height = (data.draw(st.floats(40, side)) for side in size)
    left, top = data.draw(st.floats(0, size[0] - width)), data.draw(st.floats(0, size[1] - height))
    return left, top, left + width, top + height


def fit_view_as_it_was(image: Image.Image, width: int, height: int, fit: str, focus_y: float) -> Image.Image:
    """`fit_view` of the releases before augmentation, on which scores and cached latents rest."""
    ratio = width / height
    if fit == "pad":
        pixels = np.asarray(image)
        for axis, missing in ((1, max(0, round(image.height * ratio) - image.width)), (0, max(0, round(image.width / ratio) - image.height))):
            margin = max(1, round(MARGIN * pixels.shape[axis]))
            at = np.arange(-(missing // 2), pixels.shape[axis] + missing - missing // 2)
            side = np.where(at < 0, -1 - at, at - pixels.shape[axis])  # how far outside, mirrored to and fro in the margin
            inward = np.where(side // margin % 2 == 0, side % margin, margin - 1 - side % margin)
            source = np.where(at < 0, inward, np.where(at >= pixels.shape[axis], pixels.shape[axis] - 1 - inward, at))
            pixels = np.take(pixels, source, axis=axis)
        image = Image.fromarray(pixels)
    crop_width, crop_height = min(image.width, image.height * ratio), min(image.height, image.width / ratio)
    left, top = (image.width - crop_width) / 2, min(max(focus_y * image.height - crop_height / 2, 0), image.height - crop_height)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=(left, top, left + crop_width, top + crop_height))


@given(SIZES, TARGETS, FITS, SHARES, st.integers(0, 9))
def test_an_untouched_view_is_to_the_bit_what_it_was_before_there_was_augmentation(size, target, fit, focus_y, seed):
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    before = np.asarray(fit_view_as_it_was(image, *target, fit, focus_y))
    assert np.array_equal(np.asarray(fit_view(image, *target, fit=fit, focus_y=focus_y)), before)
    if fit == "crop" or size[0] / size[1] <= target[0] / target[1]:  # the sides of others may be cut in training
        picture = picture_of(size, fit=fit, focus_y=focus_y)
        assert np.array_equal(np.asarray(make_view(image, picture, Draw(0, 0, *target), UNTOUCHED)), before)


@given(SIZES, TARGETS, FITS, SHARES, GEOMETRY, st.data())
@example((100, 200), (64, 64), "crop", 0.0, Augmentation(angle=15.0, kept=1.0), None)
@example((200, 200), (64, 64), "crop", 0.5, Augmentation(angle=15.0, kept=0.7, shift_x=1.0, shift_y=-1.0), None)
@example((200, 200), (64, 64), "crop", 0.5, Augmentation(angle=15.0, kept=0.7, shift_x=1.0, shift_y=1.0), None)
@example((240, 40), (160, 32), "pad", 1.0, Augmentation(angle=-15.0, kept=0.7, shift_x=1.0, shift_y=1.0), None)
def test_a_white_image_stays_white_under_every_augmentation(size, target, fit, focus_y, augmentation, data):
    picture = picture_of(size, fit=fit, focus_y=focus_y, crop=cut_crop(data, size) if data else None)
    view = make_view(Image.new("RGB", size, "white"), picture, Draw(0, 1, *target), augmentation)
    assert view.size == target and (np.asarray(view) == 255).all()


@given(SIZES, TARGETS, FITS, SHARES, GEOMETRY, st.data())
def test_a_region_is_where_it_is_seen(size, target, fit, focus_y, augmentation, data):
    """A red square on blue: where red prevails in the view is where its box says, to two pixels of the view or of the image."""
    side = data.draw(st.integers(12, 20))
    crop = cut_crop(data, size)
    part = crop or (0, 0, *size)
    if fit == "pad":  # what lies in the margins of a padded image is seen twice
        spare = [math.ceil(MARGIN * (part[axis + 2] - part[axis])) + 1 for axis in (0, 1)]
        room = (part[0] + spare[0], part[1] + spare[1], part[2] - spare[0], part[3] - spare[1])
    else:
        room = (0, 0, *size)
    left, top = (data.draw(st.integers(math.ceil(room[axis]), max(math.ceil(room[axis]), math.floor(room[axis + 2]) - side))) for axis in (0, 1))
    image, box = Image.new("RGB", size, "blue"), (left, top, left + side, top + side)
    image.paste("red", box)
    picture = picture_of(size, fit=fit, focus_y=focus_y, crop=crop, people=People(regions=(Region(kind="hand", box=box),)))
    draw = Draw(0, 1, *target)
    pixels = np.asarray(make_view(image, picture, draw, augmentation), np.int16)
    rows, columns = np.nonzero(pixels[:, :, 0] > pixels[:, :, 2])
    found = region_boxes(picture, draw, augmentation)
    if not found:
        assert len(rows) == 0
        return
    ((kind, told),) = found
    assert kind == "hand" and 0 <= told[0] < told[2] <= draw.width and 0 <= told[1] < told[3] <= draw.height
    whole = told[0] > 0 and told[1] > 0 and told[2] < draw.width and told[3] < draw.height
    turned = math.cos(math.radians(augmentation.angle)) + math.sin(math.radians(abs(augmentation.angle)))
    tolerance = 2 * max(1, (told[2] - told[0]) / side / turned if whole else max(target) / 20)  # a view shows 20 px of the image at least
    if whole and min(told[2] - told[0], told[3] - told[1]) >= 4:
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(told, seen)).max() <= tolerance, (told, seen)
    elif len(rows):  # of a square that is cut by the edge, a corner of its box may be empty
        assert columns.min() >= told[0] - tolerance and columns.max() < told[2] + tolerance
        assert rows.min() >= told[1] - tolerance and rows.max() < told[3] + tolerance


def test_turning_is_counter_clockwise_and_mirroring_comes_last():
    """A dot to the right of the middle goes up when turned, and to the upper left when mirrored too."""
    picture = picture_of((200, 200), people=People(regions=(Region(kind="face", box=(158, 98, 162, 102)),)))
    boxes = {(angle, flip): region_boxes(picture, Draw(0, 1, 200, 200), Augmentation(angle=angle, flip=flip))[0][1]
             for angle in (0.0, 15.0) for flip in (False, True)}
    middles = {key: ((box[0] + box[2]) / 2 - 100, (box[1] + box[3]) / 2 - 100) for key, box in boxes.items()}
    scale = math.cos(math.radians(15)) + math.sin(math.radians(15))  # the largest square in a turned square is smaller by this, so all in it appears larger
    assert middles[0.0, False] == pytest.approx((60, 0)) and middles[0.0, True] == pytest.approx((-60, 0))
    expected = scale * 60 * math.cos(math.radians(15)), -scale * 60 * math.sin(math.radians(15))
    assert middles[15.0, False] == pytest.approx(expected)
    assert middles[15.0, True] == pytest.approx((-expected[0], expected[1]))


def test_the_window_of_a_turned_image_is_the_largest_one():
    """Marks one pixel outside of it would be black: shown by an image with a black frame that is just not seen, or just seen where 2 % more is."""
    size, angle = (300, 180), 12.0
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] - 1, size[1] - 1), outline="black", width=2)
    draw = Draw(0, 1, 320, 160)
    pixels = np.asarray(make_view(image, picture_of(size), draw, Augmentation(angle=angle)))
    assert (pixels < 128).any()  # it reaches into the frame
    assert (np.asarray(make_view(image, picture_of(size), draw, Augmentation(angle=angle, kept=0.96))) > 250).all()  # and no further


def test_a_turned_and_reduced_view_is_free_of_aliasing():
    """Stripes of one pixel are grey in a view of a quarter of the size; without antialiasing they beat."""
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    view = make_view(Image.fromarray(stripes), picture_of((512, 512)), Draw(0, 1, 128, 128), Augmentation(angle=7.0))
    assert np.abs(np.asarray(view, np.int16)[2:-2, 2:-2] - 128).max() <= 6


def test_a_padded_picture_in_a_taller_view_repeats_no_feet():
    """Red feet at the lower edge, twice as many rows of them where the edge is mirrored; and no further than sides are background."""
    image = Image.new("RGB", (100, 150), "blue")
    image.paste("red", (0, 140, 100, 150))
    picture = picture_of((100, 150), fit="pad")
    narrow = np.asarray(make_view(image, picture, Draw(0, 0, 64, 128), UNTOUCHED))
    assert (narrow[:, :, 0] > 128).sum(axis=0).max() == round(10 * 128 / 150)
    assert np.array_equal(narrow, np.asarray(fit_view(image, 64, 128)))
    slim = np.asarray(make_view(image, picture, Draw(0, 0, 32, 128), UNTOUCHED))
    assert np.array_equal(slim, np.asarray(fit_view(image, 32, 128, fit="pad")))


@given(SIZES, TARGETS, FITS, GEOMETRY)
def test_enlargement_is_that_of_a_region(size, target, fit, augmentation):
    """By the width of a square in the middle, which is turned as the view is."""
    x, y = size[0] / 2, size[1] / 2
    picture = picture_of(size, fit=fit, people=People(regions=(Region(kind="face", box=(x - 1, y - 1, x + 1, y + 1)),)))
    draw = Draw(0, 1, *target)
    turned = math.cos(math.radians(augmentation.angle)) + math.sin(math.radians(abs(augmentation.angle)))
    boxes = region_boxes(picture, draw, augmentation)
    whole = [box for _, box in boxes if box[0] > 0 and box[1] > 0 and box[2] < draw.width and box[3] < draw.height]
    for left, _, right, _ in whole:
        assert view_enlargement(picture, draw, augmentation) == pytest.approx((right - left) / 2 / turned)
    assert whole or augmentation.kept < 1


def test_a_small_crop_shows_what_it_keeps_as_large_as_it_becomes():
    """The same pixels as cutting the file first; the kept half lies at the right edge and in the middle of the height."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))
    kept = make_view(image, picture_of((80, 80)), Draw(0, 1, 64, 64), Augmentation(kept=0.5, shift_x=1.0))
    assert np.array_equal(np.asarray(kept), np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS, box=(40, 20, 80, 60))))


def test_identity_is_of_what_decides_pixels_and_of_nothing_else():
    draw, augmentation = Draw(3, 1, 64, 96), Augmentation(flip=True, angle=2.5)
    picture = picture_of((80, 80), crop=(1.2, 2.0, 60.0, 70.0))
    identity = json.dumps(view_identity(picture, draw, augmentation))
    same = (view_identity(replace(picture, text="a man", name="b.png", people=People(groups={"age": "adult"})), draw, augmentation),
            view_identity(picture, replace(draw, picture=7, view=4), augmentation))
    assert {json.dumps(each) for each in same} == {identity}
    others = (view_identity(replace(picture, crop=None), draw, augmentation), view_identity(replace(picture, crop=(2.0, 2.0, 60.0, 70.0)), draw, augmentation),
              view_identity(replace(picture, fit="pad"), draw, augmentation), view_identity(replace(picture, focus_y=0.4), draw, augmentation),
              view_identity(picture, replace(draw, width=96), augmentation), view_identity(picture, replace(draw, height=64), augmentation),
              *(view_identity(picture, draw, replace(augmentation, **change)) for change in
                ({"flip": False}, {"angle": 2.6}, {"kept": 0.9}, {"shift_x": 0.1}, {"shift_y": 0.1}, {"brightness": 1.1}, {"contrast": 1.1})))
    assert len({identity, *map(json.dumps, others)}) == 1 + len(others)
