"""What the largest person of an image does, and how it is lit: into which class, or into none.

Readings of detectors, which miss faces that are turned far and take lowered brows of some people for an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from sana_bench.features import Features
from sana_bench.features.attributes import biggest_face
from sana_bench.features.light import BINS
from sana_bench.features.mediapipe_task import body_width
from sana_bench.features.proportions import face_points, face_yaw

SEEN = 0.5
"""Visibility from which on a point of a pose counts as seen."""
FOREHEAD, CHIN = 10, 152
LEVEL_DEGREES = -8.0
"""Tilt of the line from chin to forehead in OpenPeople's frontal portraits, which look straight ahead: -12 to -6, less is bent down."""
NOD_DEGREES, TURNED_DEGREES, PROFILE_DEGREES = 15.0, 15.0, 45.0
DARK, BRIGHT = 64.0, 176.0
"""Mean luminance of the picture, of 255."""
SIDE_LIGHT = 7.0
"""L* between the cheeks: forehead and cheeks of evenly lit portraits of OpenPeople differ by 6.7 at most (features/skin_tone.py)."""
BENT = np.cos(np.radians(60))

BROWS_DOWN, BROWS_UP, BLINK, JAW_OPEN, SMILE = (1, 2), (3,), (9, 10), (25,), (44, 45)
"""MediaPipe's numbers of blendshapes."""
EXPRESSIONS = (("eyes closed", BLINK, 0.6), ("smiling", SMILE, 0.4), ("mouth open", JAW_OPEN, 0.3), ("brows raised", BROWS_UP, 0.35),
               ("brows lowered", BROWS_DOWN, 0.5))
"""The first whose mean blendshape is above its threshold: between those of neutral and of played expressions of OpenPeople."""


@dataclass(frozen=True)
class Respect:
    """One respect in which images differ."""

    title: str
    classes: tuple[str, ...]
    classify: Callable[[Mapping[str, Features], tuple[int, int]], str | None]
    """Features and (width, height) -> class, or None where the image says nothing of it."""


def number_of(extractor: str, features: Mapping[str, Features], size: tuple[int, int]) -> str:
    """How many faces or hands are found."""
    number = len(features[extractor]["keypoints"])
    return str(number) if number < 3 else "3 or more"


def framing(features: Mapping[str, Features], size: tuple[int, int]) -> str | None:
    """How far down the largest person can be seen."""
    pose = _largest_pose(features)
    if pose is None:
        return "head and shoulders" if len(features["faces"]["keypoints"]) else None
    inside = (pose[:, 2] >= SEEN) & (pose[:, :2] >= 0).all(axis=1) & (pose[:, :2] < size).all(axis=1)
    for name, ends in (("whole body", (27, 28)), ("to the knees", (25, 26)), ("to the hips", (23, 24))):
        if inside[list(ends)].any():
            return name
    return "head and shoulders"


def posture(features: Mapping[str, Features], size: tuple[int, int]) -> str | None:
    """What arms and legs do, as far as they are seen."""
    pose = _largest_pose(features)
    if pose is None:
        return None
    arms = [(pose[shoulder], pose[wrist]) for shoulder, wrist in ((11, 15), (12, 16)) if pose[wrist, 2] >= SEEN]
    if any(wrist[1] < shoulder[1] for shoulder, wrist in arms):
        return "an arm raised"
    legs = [pose[list(joint)] for joint in ((23, 25, 27), (24, 26, 28)) if (pose[list(joint), 2] >= SEEN).all()]
    if any(_straightness(leg[:, :2]) < BENT for leg in legs):
        return "knees bent"
    return "arms down, legs straight" if arms and legs else None


def _straightness(joint_3xy: np.ndarray) -> float:
    """Cosine between the segments that meet in the middle point; 1 is straight."""
    upper, lower = np.diff(joint_3xy, axis=0)
    return float(upper @ lower / max(np.linalg.norm(upper) * np.linalg.norm(lower), 1e-3))


def _largest_pose(features: Mapping[str, Features]) -> np.ndarray | None:
    return max(features["pose"]["keypoints"], key=body_width, default=None)


def expression(features: Mapping[str, Features], size: tuple[int, int]) -> str | None:
    faces = features["faces"]
    if len(faces["keypoints"]) == 0:
        return None
    shapes = faces["blendshapes"][biggest_face(faces["keypoints"])]
    return next((name for name, numbers, least in EXPRESSIONS if shapes[list(numbers)].mean() > least), "calm")


def head_angle(features: Mapping[str, Features], size: tuple[int, int]) -> str | None:
    """Where the largest face looks to, left and right as seen in the picture."""
    faces = features["faces"]
    if len(faces["keypoints"]) == 0:
        return None
    face_1478xyz = face_points(faces)[[biggest_face(faces["keypoints"])]]
    yaw, nod = float(face_yaw(face_1478xyz)[0]), face_nod(face_1478xyz[0])
    side = "right" if yaw > 0 else "left"
    if abs(yaw) > TURNED_DEGREES:
        return f"far to the {side}" if abs(yaw) > PROFILE_DEGREES else f"to the {side}"
    if abs(nod) > NOD_DEGREES:
        return "up" if nod > 0 else "down"
    return "to the camera"


def face_nod(points_478xyz: np.ndarray) -> float:
    """Degrees that a face is tilted back, from the depth of forehead and chin; 0 looks straight ahead."""
    up = points_478xyz[FOREHEAD] - points_478xyz[CHIN]
    return float(np.degrees(np.arctan2(up[2], np.linalg.norm(up[:2])))) - LEVEL_DEGREES


def mean_luminance(features: Mapping[str, Features]) -> float:
    """Of the whole picture, 0 to 255."""
    return float(features["light"]["tones"] @ ((np.arange(BINS) + 0.5) * 255 / BINS))


def brightness(features: Mapping[str, Features], size: tuple[int, int]) -> str:
    mean = mean_luminance(features)
    return "dark" if mean < DARK else "bright" if mean > BRIGHT else "medium"


def light_side(features: Mapping[str, Features], size: tuple[int, int]) -> str | None:
    """From where the largest face is lit, left and right as seen in the picture."""
    keypoints_FPxy = features["faces"]["keypoints"]
    if len(keypoints_FPxy) == 0:
        return None
    left, right = features["light"]["cheeks"][biggest_face(keypoints_FPxy)]
    if not np.isfinite(left - right):
        return None
    return "even" if abs(left - right) <= SIDE_LIGHT else "from the left" if left > right else "from the right"


RESPECTS = {
    "faces": Respect("Faces found", ("0", "1", "2", "3 or more"), partial(number_of, "faces")),
    "hands": Respect("Hands found", ("0", "1", "2", "3 or more"), partial(number_of, "hands")),
    "framing": Respect("Framing", ("head and shoulders", "to the hips", "to the knees", "whole body"), framing),
    "pose": Respect("Pose", ("arms down, legs straight", "an arm raised", "knees bent"), posture),
    "expression": Respect("Expression", ("calm", *(name for name, _, _ in EXPRESSIONS)), expression),
    "head_angle": Respect("Head angle", ("to the camera", "to the left", "to the right", "far to the left", "far to the right", "up", "down"), head_angle),
    "brightness": Respect("Brightness", ("dark", "medium", "bright"), brightness),
    "light_side": Respect("Light on the face", ("from the left", "even", "from the right"), light_side),
}
