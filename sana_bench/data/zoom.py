"""Zoomed crops around faces and hands: extra pictures on which a region is large that is small in the whole image."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from string import Formatter

from sana_bench.data.samples import Box, People, Picture, Region
from sana_bench.errors import ConfigError
from sana_bench.train_config import RegionsSection

REACH = {"face": 1.6, "hand": 2.0}
"""Side of a crop in longer sides of the region's box (which has a margin of its own, data/people.py): of a face it shows hair and neck, of a
hand the wrist and some forearm."""

LEAST_INSIDE = 0.75
"""Share of a region's box that must lie in the image. What the frame cuts off is no example of a hand."""

MOST_OF_IMAGE = 0.5
"""Share of the image's area beyond which a crop would be nearly the whole image again, and is left out."""

LEAST_OF_CROP = 1 / 3
"""Share of a crop's side that its region must have. Where the crop had to be widened beyond that it is no close-up any more (a pair of hips with
hands, a bust), though its caption would say so, and it is left out."""

PLACEHOLDERS = ("region", "caption")


def zoomed_crops(picture: Picture, resolution: int, settings: RegionsSection) -> list[Picture]:
    """A square crop around each region of a whole image that is worth one, named `...#hand0`, `...#face0` and so on.

    The region stands in the middle, unless the image ends there. A crop is as wide as REACH says, and wider where a view of
    `resolution` x `resolution` would otherwise enlarge its pixels by more than `max_enlargement`. Left out are regions that the frame cuts
    (LEAST_INSIDE), and crops that do not fit into the image, would be more than MOST_OF_IMAGE of it, or have less than LEAST_OF_CROP of the region.

    Raises:
        ConfigError: `crop_caption` is no template.
    """
    assert picture.crop is None, f"{picture.name} is a crop itself"
    check_crop_caption(settings.crop_caption)
    crops, seen = [], Counter[str]()
    for region in picture.people.regions:
        name, seen[region.kind] = f"{picture.name}#{region.kind}{seen[region.kind]}", seen[region.kind] + 1
        box = _crop_around(region, picture.size, resolution / settings.max_enlargement)
        if box is not None:
            crops.append(replace(picture, name=name, text=_caption(settings.crop_caption, region.kind, picture.text), crop=box,
                                 size=(round(box[2] - box[0]), round(box[3] - box[1])), fit="crop", focus_y=0.5, people=_people_in(picture.people, region)))
    return crops


def check_crop_caption(template: str) -> None:
    """Raises ConfigError where a template has other placeholders than {region} and {caption}, or braces that stand for none."""
    try:
        fields = [field for field in Formatter().parse(template) if field[1] is not None]
    except ValueError as error:
        raise ConfigError(f'train.regions.crop_caption "{template}" has a brace without its partner ({error}); write {{{{ or }}}} for a brace itself') from error
    for _, name, format_spec, conversion in fields:
        if name not in PLACEHOLDERS or format_spec or conversion:
            written = f"{name}{'!' + conversion if conversion else ''}{':' + format_spec if format_spec else ''}"
            raise ConfigError(f'train.regions.crop_caption "{template}" has the placeholder {{{written}}}; there are {{region}}, which becomes face or hand, '
                              f"and {{caption}}, the image's own. Write {{{{ and }}}} for braces themselves")


def _caption(template: str, region: str, caption: str) -> str:
    """Without the comma that an empty caption would leave at the end."""
    return template.format(region=region, caption=caption).rstrip(" ,")


def _people_in(people: People, region: Region) -> People:
    """What is known of a crop. Groups are perceived of the largest face alone: beside others, whose hand it is nobody has said, and another's face is another's."""
    faces = [each for each in people.regions if each.kind == "face"]
    largest = max(faces, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]), default=None)
    return people if len(faces) < 2 or region is largest else people.model_copy(update={"groups": {}})


def _crop_around(region: Region, size: tuple[int, int], least_side: float) -> Box | None:
    """The crop in whole pixels, inside of the image; None where it is left out."""
    left, top, right, bottom = region.box
    width, height = size
    longest = max(right - left, bottom - top)
    side = math.ceil(max(REACH[region.kind] * longest, least_side))
    too_wide = side > min(size) or side**2 > MOST_OF_IMAGE * width * height
    if too_wide or longest < LEAST_OF_CROP * side or _share_inside(region.box, size) < LEAST_INSIDE:
        return None
    x, y = (round(min(max((low + high - side) / 2, 0), length - side)) for low, high, length in ((left, right, width), (top, bottom, height)))
    return x, y, x + side, y + side


def _share_inside(box: Box, size: tuple[int, int]) -> float:
    left, top, right, bottom = box
    inside = max(0.0, min(right, size[0]) - max(left, 0.0)) * max(0.0, min(bottom, size[1]) - max(top, 0.0))
    return inside / max((right - left) * (bottom - top), 1e-9)
