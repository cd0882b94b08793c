"""Image features of the largest face, for how different the faces of a set are. They are never kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.attributes import biggest_face
from sana_bench.features.efficientnet import EfficientNetLite0
from sana_bench.features.mediapipe_task import Window
from sana_bench.features.network import Network

EYE_CORNERS = ((33, 133), (263, 362))
"""Of the left and the right eye as seen in the image, in points of the face mesh."""

MARGIN = 0.6
"""Half the side of the crop, in the longer side of the face's box: the face with its outline, little hair and background."""

NUM_FEATURES = 1280


@register_extractor("face_features", version=1, needs=("faces",), assets=("efficientnet_lite0",), kept=False)
class FaceFeatures(Network):
    """EfficientNet-lite0's pooled features of the largest face, cut out upright.

    They are general image features and no face recognition; but features of faces could tell people apart, so no file has them.

    Features:
        features: (F, 1280) float32, not below zero; F is 1, or 0 where there is no face.

    Source: see efficientnet.py, whose resizing and normalisation this uses.
    """

    def __init__(self, device: str):
        self.network = EfficientNetLite0(device)

    def prepare(self, view: View, known: Mapping[str, Features]) -> list[np.ndarray]:
        """What the network takes of the largest face, or nothing."""
        keypoints_FPxy = known["faces"]["keypoints"]
        if len(keypoints_FPxy) == 0:
            return []
        crop = upright_crop(view.pixels_HW3, keypoints_FPxy[biggest_face(keypoints_FPxy)])
        return [self.network.prepare(View(crop, view.prompt), known)]

    def forward(self, inputs: Sequence[list[np.ndarray]]) -> list[Features]:
        found = iter(self.network.forward([face for faces in inputs for face in faces]))
        return [{"features": np.array([next(found)["features"] for _ in faces], np.float32).reshape(-1, NUM_FEATURES)} for faces in inputs]


def upright_crop(pixels_HW3: np.ndarray, face_N2: np.ndarray) -> np.ndarray:
    """(side, side, 3) uint8: the square around a face, turned so that its eyes are level; black beyond the image."""
    low, high = face_N2.min(axis=0), face_N2.max(axis=0)
    half_side = MARGIN * float((high - low).max())
    # Wide enough that the turned square has no empty corner.
    window = Window.around((low + high) / 2, np.sqrt(2) * half_side)
    left, right = (face_N2[list(corners)].mean(axis=0) for corners in EYE_CORNERS)
    angle = float(np.degrees(np.arctan2(*(right - left)[::-1])))
    turned = np.asarray(Image.fromarray(window.cut(pixels_HW3)).rotate(angle, Image.Resampling.BICUBIC))
    edge = round(window.side / 2 - half_side)
    return np.ascontiguousarray(turned[edge:window.side - edge, edge:window.side - edge])
