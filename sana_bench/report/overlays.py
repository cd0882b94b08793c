"""Keypoints as SVG paths that lie over an image: pose skeleton, 21-point hands, contours of the 478-point face mesh."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Point = Sequence[float]

MIN_VISIBILITY = 0.5
"""Pose points that the model itself takes for hidden are not drawn."""

MIN_JOINT_SHARE = 0.12
"""Dots on the joints of a hand only where it spans so much of the image; on a smaller one they would hide it."""

# Chains of MediaPipe's 33 pose points: shoulders and hips, arms, legs. The head is left to the face mesh.
POSE_CHAINS = ((11, 12, 24, 23, 11), (11, 13, 15), (12, 14, 16), (23, 25, 27, 29, 31, 27), (24, 26, 28, 30, 32, 28))

# Chains of MediaPipe's 21 hand points: thumb to little finger, then the palm.
HAND_CHAINS = ((0, 1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20), (0, 5, 9, 13, 17, 0))

# Contours of MediaPipe's face mesh (FACEMESH_CONTOURS and irises): oval, lips outside and inside, eyes, eyebrows, irises.
FACE_CHAINS = (
    (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
     148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78),
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
    (46, 53, 52, 65, 55), (70, 63, 105, 66, 107), (276, 283, 282, 295, 285), (300, 293, 334, 296, 336),
    (469, 470, 471, 472, 469), (474, 475, 476, 477, 474),
)


@dataclass(frozen=True)
class Stroke:
    """One path of an overlay."""

    kind: str
    """CSS class: pose | face | finger0 .. finger4 | palm | joints."""
    path: str


@dataclass(frozen=True)
class Label:
    """How plausible one hand, face or body is, written above it."""

    x: int
    y: int
    text: str
    title: str
    """What the number is made of."""
    low: bool
    """Below a half."""


@dataclass(frozen=True)
class Overlay:
    """All that is drawn over one image, in a box of its own size."""

    width: int
    height: int
    strokes: tuple[Stroke, ...]
    summary: str
    """`1 pose, 2 hands, 1 face`"""
    labels: tuple[Label, ...] = ()


def draw_overlay(keypoints: dict) -> Overlay:
    """Paths of one image.

    Args:
        keypoints: Entry of keypoints.json: `width`, `height`, `poses` (33 of x, y, visibility each), `hands`
            (21 of x, y each) and `faces` (478 of x, y each), in pixels of the full image, and `parts`.
    """
    poses, hands, faces = keypoints["poses"], keypoints["hands"], keypoints["faces"]
    strokes = [Stroke("pose", _path(pose, POSE_CHAINS)) for pose in poses]
    strokes += [Stroke("face", _path(face, FACE_CHAINS)) for face in faces]
    for hand in hands:
        strokes += [Stroke(f"finger{index}" if index < 5 else "palm", _path(hand, [chain]))
                    for index, chain in enumerate(HAND_CHAINS)]
        if _span(hand) >= MIN_JOINT_SHARE * keypoints["width"]:
            strokes.append(Stroke("joints", "".join(f"M{_xy(point)}h0" for point in hand)))
    counts = ((len(poses), "pose", "poses"), (len(hands), "hand", "hands"), (len(faces), "face", "faces"))
    found = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    return Overlay(keypoints["width"], keypoints["height"], tuple(stroke for stroke in strokes if stroke.path),
                   ", ".join(found) or "no person found", tuple(_labels(keypoints)))


def _labels(keypoints: dict) -> Iterator[Label]:
    """One a hand and face; a body's stands with its scores, where it hides nothing."""
    for part, name in (("hand", "hands"), ("face", "faces")):
        for points, values in zip(keypoints[name], keypoints.get("parts", {}).get(part, ()), strict=False):
            if values:
                value = next(iter(values.values()))
                made_of = ", ".join(f"{name} {each:g}" for name, each in values.items())
                left, top = (min(point[axis] for point in points) for axis in range(2))
                yield Label(round(left), round(top), f"{value:.2f}", made_of, value < 0.5)


def _span(points: Sequence[Point]) -> float:
    """Longer side of the bounding box, in pixels."""
    return max(max(column) - min(column) for column in zip(*points, strict=True))


def _path(points: Sequence[Point], chains: Iterable[Sequence[int]]) -> str:
    """`M1 2L3 4...` along the chains, broken where a point is hidden."""
    parts, pen_down = [], False
    for chain in chains:
        pen_down = False
        for index in chain:
            point = points[index]
            if len(point) > 2 and point[2] < MIN_VISIBILITY:
                pen_down = False
                continue
            parts.append(f"{'L' if pen_down else 'M'}{_xy(point)}")
            pen_down = True
    return "".join(parts)


def _xy(point: Point) -> str:
    return f"{point[0]:.0f} {point[1]:.0f}"
