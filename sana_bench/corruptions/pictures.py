"""Damage to a picture as a whole, which leaves everybody in it whole: blur, compression, noise, exposure and white balance."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sana_bench.corruptions import register_corruption


@register_corruption("picture_blurred", part="picture", doses=(1, 2, 4, 8), unit="deviation in pixels")
def blur(pixels_HW3, points_N2, dose, draw):
    """Everything is out of focus."""
    import cv2

    return cv2.GaussianBlur(pixels_HW3, (0, 0), dose)


@register_corruption("picture_compressed", part="picture", doses=(25, 50, 75, 95), unit="100 minus JPEG quality")
def compress(pixels_HW3, points_N2, dose, draw):
    """JPEG blocks."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW3).save(buffer, "JPEG", quality=round(100 - dose))
    return np.asarray(Image.open(buffer).convert("RGB"))


@register_corruption("picture_upscaled", part="picture", doses=(1.25, 1.5, 2, 3), unit="factor by which a smaller picture was enlarged")
def upscale(pixels_HW3, points_N2, dose, draw):
    """A smaller picture, enlarged."""
    import cv2

    height, width = pixels_HW3.shape[:2]
    small = cv2.resize(pixels_HW3, (max(1, round(width / dose)), max(1, round(height / dose))), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


TILE = 512


@register_corruption("picture_tiled", part="picture", doses=(1, 2, 4, 8), unit="deviation between tiles in 8-bit values")
def tile(pixels_HW3, points_N2, dose, draw):
    """Seams: every tile of 512 pixels is a little brighter or darker than its neighbours, as a VAE that decodes in tiles leaves them."""
    height, width = pixels_HW3.shape[:2]
    side = min(TILE, max(height // 2, 1), max(width // 2, 1))
    shifts = draw.standard_normal((-(-height // side), -(-width // side))).repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return np.clip(np.round(pixels_HW3 + dose * shifts[..., None]), 0, 255).astype(np.uint8)


@register_corruption("picture_noisy", part="picture", doses=(5, 10, 20, 40), unit="deviation in 8-bit values")
def add_noise(pixels_HW3, points_N2, dose, draw):
    """Grain."""
    noise = draw.standard_normal(pixels_HW3.shape, dtype=np.float32) * dose
    return np.clip(np.round(pixels_HW3 + noise), 0, 255).astype(np.uint8)


@register_corruption("picture_darker", part="picture", doses=(0.5, 1, 2, 3), unit="stops")
def darken(pixels_HW3, points_N2, dose, draw):
    """Exposed less, as a camera would."""
    return expose(pixels_HW3, -dose)


def expose(pixels_HW3: np.ndarray, stops: float) -> np.ndarray:
    """The picture with its light multiplied by 2 to the power of `stops`, in linear light."""
    return _from_linear(_to_linear(pixels_HW3) * 2.0**stops)


def balance(pixels_HW3: np.ndarray, kelvin: float, neutral: float = 6500.0) -> np.ndarray:
    """The picture as if a lamp of `kelvin` were taken for one of `neutral`: below it warmer, above it colder.

    Source: chromaticities of black bodies by Kim et al. 2002 (valid from 1,667 to 25,000 K); von Kries scaling in linear sRGB.
    """
    gains = _lamp(kelvin) / _lamp(neutral)
    return _from_linear(_to_linear(pixels_HW3) * (gains / gains[1]))


def _lamp(kelvin: float) -> np.ndarray:
    """(3,) linear sRGB of a black body, its green 1."""
    t = 1000.0 / kelvin
    if kelvin < 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin < 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin < 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    xyz = np.array([x / y, 1.0, (1 - x - y) / y])
    rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]) @ xyz
    return rgb / rgb[1]


def _to_linear(pixels_HW3: np.ndarray) -> np.ndarray:
    values = pixels_HW3.astype(np.float32) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _from_linear(light_HW3: np.ndarray) -> np.ndarray:
    light = np.clip(light_HW3, 0, 1)
    values = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(values * 255).astype(np.uint8)
