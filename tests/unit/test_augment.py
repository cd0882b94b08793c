"""How views differ: drawn for each picture and view alone, and never mirrored where the caption names a side."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from sana_bench.data.augment import UNTOUCHED, Augmentation, choose, relight
from sana_bench.train_config import AugmentSection

ALL = AugmentSection(num_views=5, flip=True, rotation=10, crop=0.2, lighting=0.3)


def views(settings: AugmentSection, key: str = "a", caption: str = "a woman") -> list[Augmentation]:
    return [choose(settings, key, view, caption) for view in range(settings.num_views)]


def test_a_view_depends_on_picture_and_number_alone():
    random.seed(1)
    first = views(ALL)
    random.seed(2)
    assert [choose(ALL, "a", view, "a man") for view in reversed(range(5))] == first[::-1]
    others = [*first[1:], *views(ALL, "b")[1:]]
    assert len(set(others)) == len(others)


def test_what_was_drawn_once_is_drawn_for_ever():
    """Cached latents are found by it; random() gives the same numbers in every version of Python."""
    assert choose(ALL, "openpeople:training/P001_00.png", 3, "a woman") == Augmentation(
        flip=False, angle=-4.285277733388728, kept=0.840867331214958, shift_x=-0.2187123396311581, shift_y=-0.2067615427206364,
        brightness=0.9864530974355331, contrast=1.1223506411282562)


@pytest.mark.parametrize("settings", [ALL, AugmentSection(num_views=2), AugmentSection(num_views=1)])
def test_the_first_view_is_untouched(settings):
    assert choose(settings, "a", 0, "a woman") == UNTOUCHED == Augmentation()


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7, 8])
def test_half_of_the_views_are_mirrored_whichever_the_picture(number):
    chosen = [views(AugmentSection(num_views=number), key) for key in "abcdefgh"]
    assert {sum(each.flip for each in one) for one in chosen} == {number // 2}
    if number > 3:
        assert len({tuple(each.flip for each in one) for one in chosen}) > 1


@pytest.mark.parametrize("caption", [
    "her left hand", "LEFT", "on the right.", "(right)", "a left-handed man", "lefthanded", "a right-hand glove", "leftmost of three", "looks rightward",
    "looking leftwards", "1girl, left_hand_up", "hand_right", "right2", "turns clockwise", "counter-clockwise", "anticlockwise", "left\narm", "left’s", "女人举起左手", "站在右边的男人"])
def test_a_caption_that_names_a_side_is_never_mirrored(caption):
    assert not any(each.flip for each in views(ALL, caption=caption))
    assert len(set(views(ALL, caption=caption))) == 5  # all else differs as before


@pytest.mark.parametrize("caption", ["leftover pizza", "bright light", "standing upright", "a copyright sign", "a righteous man", "brightly", "the cleft",
                                     "élefté", "wright", "frightened", "leftovers", "a woman"])
def test_words_that_only_hold_one_are_mirrored(caption):
    assert sum(each.flip for each in views(ALL, caption=caption)) == 2


def test_what_is_drawn_stays_within_the_settings_and_reaches_far_into_them():
    drawn = [each for index in range(200) for each in views(ALL, str(index))[1:]]
    for name, low, high in (("angle", -10, 10), ("kept", 0.8, 1), ("shift_x", -1, 1), ("shift_y", -1, 1), ("brightness", 0.7, 1.3), ("contrast", 0.7, 1.3)):
        values = np.array([getattr(each, name) for each in drawn])
        assert low <= values.min() < low + 0.05 * (high - low) and high - 0.05 * (high - low) < values.max() <= high, name
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low)), name


def test_what_is_off_leaves_a_view_as_it_is():
    assert set(views(AugmentSection(num_views=4, flip=False))) == {UNTOUCHED}
    assert {each.brightness for each in views(AugmentSection(num_views=4, rotation=5, crop=0.1))} == {1.0}


def test_brightness_scales_values_and_contrast_their_distance_from_the_mean():
    image = Image.fromarray(np.repeat(np.array([[40, 120]], np.uint8)[:, :, None], 3, axis=2))
    assert np.asarray(relight(image, Augmentation(brightness=1.5)))[0, :, 0].tolist() == [60, 180]
    assert np.asarray(relight(image, Augmentation(contrast=0.5)))[0, :, 0].tolist() == [60, 100]  # the mean is 80
    assert np.asarray(relight(image, Augmentation(brightness=0.5, contrast=1.5)))[0, :, 0].tolist() == [10, 70]  # 20 and 60 around 40
    assert relight(image, UNTOUCHED) is image
