"""Where the hands are: the 21 points a hand of MediaPipe's hand landmarker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sana_bench.features import Features, View, register_extractor
from sana_bench.features.mediapipe_task import Landmarker, Window, body_width

MAX_HANDS = 4
"""In one window."""

WRIST_AND_FINGERS = ((15, 17, 19), (16, 18, 20))
"""Wrist, little finger and index finger of a pose, left and right."""

HALF_WINDOW = 0.75
"""Half the side of the window around a wrist, in body widths. A hand is about half a body width long."""

MIN_WRIST_VISIBILITY = 0.2

SAME_HAND = 0.5
"""Two found hands are one where their points lie less than this share of the palm's length apart on average."""

WRIST, MIDDLE_FINGER_BASE = 0, 9


@dataclass(frozen=True)
class Hand:
    """A found hand in pixels of the image."""

    keypoints_212: np.ndarray
    score: float
    side: int


@register_extractor("hands", version=2, needs=("pose",), assets=("mediapipe_hand",))
class Hands:
    """Hands on a window at native resolution around each wrist of the poses, and on the whole image where that leaves one out.

    The palm detector sees every window at 192 x 192 pixels, where a hand of a full-body image has about 15 pixels. The
    whole image is looked at too unless the wrists show two hands a pose: detecting palms is dear. Hands of somebody whose
    pose is not found are missed beside others whose hands are.

    Features, from left to right in the image:
        keypoints: (H, 21, 2) float32, x and y in pixels of the image.
        score: (H,) float32 in [0.5, 1], how sure the model is of the side. MediaPipe tells no other score.
        side: (H,) int8, 0 for the person's own left hand and 1 for the right one.
    """

    def __init__(self, device: str):
        self.landmarker = Landmarker("Hand", "mediapipe_hand", num_hands=MAX_HANDS)

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        poses, hands = known["pose"]["keypoints"], list[Hand]()
        for window in wrist_windows(poses, view.pixels_HW3.shape):
            hands = merge_hands(hands, self._find(view, window))
        if len(poses) == 0 or len(hands) < len(WRIST_AND_FINGERS) * len(poses):
            hands = merge_hands(hands, self._find(view, Window.whole(view.pixels_HW3)))
        hands.sort(key=lambda hand: hand.keypoints_212[:, 0].mean())
        return {"keypoints": np.array([hand.keypoints_212 for hand in hands], np.float32).reshape(-1, 21, 2),
                "score": np.array([hand.score for hand in hands], np.float32),
                "side": np.array([hand.side for hand in hands], np.int8)}

    def _find(self, view: View, window: Window) -> list[Hand]:
        result = self.landmarker.detect(view.pixels_HW3, window)
        return [Hand(window.to_image(landmarks)[:, :2], categories[0].score, int(categories[0].category_name == "Right"))
                for landmarks, categories in zip(result.hand_landmarks, result.handedness, strict=True)]

    def close(self) -> None:
        self.landmarker.close()


def wrist_windows(poses_P333: np.ndarray, shape: tuple[int, ...]) -> Iterator[Window]:
    """Windows around the hands of each pose (P, 33, 3) whose wrist is seen inside an image of that shape."""
    height, width = shape[:2]
    for pose in poses_P333:
        for points in WRIST_AND_FINGERS:
            x, y, visibility = pose[points[0]]
            if visibility >= MIN_WRIST_VISIBILITY and 0 <= x < width and 0 <= y < height:
                yield Window.around(pose[list(points), :2].mean(axis=0), HALF_WINDOW * body_width(pose))


def merge_hands(first: list[Hand], second: list[Hand]) -> list[Hand]:
    """The hands of `first`, then those of `second` that are none of them. Hands within one list are never merged."""
    return first + [hand for hand in second if not any(is_same_hand(hand, other) for other in first)]


def is_same_hand(hand: Hand, other: Hand) -> bool:
    """Whether two detections are of one hand, by where their points are; the side is left out, since it may flip."""
    distance = np.linalg.norm(hand.keypoints_212 - other.keypoints_212, axis=1).mean()
    both = (hand.keypoints_212, other.keypoints_212)
    palm = max(np.linalg.norm(points[MIDDLE_FINGER_BASE] - points[WRIST]) for points in both)
    return bool(distance < SAME_HAND * palm)
