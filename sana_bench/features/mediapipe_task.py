"""What the pose, hand and face extractors share: MediaPipe's landmarkers on square windows of an image, in its pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 11, 12, 23, 24
"""Points of a pose, as MediaPipe numbers them. Left is the person's own left."""


@dataclass(frozen=True)
class Window:
    """A square of an image in its pixels; it may stand out over the edges, and is black there.

    Always square, because MediaPipe turns its regions of interest in coordinates that are relative to width and height
    and says itself that it supports only square ones.
    """

    left: int
    top: int
    side: int

    @classmethod
    def whole(cls, pixels_HW3: np.ndarray) -> Window:
        return cls(0, 0, max(pixels_HW3.shape[:2]))

    @classmethod
    def around(cls, centre_2: np.ndarray, half_side: float) -> Window:
        left, top = np.round(centre_2 - half_side).astype(int)
        return cls(int(left), int(top), max(1, round(2 * half_side)))

    def cut(self, pixels_HW3: np.ndarray) -> np.ndarray:
        """(side, side, 3) uint8; the image itself where the window is all of it."""
        height, width = pixels_HW3.shape[:2]
        if (self.left, self.top, self.side, self.side) == (0, 0, width, height):
            return np.ascontiguousarray(pixels_HW3)
        square = np.zeros((self.side, self.side, 3), np.uint8)
        top, bottom = max(0, self.top), min(height, self.top + self.side)
        left, right = max(0, self.left), min(width, self.left + self.side)
        if top < bottom and left < right:
            square[top - self.top:bottom - self.top, left - self.left:right - self.left] = pixels_HW3[top:bottom, left:right]
        return square

    def to_image(self, landmarks: list) -> np.ndarray:
        """MediaPipe's normalised landmarks as (N, 3) float32: x and y in image pixels, depth in pixels about the centre."""
        points_N3 = np.array([(point.x, point.y, point.z) for point in landmarks], np.float32) * self.side
        return points_N3 + np.array([self.left, self.top, 0], np.float32)


class Landmarker:
    """One of MediaPipe's landmarkers on single images, on the CPU.

    Args:
        kind: "Pose", "Hand" or "Face".
        asset: the name of its bundle in assets.py.
        options: as `mediapipe.tasks.python.vision.<kind>LandmarkerOptions` takes them.
    """

    def __init__(self, kind: str, asset: str, **options: Any):
        from sana_bench.assets import asset_path

        path = str(asset_path(asset))
        with quiet_native_stderr():
            from mediapipe import Image, ImageFormat
            from mediapipe.tasks.python import BaseOptions, vision

            self._wrap = lambda square: Image(image_format=ImageFormat.SRGB, data=square)
            settings = getattr(vision, f"{kind}LandmarkerOptions")(
                base_options=BaseOptions(model_asset_path=path), **options)
            self._task = getattr(vision, f"{kind}Landmarker").create_from_options(settings)
            # The graph's threads print while it starts, which is over only once it has answered.
            self._task.detect(self._wrap(np.zeros((256, 256, 3), np.uint8)))

    def detect(self, pixels_HW3: np.ndarray, window: Window) -> Any:
        """MediaPipe's result for a window of the image; `window.to_image` makes image pixels of its landmarks."""
        return self._task.detect(self._wrap(window.cut(pixels_HW3)))

    def close(self) -> None:
        """Without this the landmarker's destructor prints a traceback when the program ends."""
        self._task.close()


def body_width(pose_333: np.ndarray) -> float:
    """Shoulder width of a pose (33, 3) in pixels as it would be from the front.

    Seen from the side the shoulders fall together, and 0.69 of the trunk's length, which is more, counts in their place:
    the median of shoulder width over trunk length in frontal full-body photographs of OpenPeople.
    """
    points = pose_333[:, :2]
    shoulders = np.linalg.norm(points[LEFT_SHOULDER] - points[RIGHT_SHOULDER])
    trunk = np.linalg.norm(points[[LEFT_SHOULDER, RIGHT_SHOULDER]].mean(axis=0) - points[[LEFT_HIP, RIGHT_HIP]].mean(axis=0))
    return float(max(shoulders, 0.69 * trunk))


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere while inside.

    MediaPipe and TensorFlow Lite print notes about their own graphs straight to it, and no variable or option stops them. What goes wrong still comes as a Python exception.
    """
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
