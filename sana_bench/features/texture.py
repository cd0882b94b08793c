"""What a picture is like at its native resolution: its spectrum, texture, blocks and seams, on tiles that are never resized.

Distances on features see an image at 224 or 299 pixels and throw away 98 % of a 2K image. Legend: T tiles, S = 256 pixels of a side.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor

SIDE, GRID = 256, 4
"""Pixels of a tile's side, and tiles a row: of a 2048 px image a quarter is looked at."""
HIGH, LOW = (0.25, 0.5), (0.006, 0.02)
"""Bands in cycles a pixel: what a blur of one pixel or a doubling of the size takes away, and what even a blur of eight leaves."""
LEVELS = 64
"""Grey levels of the co-occurrence matrix."""
JPEG_QUALITY = 95
BLOCK, BAND, NEAR = 8, 256, 16
"""JPEG's block; rows of a band; columns on either side that a line is compared with."""


@register_extractor("texture", version=2)
class Texture:
    """Native tiles on one plan for every image, and lines of the whole image.

    Features:
        sharpness: (1,) float32, log10 of the power in HIGH over that in LOW, tiles weighed by the latter; less is softer.
        glcm_entropy: (1,) float32, bits, mean over tiles of the entropy of co-occurring grey levels of neighbouring pixels.
        compression_ratio: (1,) float32, raw bytes over those of a JPEG of quality 95, over all tiles.
        blockiness: (1,) float32, mean step across the borders of 8 x 8 blocks over that within them; 1 where there are no blocks.
        seam: (1,) float32, 8-bit values by which the step across the worst row or column exceeds its neighbours'.
    """

    def __init__(self, device: str):
        pass

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        tiles = native_tiles(view.pixels_HW3)
        grey_HW = luminance(view.pixels_HW3)
        values = {"sharpness": sharpness([luminance(tile) for tile in tiles]), "glcm_entropy": float(np.mean([glcm_entropy(luminance(tile)) for tile in tiles])),
                  "compression_ratio": compression_ratio(tiles), "blockiness": blockiness(grey_HW), "seam": max(seam(grey_HW), seam(grey_HW.T))}
        return {name: np.array([value], np.float32) for name, value in values.items()}

    def close(self) -> None:
        """Nothing native to free."""


def luminance(pixels_HW3: np.ndarray) -> np.ndarray:
    """(H, W) float32 in [0, 255], Rec. 601 on the 8-bit values."""
    return pixels_HW3 @ np.array([0.299, 0.587, 0.114], np.float32)


def native_tiles(pixels_HW3: np.ndarray) -> list[np.ndarray]:
    """Up to GRID x GRID tiles, evenly over the image; fewer where it is small, and the whole image where it is smaller than one."""
    height, width = pixels_HW3.shape[:2]
    tops, lefts = (np.unique(np.linspace(0, max(size - SIDE, 0), min(GRID, max(size // SIDE, 1))).round().astype(int)) for size in (height, width))
    return [pixels_HW3[top:top + SIDE, left:left + SIDE] for top in tops for left in lefts]


def sharpness(tiles: list[np.ndarray]) -> float:
    """See Texture.sharpness; of grey tiles (h, w) float32."""
    high, low = zip(*(_band_powers(tile) for tile in tiles), strict=True)
    weights_T = np.array(low) + 1e-6
    return float((weights_T * np.log10((np.array(high) + 1e-6) / weights_T)).sum() / weights_T.sum())


def _band_powers(tile_hw: np.ndarray) -> tuple[float, float]:
    """Mean power in HIGH and in LOW, of a tile under a Hann window."""
    height, width = tile_hw.shape
    window_hw = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.rfft2((tile_hw - tile_hw.mean()) * window_hw)) ** 2 / window_hw.size
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    return tuple(float(power[(radius >= low) & (radius < end)].mean()) if ((radius >= low) & (radius < end)).any() else 0.0 for low, end in (HIGH, LOW))


def glcm_entropy(tile_hw: np.ndarray) -> float:
    """Bits, in [0, 2 log2 LEVELS]; 0 where all pixels are alike."""
    from skimage.feature import graycomatrix

    levels = np.clip(tile_hw * (LEVELS / 256), 0, LEVELS - 1).astype(np.uint8)
    counts = graycomatrix(levels, [1], [0, np.pi / 2], levels=LEVELS, symmetric=True).sum(axis=(2, 3)).astype(np.float64)
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def compression_ratio(tiles: list[np.ndarray]) -> float:
    import io

    from PIL import Image

    size = 0
    for tile in tiles:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(tile)).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        size += buffer.tell()
    return sum(tile.size for tile in tiles) / size


def blockiness(grey_HW: np.ndarray) -> float:
    """See Texture.blockiness; 1 for an image of less than two blocks."""
    ratios = []
    for steps in (np.abs(np.diff(grey_HW, axis=1)).mean(axis=0), np.abs(np.diff(grey_HW, axis=0)).mean(axis=1)):
        if len(steps) >= 2 * BLOCK:
            across = np.arange(len(steps)) % BLOCK == BLOCK - 1
            ratios.append((steps[across].mean() + 0.01) / (steps[~across].mean() + 0.01))
    return float(np.mean(ratios)) if ratios else 1.0


def seam(grey_HW: np.ndarray) -> float:
    """Excess of the worst vertical line, in 8-bit values.

    A seam shifts all rows, up or down by tile, and an edge in the picture some of them: the step across a line is the median of its
    rows, with sign, in bands, and of the bands' sizes the (lower) median.
    """
    from scipy.ndimage import median_filter

    steps = np.diff(grey_HW, axis=1)
    bands = [steps[top:top + BAND] for top in range(0, max(len(steps) - BAND + 1, 1), BAND)]
    if steps.shape[1] < 4 * NEAR:
        return 0.0
    typical_W = np.quantile([np.abs(np.median(band, axis=0)) for band in bands], 0.5, axis=0, method="lower")
    return float((typical_W - median_filter(typical_W, 2 * NEAR + 1, mode="nearest")).max().clip(0))
