"""Where the bodies are: the 33 points a body of MediaPipe's pose landmarker, and whether its silhouette belongs to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.mediapipe_task import Landmarker, Window
from sana_bench.features.silhouette import uncovered, unexplained

MAX_POSES = 8

SIDE = 1024
"""Pixels of a side that are looked at. The model sees 256, and makes its silhouettes as large as what it is given, which costs."""

SILHOUETTE_SIDE = 256

MULTIPLE = 4
"""A square that is looked at as it is has a side of such a multiple, with a black edge where need be: MediaPipe 0.10.32 ends the process where
the rows of a silhouette, of four bytes a pixel, do not fill the 16 bytes that it aligns them to."""


@register_extractor("pose", version=3, assets=("mediapipe_pose",))
class Pose:
    """Up to MAX_POSES poses on the whole image.

    It finds people who fill half of the image's height and more: four of four in a two by two grid, none of nine in three by three.

    Features:
        keypoints: (P, 33, 3) float32, x and y in pixels of the image, visibility in [0, 1]. Points that the frame cuts off
            are guessed outside it with a low visibility.
        unexplained: (P,) float32, not below 0, area of the silhouette away from the skeleton, in squared trunk lengths.
        uncovered: (P,) float32 in [0, 1], share of the worst limb on which there is no silhouette.
    """

    def __init__(self, device: str):
        self.landmarker = Landmarker("Pose", "mediapipe_pose", num_poses=MAX_POSES, output_segmentation_masks=True)

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        import cv2

        window = Window.whole(view.pixels_HW3)
        if window.side <= SIDE:
            window = Window(0, 0, MULTIPLE * -(-window.side // MULTIPLE))
        square = window.cut(view.pixels_HW3)
        if window.side > SIDE:
            square = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        found = self.landmarker.detect(square, Window.whole(square))
        height, width = view.pixels_HW3.shape[:2]
        inside = (SILHOUETTE_SIDE * width / window.side, SILHOUETTE_SIDE * height / window.side)
        keypoints = np.zeros((len(found.pose_landmarks), 33, 3), np.float32)
        apart = np.zeros((len(found.pose_landmarks), 2), np.float32)
        for index, (landmarks, mask) in enumerate(zip(found.pose_landmarks, found.segmentation_masks or [], strict=True)):
            keypoints[index, :, :2] = window.to_image(landmarks)[:, :2]
            keypoints[index, :, 2] = [point.visibility for point in landmarks]
            silhouette = cv2.resize(mask.numpy_view(), (SILHOUETTE_SIDE, SILHOUETTE_SIDE), interpolation=cv2.INTER_AREA)
            points = keypoints[index, :, :2].astype(np.float64) * SILHOUETTE_SIDE / window.side
            apart[index] = unexplained(silhouette, points), uncovered(silhouette, points, inside)
        return {"keypoints": keypoints, "unexplained": apart[:, 0], "uncovered": apart[:, 1]}

    def close(self) -> None:
        self.landmarker.close()
