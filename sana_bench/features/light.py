"""How a picture is lit: its tones, and from which side its faces are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.skin_tone import MIN_POLYGON_PIXELS, SKIN_POLYGONS, rgb_to_lab, skin_pixels
from sana_bench.features.texture import luminance

SIDE = 256
"""Pixels of a side in which the tones of the whole picture are counted."""
BINS = 16
CHEEKS = SKIN_POLYGONS[1:]


@register_extractor("light", version=1, needs=("faces",))
class Light:
    """Tones of the whole picture, and lightness of both cheeks of each face.

    Features:
        tones: (16,) float32, share of pixels by luminance in equal bins over 0 to 255; they sum to 1.
        cheeks: (F, 2) float32, median L* (0 to 100) of the left and the right cheek as seen in the picture; NaN where too little of one is in it.
    """

    def __init__(self, device: str):
        """Nothing to load."""

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        counts, _ = np.histogram(luminance(np.asarray(view.resized(SIDE))), BINS, (0, 255.01))
        cheeks = [cheek_lightness(view.pixels_HW3, face) for face in known["faces"]["keypoints"]]
        return {"tones": (counts / counts.sum()).astype(np.float32), "cheeks": np.array(cheeks, np.float32).reshape(-1, 2)}

    def close(self) -> None:
        """Nothing native to free."""


def cheek_lightness(pixels_HW3: np.ndarray, face_N2: np.ndarray) -> tuple[float, float]:
    """Median L* of the left and the right cheek as seen in the picture, of a face (478, 2) in pixels."""
    left, right = sorted(CHEEKS, key=lambda polygon: face_N2[list(polygon), 0].mean())
    return _lightness(skin_pixels(pixels_HW3, face_N2, [left])), _lightness(skin_pixels(pixels_HW3, face_N2, [right]))


def _lightness(pixels_N3: np.ndarray) -> float:
    return float(np.median(rgb_to_lab(pixels_N3)[:, 0])) if len(pixels_N3) >= MIN_POLYGON_PIXELS else np.nan
