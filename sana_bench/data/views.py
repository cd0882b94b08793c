"""How an image becomes a training or reference view of an exact size, and where its faces and hands are in it."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
from PIL import Image, ImageOps

from sana_bench.data.augment import UNTOUCHED, Augmentation, relight
from sana_bench.data.samples import Box, Draw, Picture, RegionKind

VERSION = 1
"""Goes up when the pixels of a view change; what is cached of views is made again then."""

MARGIN = 0.2
"""Share of a photograph's width, on each side, that is taken to be background (a person stands in the middle)."""


def fit_view(image: Image.Image, width: int, height: int, *, fit: str = "crop", focus_y: float = 0.5,
             augmentation: Augmentation = UNTOUCHED) -> Image.Image:
    """Resize to exactly `width` x `height` without distortion.

    `crop` cuts what is too much, around the middle in x and `focus_y` (0 top, 1 bottom) in y. `pad` keeps the whole
    image and continues the background by mirroring its margins, which suits a person in the middle of a tall photograph.
    """
    if fit == "pad":
        image = _extend(image, *_missing(image.size, width / height))
    window = _window(image.size, width / height, focus_y, augmentation)
    view = _cut(image, window, (width, height))
    return relight(ImageOps.mirror(view) if augmentation.flip else view, augmentation)


def make_view(image: Image.Image, picture: Picture, draw: Draw, augmentation: Augmentation) -> Image.Image:
    """What training sees of a picture: exactly `draw.width` x `draw.height`, without distortion and without borders.

    Args:
        image: The whole file, upright, RGB.
    """
    part = image.crop(_part(picture)) if picture.crop else image
    fit = _fit_of(picture, part.size, draw.width / draw.height)
    return fit_view(part, draw.width, draw.height, fit=fit, focus_y=picture.focus_y, augmentation=augmentation)


def region_boxes(picture: Picture, draw: Draw, augmentation: Augmentation) -> list[tuple[RegionKind, Box]]:
    """Faces and hands in pixels of the view that `make_view` makes: what of each is seen, those out of sight left out.

    The box of a turned region is the upright one around it.
    """
    window, (offset_x, offset_y) = _place(picture, draw, augmentation)
    boxes = []
    for region in picture.people.regions:
        corners = [window.to_view(x + offset_x, y + offset_y, draw, augmentation.flip) for x in region.box[::2] for y in region.box[1::2]]
        (x_min, x_max), (y_min, y_max) = ((min(along), max(along)) for along in zip(*corners, strict=True))
        box = max(x_min, 0.0), max(y_min, 0.0), min(x_max, float(draw.width)), min(y_max, float(draw.height))
        if box[0] < box[2] and box[1] < box[3]:
            boxes.append((region.kind, box))
    return boxes


def view_enlargement(picture: Picture, draw: Draw, augmentation: Augmentation) -> float:
    """By which factor `make_view` enlarges the pixels of the file; below 1 it reduces them."""
    return draw.width / _place(picture, draw, augmentation)[0].width


def view_identity(picture: Picture, draw: Draw, augmentation: Augmentation) -> list:
    """Everything that decides the pixels of `make_view` apart from the file, JSON-like. Views that look the same by their settings share it."""
    return [VERSION, list(_part(picture)) if picture.crop else None, picture.fit, picture.focus_y, draw.width, draw.height, list(astuple(augmentation))]


def enlargement(size: tuple[int, int], width: int, height: int, *, fit: str = "crop") -> float:
    """By which factor `fit_view` enlarges an image of that size (width, height); below 1 it reduces it."""
    factors = (width / size[0], height / size[1])
    return max(factors) if fit == "crop" else min(factors)


@dataclass(frozen=True)
class _Window:
    """The rectangle of an image that becomes a view: as it lies before it is turned about its own middle."""

    left: float
    top: float
    width: float
    height: float
    cosine: float
    sine: float
    """Of the angle; positive angles turn what is seen counter-clockwise, so the window itself turns clockwise."""

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """From shares of the window's sides, measured from its middle, to pixels of the image."""
        along, down = x * self.width, y * self.height
        return (self.left + self.width / 2 + along * self.cosine - down * self.sine,
                self.top + self.height / 2 + along * self.sine + down * self.cosine)

    def to_view(self, x: float, y: float, draw: Draw, flip: bool) -> tuple[float, float]:
        """From pixels of the image to pixels of the view."""
        right, down = x - self.left - self.width / 2, y - self.top - self.height / 2
        along = (right * self.cosine + down * self.sine) / self.width
        return (draw.width * (0.5 - along if flip else 0.5 + along),
                draw.height * (0.5 + (down * self.cosine - right * self.sine) / self.height))


