"""How the views of a picture differ: mirrored, turned, cut and lit. Drawn for each picture and view alone, so that they can be made once and kept."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance

from sana_bench.data.samples import Draw, Picture
from sana_bench.store import digest_of
from sana_bench.train_config import AugmentSection

SIDED = re.compile(r"(?<![^\W\d_])(?:(?:left|right)(?:most|wards?|sided?|hand(?:ed)?)?|(?:counter|anti)?clockwise)(?![^\W\d_])|[左右]", re.IGNORECASE)
"""Words that are wrong in a mirror, where no letter stands before or behind them: left and right, alone, hyphenated, as tags have them
(`left_hand`) or in leftmost, leftward(s), leftside(d), lefthand(ed); and clockwise. Bright, upright, copyright and leftover name no side. Sana reads Chinese as well, where each side is one sign."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a picture on its way into one view; the defaults leave it as it is."""

    flip: bool = False
    """Mirrored left to right, after all else."""
    angle: float = 0.0
    """Degrees by which it is turned, positive counter-clockwise."""
    kept: float = 1.0
    """Share of each side that is kept."""
    shift_x: float = 0.0
    shift_y: float = 0.0
    """Where the kept part lies: -1 at the left (top), 0 in the middle, 1 at the right (bottom)."""
    brightness: float = 1.0
    """Factor of all values."""
    contrast: float = 1.0
    """Factor of their distance from the mean luminance of the view, after brightness."""


UNTOUCHED = Augmentation()


def augmentation_of(picture: Picture, draw: Draw, settings: AugmentSection) -> Augmentation:
    """How a drawn view of a picture looks."""
    return choose(settings, f"{picture.content}/{picture.name}", draw.view, picture.text)


def choose(settings: AugmentSection, key: str, view: int, caption: str) -> Augmentation:
    """How a view of a picture looks; it depends on nothing but the arguments, and view 0 is untouched.

    Args:
        key: Names the picture among all that are trained on.
        caption: Where it names left or right, no view is mirrored; else half of the views are.
    """
    if view == 0:
        return UNTOUCHED
    # Of Python's random numbers only random() is promised to stay the same from version to version.
    draw = random.Random(digest_of([key, view])).random
    angle, cut, shift_x, shift_y, brightness, contrast = (draw() for _ in range(6))
    return Augmentation(
        flip=settings.flip and not SIDED.search(caption) and view in _flipped(key, settings.num_views),
        angle=settings.rotation * (2 * angle - 1), kept=1 - settings.crop * cut,
        shift_x=2 * shift_x - 1 if settings.crop else 0.0, shift_y=2 * shift_y - 1 if settings.crop else 0.0,
        brightness=1 + settings.lighting * (2 * brightness - 1), contrast=1 + settings.lighting * (2 * contrast - 1))


def _flipped(key: str, num_views: int) -> Sequence[int]:
    """Which half of the views is mirrored, never view 0."""
    draw = random.Random(digest_of([key, "flip"])).random
    return sorted(range(1, num_views), key=lambda view: draw())[:num_views // 2]


def relight(view: Image.Image, augmentation: Augmentation) -> Image.Image:
    """Brightness, then contrast."""
    if augmentation.brightness != 1:
        view = ImageEnhance.Brightness(view).enhance(augmentation.brightness)
    return view if augmentation.contrast == 1 else ImageEnhance.Contrast(view).enhance(augmentation.contrast)
