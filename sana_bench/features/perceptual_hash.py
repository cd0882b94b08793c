"""What a picture looks like in 255 bits: the same after it was resized or compressed again, another for another picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.texture import luminance

SIDE, FREQUENCIES = 64, 16
"""The picture is looked at in SIDE x SIDE pixels, of whose cosine transform the FREQUENCIES x FREQUENCIES lowest count.

Of 196 pictures of seven people (sixteen expressions of each in one frame) no two are nearer than 16 of 255 bits, while copies at half and a third of
the size, of JPEG quality 30 and 50, and blurred by two pixels are within 10. With the usual 8 x 8 frequencies siblings and copies overlap."""


@register_extractor("perceptual_hash", version=1)
class PerceptualHash:
    """The signs of low frequencies about their median.

    Features:
        bits: (4,) uint64, of which the first bit is always 0.

    Source: pHash, C. Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2.1, with more frequencies.
    """

    def __init__(self, device: str):
        """Nothing to load."""

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        return {"bits": perceptual_hash(luminance(np.asarray(view.resized(SIDE))))}

    def close(self) -> None:
        """Nothing native to free."""


def perceptual_hash(grey_SS: np.ndarray) -> np.ndarray:
    """(4,) uint64; see PerceptualHash.

    Args:
        grey_SS: (SIDE, SIDE) luminance.
    """
    from scipy.fft import dctn

    # Rounded, since in a picture of one colour the rounding errors of the transform would decide.
    low = dctn(grey_SS.astype(np.float64), norm="ortho")[:FREQUENCIES, :FREQUENCIES].ravel().round(3)
    signs = low > np.median(low[1:])
    signs[0] = False  # the mean brightness
    return np.packbits(signs).view(np.uint64)


def differing_bits(hashes_N4: np.ndarray, other_4: np.ndarray) -> np.ndarray:
    """(N,) int, of 255."""
    return np.bitwise_count(hashes_N4 ^ other_4).sum(axis=-1, dtype=np.int64)
