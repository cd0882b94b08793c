"""Skin tone of a face as a picture shows it: median CIE Lab of cheeks and forehead, its Monk tone, ITA and hue.

A picture shows skin under its own light and white balance; none of these numbers is a property of a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from sana_bench.features import Features, View, register_extractor

MONK_HEX = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
"""The ten tones of the Monk scale, 1 to 10, in sRGB."""

SKIN_POLYGONS = (
    (67, 109, 10, 338, 297, 299, 337, 151, 108, 69),
    (117, 118, 119, 120, 100, 142, 203, 206, 205, 50),
    (346, 347, 348, 349, 329, 371, 423, 426, 425, 280),
)
"""Forehead and both cheeks in points of the face mesh: no brow, eye, lip or beard, and little hair."""

MAX_LIGHTNESS_STEP = 12.0
"""Pixels whose L* is further than this from the median of the polygons are shine or shadow: about one Monk step."""

CLIPPED = 250
"""From this value in any channel the sensor or the encoder has lost the colour."""

MIN_PIXELS = 200
"""Fewer pixels than this leave the tone undetermined: the face is then less than about 45 pixels wide."""

MAX_DISTANCE = 25.0
"""CIE76 distance to the nearest Monk tone beyond which the tone is undetermined.

Studio photographs lie 10 to 18 from it, all towards red: the scale has little red in its light tones. Painted faces and
coloured light lie further off.
"""


MAX_DIFFERENCE = 10.0
"""L* by which the medians of forehead and cheeks may differ; beyond it a shadow decides which tone is nearest.

Measured on 180 photographs of the ten people of OpenPeople: none of the evenly lit portraits lies beyond (at most 6.7), 6 of
160 studio shots with an expression, and 4 of 10 selfies outdoors. The tone of those beyond lies 7.3 (median dE76) from the
same person's portrait, that of the others 2.9.
"""

MAX_SPREAD = 12.0
"""L* between the quartiles of all three together, beyond which light and shade alternate: about one Monk step.

On the same photographs 10.1 at most in portraits, and beyond in 3 of 10 selfies and 1 of 160 studio shots, all of which
MAX_DIFFERENCE has caught; dappled light falls on forehead and cheeks alike and is seen only here.
"""

MIN_POLYGON_PIXELS = 20
"""A polygon with fewer (cut off by the image's edge) has no median to compare."""


@dataclass(frozen=True)
class SkinTone:
    """What one face shows; lab, ita and hue are NaN where no pixel is left."""

    lab: np.ndarray
    monk: int
    ita: float
    hue: float
    num_pixels: int


@register_extractor("skin_tone", version=2, needs=("faces",))
class SkinToneOfFaces:
    """`skin_tone` of each face.

    Features, one row a face of `faces`:
        lab: (F, 3) float32, median CIE Lab (D65), L* 0 to 100; NaN without any pixel.
        monk: (F,) int8, 1 (lightest) to 10 (darkest); 0 undetermined: little skin, far from every tone, or uneven light.
        ita: (F,) float32, individual typology angle in degrees, -180 to 180, more is lighter; NaN without any pixel.
        hue: (F,) float32, hue angle in degrees, -180 to 180, 0 is red and 90 yellow; NaN without any pixel.
        num_pixels: (F,) int32, pixels that were counted.
    """

    def __init__(self, device: str):
        """Nothing to load."""

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        tones = [skin_tone(view.pixels_HW3, face) for face in known["faces"]["keypoints"]]
        return {"lab": np.array([tone.lab for tone in tones], np.float32).reshape(-1, 3),
                "monk": np.array([tone.monk for tone in tones], np.int8),
                "ita": np.array([tone.ita for tone in tones], np.float32),
                "hue": np.array([tone.hue for tone in tones], np.float32),
                "num_pixels": np.array([tone.num_pixels for tone in tones], np.int32)}

    def close(self) -> None:
        """Nothing native to free."""


@cache
def monk_lab() -> np.ndarray:
    """(10, 3) float64, CIE Lab (D65) of the Monk tones."""
    return rgb_to_lab(np.array([list(bytes.fromhex(tone)) for tone in MONK_HEX], np.uint8))


def rgb_to_lab(pixels_N3: np.ndarray) -> np.ndarray:
    """CIE Lab (D65, 2 degrees) of sRGB pixels (N, 3) uint8, as (N, 3) float64."""
    from skimage.color import rgb2lab

    return rgb2lab(pixels_N3[None])[0]


def skin_pixels(pixels_HW3: np.ndarray, face_N2: np.ndarray, polygons: Sequence[Sequence[int]] = SKIN_POLYGONS) -> np.ndarray:
    """(N, 3) uint8: the pixels inside some polygons of a face mesh, as far as they lie in the image."""
    height, width = pixels_HW3.shape[:2]
    points = [face_N2[list(polygon)] for polygon in polygons]
    low = np.floor(np.concatenate(points).min(axis=0)).astype(int)
    high = np.ceil(np.concatenate(points).max(axis=0)).astype(int) + 1
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, (width, height))
    if left >= right or top >= bottom:
        return np.zeros((0, 3), np.uint8)
    mask = Image.new("1", (int(right - left), int(bottom - top)))
    for polygon in points:
        ImageDraw.Draw(mask).polygon([tuple(point) for point in (polygon - (left, top)).tolist()], fill=1)
    return pixels_HW3[top:bottom, left:right][np.asarray(mask)]