def _window(size: tuple[int, int], ratio: float, focus_y: float, augmentation: Augmentation) -> _Window:
    """The largest window of that ratio, turned as it is to be, that lies within the image, as near to the focus as it can; and what is kept of it.

    A rectangle w x h turned by an angle a stands in an upright one of w cos a + h |sin a| by w |sin a| + h cos a, and lies
    within the image where that does. Its sides follow from w = ratio h.
    """
    image_width, image_height = size
    cosine, sine = math.cos(math.radians(augmentation.angle)), math.sin(math.radians(augmentation.angle))
    stretch_x, stretch_y = cosine + abs(sine) / ratio, cosine + abs(sine) * ratio
    width = min(image_width / stretch_x, image_height * ratio / stretch_y)
    height = min(image_height / stretch_y, image_width / ratio / stretch_x)
    upright = height * stretch_y
    top = min(max(focus_y * image_height - upright / 2, 0), image_height - upright) + (upright - height) / 2
    spare_x, spare_y = width * (1 - augmentation.kept) / 2, height * (1 - augmentation.kept) / 2
    along, down = augmentation.shift_x * spare_x, augmentation.shift_y * spare_y
    return _Window((image_width - width) / 2 + spare_x + along * cosine - down * sine, top + spare_y + along * sine + down * cosine,
                   width * augmentation.kept, height * augmentation.kept, cosine, sine)


def _place(picture: Picture, draw: Draw, augmentation: Augmentation) -> tuple[_Window, tuple[int, int]]:
    """The window of a view, in pixels of the padded part of the file that the picture is; and what to add to pixels of the file to have these."""
    left, top, right, bottom = _part(picture)
    size, ratio = (right - left, bottom - top), draw.width / draw.height
    missing_x, missing_y = _missing(size, ratio) if _fit_of(picture, size, ratio) == "pad" else (0, 0)
    window = _window((size[0] + missing_x, size[1] + missing_y), ratio, picture.focus_y, augmentation)
    return window, (missing_x // 2 - left, missing_y // 2 - top)


def _part(picture: Picture) -> tuple[int, int, int, int]:
    """The part of the file that a picture is, in whole pixels."""
    left, top, right, bottom = map(round, picture.crop or (0, 0, *picture.size))
    return left, top, right, bottom


def _fit_of(picture: Picture, size: tuple[int, int], ratio: float) -> str:
    """How a picture whose part of the file has that size becomes a view of that ratio.

    Padding continues the background beside a person. In a view that is taller than the picture, as some bucket is by a little, it would repeat
    feet and hair; there the sides are cut, as long as that costs background alone.
    """
    cut = 1 - ratio * size[1] / size[0]
    return "crop" if picture.fit == "pad" and 0 < cut <= 2 * MARGIN else picture.fit


def _cut(image: Image.Image, window: _Window, size: tuple[int, int]) -> Image.Image:
    """The window, resampled to `size` (width, height).

    PIL turns without antialiasing, so the turning never reduces: it is done at the window's own size, or at once at `size`
    where that is larger, and what is left to reduce is resized as an upright window is.
    """
    if window.sine == 0:
        box = (window.left, window.top, window.left + window.width, window.top + window.height)
        return image.resize(size, Image.Resampling.LANCZOS, box=box)
    width, height = max(size[0], math.ceil(window.width)), max(size[1], math.ceil(window.height))
    (x_0, y_0), (x_right, y_right), (x_down, y_down) = (window.to_image(*corner) for corner in ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5)))
    affine = ((x_right - x_0) / width, (x_down - x_0) / height, x_0, (y_right - y_0) / width, (y_down - y_0) / height, y_0)
    return image.transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC).resize(size, Image.Resampling.LANCZOS)


def _missing(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    """By how many pixels an image must grow in x and in y to have that ratio of width to height."""
    width, height = size
    return max(0, round(height * ratio) - width), max(0, round(width / ratio) - height)


def _extend(image: Image.Image, missing_x: int, missing_y: int) -> Image.Image:
    return Image.fromarray(_extend_axis(_extend_axis(np.asarray(image), 1, missing_x), 0, missing_y))


def _extend_axis(pixels_HWC: np.ndarray, axis: int, missing: int) -> np.ndarray:
    """Add `missing` pixels along an axis, half on each side, by mirroring the outer MARGIN to and fro."""
    if missing == 0:
        return pixels_HWC
    margin = max(1, round(MARGIN * pixels_HWC.shape[axis]))
    before = np.take(pixels_HWC, range(margin), axis=axis)
    after = np.take(pixels_HWC, range(pixels_HWC.shape[axis] - margin, pixels_HWC.shape[axis]), axis=axis)

    def mirror(strip: np.ndarray, pad: tuple[int, int]) -> np.ndarray:
        return np.pad(strip, [pad if index == axis else (0, 0) for index in range(3)], mode="symmetric")

    left, right = mirror(before, (missing // 2, 0)), mirror(after, (0, missing - missing // 2))
    middle = np.take(pixels_HWC, range(margin, pixels_HWC.shape[axis] - margin), axis=axis)
    return np.concatenate([left, middle, right], axis=axis)
