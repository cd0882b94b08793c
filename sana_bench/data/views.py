"""How an image becomes a training or reference view of an exact size."""

from __future__ import annotations

import numpy as np
from PIL import Image

MARGIN = 0.2
"""Share of a photograph's width, on each side, that is taken to be background (a person stands in the middle)."""


def fit_view(image: Image.Image, width: int, height: int, *, fit: str = "crop", focus_y: float = 0.5) -> Image.Image:
    """Resize to exactly `width` x `height` without distortion.

    `crop` cuts what is too much, around the middle in x and `focus_y` (0 top, 1 bottom) in y. `pad` keeps the whole
    image and continues the background by mirroring its margins, which suits a person in the middle of a tall photograph.
    """
    if fit == "pad":
        image = _pad_to_ratio(image, width / height)
    box = _crop_box(image.size, width / height, focus_y)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def enlargement(size: tuple[int, int], width: int, height: int, *, fit: str = "crop") -> float:
    """By which factor `fit_view` enlarges an image of that size (width, height); below 1 it reduces it."""
    factors = (width / size[0], height / size[1])
    return max(factors) if fit == "crop" else min(factors)


def _crop_box(size: tuple[int, int], ratio: float, focus_y: float) -> tuple[float, float, float, float]:
    width, height = size
    crop_width, crop_height = min(width, height * ratio), min(height, width / ratio)
    left = (width - crop_width) / 2
    top = min(max(focus_y * height - crop_height / 2, 0), height - crop_height)
    return left, top, left + crop_width, top + crop_height


def _pad_to_ratio(image: Image.Image, ratio: float) -> Image.Image:
    width, height = image.size
    missing_x, missing_y = max(0, round(height * ratio) - width), max(0, round(width / ratio) - height)
    pixels = _extend(np.asarray(image), 1, missing_x)
    return Image.fromarray(_extend(pixels, 0, missing_y))


def _extend(pixels_HWC: np.ndarray, axis: int, missing: int) -> np.ndarray:
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