def skin_tone(pixels_HW3: np.ndarray, face_N2: np.ndarray) -> SkinTone:
    """The tone of one face.

    Args:
        pixels_HW3: uint8, sRGB.
        face_N2: (478, 2) points of its mesh in pixels.

    Returns:
        The median of each Lab channel over the pixels of cheeks and forehead that are neither clipped nor more than
        MAX_LIGHTNESS_STEP from their median lightness, and the Monk tone that is nearest to it in Lab (CIE76).

    Source: tones and use of Lab distance, Monk Skin Tone scale; ITA = atan2(L* - 50, b*), Chardon et al. 1991; hue beside
    lightness, Thong et al. 2023 (arXiv 2309.05148).
    """
    parts = [rgb_to_lab(pixels[pixels.max(axis=1) < CLIPPED])
             for pixels in (skin_pixels(pixels_HW3, face_N2, [polygon]) for polygon in SKIN_POLYGONS)]
    lab = np.concatenate(parts)
    if len(lab):
        lab = lab[np.abs(lab[:, 0] - np.median(lab[:, 0])) <= MAX_LIGHTNESS_STEP]
    if len(lab) == 0:
        return SkinTone(np.full(3, np.nan), 0, np.nan, np.nan, 0)
    median = np.median(lab, axis=0)
    sure = len(lab) >= MIN_PIXELS and evenly_lit([part[:, 0] for part in parts])
    return SkinTone(median, nearest_monk(median) if sure else 0, ita(median), hue(median), len(lab))


def evenly_lit(lightness: Sequence[np.ndarray]) -> bool:
    """Whether the L* of forehead and cheeks, (N,) each, lie close enough together for skin and not light to decide."""
    medians = [np.median(part) for part in lightness if len(part) >= MIN_POLYGON_PIXELS]
    low, high = np.percentile(np.concatenate(lightness), (25, 75))
    return high - low <= MAX_SPREAD and (not medians or np.ptp(medians) <= MAX_DIFFERENCE)


def nearest_monk(lab_3: np.ndarray) -> int:
    """1 to 10, or 0 where none is within MAX_DISTANCE."""
    distances = np.linalg.norm(monk_lab() - lab_3, axis=1)
    return int(distances.argmin()) + 1 if distances.min() <= MAX_DISTANCE else 0


def ita(lab_3: np.ndarray) -> float:
    """Individual typology angle in degrees."""
    return float(np.degrees(np.arctan2(lab_3[0] - 50, lab_3[2])))


def hue(lab_3: np.ndarray) -> float:
    """Hue angle in degrees."""
    return float(np.degrees(np.arctan2(lab_3[2], lab_3[1])))
