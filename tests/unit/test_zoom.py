"""Zoomed crops: where they lie, how large they are, which are left out, and what they are called."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_bench.data.samples import Box, People, Picture, Region
from sana_bench.data.zoom import LEAST_OF_CROP, MOST_OF_IMAGE, REACH, check_crop_caption, zoomed_crops
from sana_bench.errors import ConfigError
from sana_bench.train_config import RegionsSection

SETTINGS = RegionsSection(crop_share=0.2, max_enlargement=1.5)


def picture(*regions: tuple[str, Box], size: tuple[int, int] = (2048, 2048), text: str = "a woman waving") -> Picture:
    return Picture(source="people", path=Path("a.png"), content="0", name="a.png", text=text, size=size, fit="pad", focus_y=0.3,
                   people=People(regions=tuple(Region(kind=kind, box=box) for kind, box in regions), groups={"gender": "feminine"}))


def test_a_crop_is_as_wide_as_the_region_asks_and_has_it_in_the_middle():
    """400 px of a hand, twice that wide: no view of 1024 px needs more than 683."""
    crop, = zoomed_crops(picture(("hand", (1000, 900, 1300, 1300))), 1024, SETTINGS)
    assert crop.crop == (750, 700, 1550, 1500) and crop.size == (800, 800) and REACH["hand"] == 2.0


def test_a_small_region_gets_as_much_around_it_as_keeps_pixels_from_being_blurred():
    """A view of 1024 px of 683 enlarges them 1.5 times."""
    crop, = zoomed_crops(picture(("hand", (1000, 1000, 1240, 1100))), 1024, SETTINGS)
    left, top, right, bottom = crop.crop
    assert crop.size == (683, 683) and 1024 / 683 <= 1.5 < 1024 / 682
    assert abs((left + right) / 2 - 1120) <= 1 and abs((top + bottom) / 2 - 1050) <= 1


def test_a_region_that_would_be_small_even_in_its_crop_is_no_close_up():
    """A third of 683 px is 227.7."""
    assert [len(zoomed_crops(picture(("hand", (1000, 1000, 1100, 1000 + length))), 1024, SETTINGS)) for length in (227, 228)] == [0, 1]


@given(st.integers(300, 3000), st.integers(300, 3000), st.floats(-0.2, 1.1), st.floats(-0.2, 1.1), st.floats(0.01, 0.6), st.floats(0.01, 0.6),
       st.sampled_from(["face", "hand"]), st.sampled_from([512, 1024, 2048]), st.floats(1, 4))
def test_every_crop_is_a_square_of_whole_pixels_inside_that_zooms_without_blurring_and_shows_its_region(width, height, x, y, w, h, kind, resolution, enlargement):
    box = (x * width, y * height, (x + w) * width, (y + h) * height)
    settings = RegionsSection(max_enlargement=enlargement)
    for crop in zoomed_crops(picture((kind, box), size=(width, height)), resolution, settings):
        left, top, right, bottom = crop.crop
        side = right - left
        assert all(isinstance(edge, int) for edge in crop.crop) and 0 <= left and 0 <= top and right <= width and bottom <= height
        assert side == bottom - top and crop.size == (side, side)
        assert resolution / side <= enlargement and side**2 <= MOST_OF_IMAGE * width * height
        assert max(box[2] - box[0], box[3] - box[1]) >= LEAST_OF_CROP * side
        inside = (max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height))
        assert left <= inside[0] + 1 and top <= inside[1] + 1 and right >= inside[2] - 1 and bottom >= inside[3] - 1


def test_a_crop_is_moved_inside_and_none_is_made_of_what_the_frame_cuts():
    corner, = zoomed_crops(picture(("face", (0, 0, 300, 300))), 512, SETTINGS)
    assert corner.crop == (0, 0, 480, 480)
    assert zoomed_crops(picture(("face", (-150, 0, 150, 300))), 512, SETTINGS) == []
    assert len(zoomed_crops(picture(("face", (-60, 0, 240, 300))), 512, SETTINGS)) == 1


@pytest.mark.parametrize(("size", "box", "resolution", "number"), [
    ((1024, 1024), (400, 400, 900, 900), 2048, 0),  # 1366 px are needed
    ((1024, 1024), (400, 400, 650, 650), 1024, 1),  # 683 px, 44 % of the image
    ((960, 960), (400, 400, 650, 650), 1024, 0),  # 683 px, 51 % of it
    ((2048, 2048), (500, 500, 1500, 1500), 1024, 0),  # 1600 px of a face, 61 %
    ((1024, 2048), (300, 500, 800, 1000), 1024, 1),  # 800 px of a tall image
    ((700, 4000), (300, 500, 800, 1000), 1024, 0)])  # wider than the image
def test_images_that_are_too_small_for_a_crop_have_none(size, box, resolution, number):
    assert len(zoomed_crops(picture(("face", box), size=size), resolution, SETTINGS)) == number


def test_names_count_regions_by_kind_also_over_those_that_are_left_out():
    whole = picture(("face", (-250, 0, 50, 300)), ("face", (1000, 200, 1300, 500)), ("hand", (100, 1000, 400, 1300)), ("hand", (1500, 1000, 1800, 1300)))
    assert [crop.name for crop in zoomed_crops(whole, 1024, SETTINGS)] == ["a.png#face1", "a.png#hand0", "a.png#hand1"]


def test_the_rest_of_a_crop_is_its_pictures():
    whole = picture(("hand", (1000, 900, 1300, 1300)))
    crop, = zoomed_crops(whole, 1024, SETTINGS)
    assert crop.text == "close-up of the hand, a woman waving" and (crop.fit, crop.focus_y) == ("crop", 0.5)
    assert dataclasses.replace(crop, name=whole.name, text=whole.text, size=whole.size, crop=None, fit=whole.fit, focus_y=whole.focus_y) == whole
    assert zoomed_crops(picture(), 1024, SETTINGS) == []


@pytest.mark.parametrize(("template", "text", "caption"), [
    ("{caption}", "a woman", "a woman"), ("a {region}", "a woman", "a hand"), ("{{{region}}} of {caption}", "a {man}", "{hand} of a {man}"),
    ("close-up of the {region}, {caption}", "", "close-up of the hand")])
def test_captions_follow_the_template(template, text, caption):
    whole = picture(("hand", (1000, 900, 1300, 1300)), text=text)
    assert zoomed_crops(whole, 1024, SETTINGS.model_copy(update={"crop_caption": template}))[0].text == caption


@pytest.mark.parametrize(("template", "message"), [
    ("a {reigon}", "placeholder {reigon}"), ("a {}", "placeholder {}"), ("{0}", "placeholder {0}"), ("{caption.__class__}", "placeholder {caption.__class__}"),
    ("{caption!r}", "placeholder {caption!r}"), ("{region:>9999999}", "placeholder {region:>9999999}"), ("a { brace", "brace without its partner"),
    ("a } brace", "brace without its partner")])
def test_a_template_with_anything_else_is_refused(template, message):
    with pytest.raises(ConfigError) as error:
        check_crop_caption(template)
    assert message in str(error.value) and template in str(error.value)
    with pytest.raises(ConfigError):
        zoomed_crops(picture(), 1024, SETTINGS.model_copy(update={"crop_caption": template}))


def test_beside_others_groups_go_with_the_largest_face_alone():
    large, small, hand = ("face", (200, 200, 700, 700)), ("face", (1300, 1300, 1700, 1700)), ("hand", (1000, 200, 1400, 600))
    groups = {crop.name: crop.people.groups for crop in zoomed_crops(picture(large, small, hand), 1024, SETTINGS)}
    assert groups == {"a.png#face0": {"gender": "feminine"}, "a.png#face1": {}, "a.png#hand0": {}}
    alone = {crop.name: crop.people.groups for crop in zoomed_crops(picture(large, hand), 1024, SETTINGS)}
    assert alone == {"a.png#face0": {"gender": "feminine"}, "a.png#hand0": {"gender": "feminine"}}
