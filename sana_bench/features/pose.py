"""Where the bodies are: the 33 points a body of MediaPipe's pose landmarker."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.mediapipe_task import Landmarker, Window


MAX_POSES = 8


@register_extractor("pose", version=2, assets=("mediapipe_pose",))
class Pose:
    """Up to MAX_POSES poses on the whole image.

    It finds people who fill half of the image's height and more: four of four in a two by two grid, none of nine in three by three.

    Features:
        keypoints: (P, 33, 3) float32, x and y in pixels of the image, visibility in [0, 1]. Points that the frame cuts off
            are guessed outside it with a low visibility.
    """

    def __init__(self, device: str):
        self.landmarker = Landmarker("Pose", "mediapipe_pose", num_poses=MAX_POSES)

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        window = Window.whole(view.pixels_HW3)
        poses = self.landmarker.detect(view.pixels_HW3, window).pose_landmarks
        keypoints = np.zeros((len(poses), 33, 3), np.float32)
        for index, landmarks in enumerate(poses):
            keypoints[index, :, :2] = window.to_image(landmarks)[:, :2]
            keypoints[index, :, 2] = [point.visibility for point in landmarks]
        return {"keypoints": keypoints}

    def close(self) -> None:
        self.landmarker.close()
