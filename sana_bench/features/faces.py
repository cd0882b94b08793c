"""Where the faces are: the 478 points and 52 blendshapes a face of MediaPipe's face landmarker."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.mediapipe_task import NOSE, Landmarker, Window, body_width

MAX_FACES = 32
NUM_POINTS, NUM_BLENDSHAPES = 478, 52

FEW_FACES = 3
"""Where more are found, it is a group, whose smaller faces are looked for in the quarters of the image: of twenty portraits in five by
four, eight are found without."""

HALF_WINDOW = 0.9
"""Half the side of the window around the nose, in body widths."""


@register_extractor("faces", version=2, needs=("pose",), assets=("mediapipe_face",))
class Faces:
    """Faces on the whole image, then, for every pose whose nose lies in none of them, on a native window around that nose.

    The face detector is a short-range one: of 20 full-body photographs it finds 3 faces in the whole image and 20 in the
    window.

    Features:
        keypoints: (F, 478, 2) float32, x and y in pixels of the image.
        depth: (F, 478) float32, pixels of the image, less is nearer to the camera; zero at the middle of the head.
        blendshapes: (F, 52) float32 in [0, 1], in MediaPipe's order.
    """

    def __init__(self, device: str):
        self.landmarker = Landmarker("Face", "mediapipe_face", num_faces=MAX_FACES, output_face_blendshapes=True)

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        faces = self._find(view, Window.whole(view.pixels_HW3))
        for pose in known["pose"]["keypoints"]:
            if not any(contains(points, pose[NOSE, :2]) for points in faces["keypoints"]):
                faces = self._with(faces, self._find(view, Window.around(pose[NOSE, :2], HALF_WINDOW * body_width(pose))))
        if len(faces["keypoints"]) > FEW_FACES:
            for window in quarters(view.pixels_HW3):
                faces = self._with(faces, self._find(view, window))
        return faces

    @staticmethod
    def _with(faces: Features, found: Features) -> Features:
        """The faces, and those of `found` that are none of them."""
        fresh = [not any(contains(points, face.mean(axis=0)) for points in faces["keypoints"]) for face in found["keypoints"]]
        return {name: np.concatenate([array, found[name][fresh]]) for name, array in faces.items()}

    def _find(self, view: View, window: Window) -> Features:
        result = self.landmarker.detect(view.pixels_HW3, window)
        points = np.array([window.to_image(landmarks) for landmarks in result.face_landmarks], np.float32)
        points_F3 = points.reshape(-1, NUM_POINTS, 3)
        blendshapes = np.array([[shape.score for shape in shapes] for shapes in result.face_blendshapes or []], np.float32)
        return {"keypoints": points_F3[..., :2].copy(), "depth": points_F3[..., 2].copy(),
                "blendshapes": blendshapes.reshape(-1, NUM_BLENDSHAPES)}

    def close(self) -> None:
        self.landmarker.close()


def quarters(pixels_HW3: np.ndarray) -> list[Window]:
    """Four squares that overlap by a fifth of the image, so that a face on a border is whole in one of them."""
    side = round(0.6 * max(pixels_HW3.shape[:2]))
    far = max(pixels_HW3.shape[:2]) - side
    return [Window(left, top, side) for top in (0, far) for left in (0, far)]


def contains(points_N2: np.ndarray, place_2: np.ndarray) -> bool:
    """Whether a place lies in the bounding box of some points."""
    return bool((points_N2.min(axis=0) <= place_2).all() and (place_2 <= points_N2.max(axis=0)).all())
