"""What the judge is shown: the whole picture as one JPEG. An extractor, so that the store has it and the metric needs no pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from sana_bench.features import Features, View, register_extractor

LONGEST_SIDE_PX = 1536
"""A hand of a full body is a tenth of the picture, so it is not shrunk further; most services shrink what is larger themselves."""
JPEG_QUALITY = 92


@register_extractor("judge_image", version=1)
class JudgeImage:
    """The picture, at most 1536 pixels a side, as a JPEG of quality 92 without chroma subsampling.

    Features:
        jpeg: (L,) uint8, the bytes of the file; some 0.2 to 0.7 MB.
    """

    def __init__(self, device: str):
        pass

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        image = view.image.copy()
        image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return {"jpeg": np.frombuffer(buffer.getvalue(), np.uint8)}

    def close(self) -> None:
        """Nothing native to free."""
