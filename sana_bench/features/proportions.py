"""Proportions of hands, faces and bodies from their landmarks, which do not change with place, size and turning in the plane.

Legend: H hands, F faces, B = 15 bones, R = 23 distances, xy and xyz in pixels.
"""

from __future__ import annotations

import numpy as np

from sana_bench.features import Features

# MediaPipe's hand: 0 wrist, then four points from knuckle to tip for thumb, index, middle, ring and little finger.
BONES = np.array([(first, first + 1) for finger in range(5) for first in range(4 * finger + 1, 4 * finger + 4)])
PALM = np.array([(0, 5), (0, 9), (0, 13), (0, 17), (5, 9), (9, 13), (13, 17)])

# A bone that points at the camera has almost no length in the image, and the logarithm of what is left would be noise. With
# this floor the deviations of real hands of unseen people spread by 0.7 instead of 1.1; those of damaged hands stayed apart.
SHORTEST_BONE = 0.15

# Points of MediaPipe's face mesh between which distances are taken; l and r as seen in the image.
DISTANCES = np.array([
    (33, 133), (362, 263), (133, 362), (33, 263),                      # eye widths l and r, between inner and outer corners
    (168, 1), (168, 2), (129, 358),                                    # nose: bridge to tip, bridge to base, width
    (61, 291), (2, 0), (2, 152),                                       # mouth width, nose to upper lip, nose to chin
    (234, 454), (172, 397), (10, 168),                                 # cheek to cheek, jaw to jaw, forehead
    (105, 159), (334, 386),                                            # brow to lid, l and r
    (33, 1), (263, 1), (61, 1), (291, 1),                              # eye and mouth corner to nose tip, l and r
    (61, 33), (291, 263), (172, 61), (397, 291),                       # mouth to eye, jaw to mouth, l and r
])
LEFT_RIGHT = np.array([(0, 1), (13, 14), (15, 16), (17, 18), (19, 20), (21, 22)])
"""Rows of DISTANCES that are each other's mirror image."""
CHEEKS = (234, 454)
IRISES = (468, 473)
EYES = ((33, 133), (362, 263))

# Distances in space hardly change when a head turns until points are hidden and guessed, which is so well before a profile.
MAX_YAW_DEGREES = 30.0


def bone_ratios(keypoints_H21xy: np.ndarray) -> np.ndarray:
    """(H, B) logarithms of the lengths of the finger bones in the image plane over the size of the palm.

    Unchanged by moving, turning in the plane, scaling and mirroring. A bone shorter than 0.15 palms counts as 0.15.

    Args:
        keypoints_H21xy: (H, 21, 2) pixels.
    """
    points = keypoints_H21xy.astype(np.float64)
    bones_HB = np.linalg.norm(points[:, BONES[:, 1]] - points[:, BONES[:, 0]], axis=-1)
    palm_HE = np.linalg.norm(points[:, PALM[:, 1]] - points[:, PALM[:, 0]], axis=-1)
    # Root mean square: a palm seen edge-on keeps its length, one seen from the wrist keeps its width.
    palm_H1 = np.sqrt(np.square(palm_HE).mean(1, keepdims=True)).clip(np.finfo(np.float64).tiny)
    return np.log(np.maximum(bones_HB / palm_H1, SHORTEST_BONE))


def face_points(features: Features) -> np.ndarray:
    """(F, 478, 3) float64 x, y and depth in pixels, from the features of the extractor `faces`."""
    points_F478xyz = np.concatenate([features["keypoints"], features["depth"][..., None]], axis=-1)
    return points_F478xyz.astype(np.float64)


def face_yaw(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F,) degrees that each face is turned sideways, from the depth of its cheeks; 0 looks at the camera."""
    across_Fxyz = points_F478xyz[:, CHEEKS[1]] - points_F478xyz[:, CHEEKS[0]]
    return np.degrees(np.arctan2(across_Fxyz[:, 2], np.linalg.norm(across_Fxyz[:, :2], axis=1)))


def is_facing(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F,) bool, turned by at most MAX_YAW_DEGREES."""
    return np.abs(face_yaw(points_F478xyz)) <= MAX_YAW_DEGREES


def face_ratios(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F, R) logarithms of distances in space over their geometric mean.

    Unchanged by moving, scaling and turning in any direction, as far as the depth is right.
    """
    ends_FRxyz = points_F478xyz[:, DISTANCES[:, 1]] - points_F478xyz[:, DISTANCES[:, 0]]
    logs_FR = np.log(np.linalg.norm(ends_FRxyz, axis=-1).clip(1e-3))
    return logs_FR - logs_FR.mean(1, keepdims=True)


def face_asymmetry(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F,) mean absolute logarithm of left over right among the distances that mirror each other; 0 is symmetric."""
    ratios_FR = face_ratios(points_F478xyz)
    return np.abs(ratios_FR[:, LEFT_RIGHT[:, 0]] - ratios_FR[:, LEFT_RIGHT[:, 1]]).mean(axis=1)


def gaze_mismatch(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F,) distance between where the two irises stand in their eyes, in eye widths; 0 where both look the same way."""
    places = []
    for iris, (left, right) in zip(IRISES, EYES, strict=True):
        ends = points_F478xyz[:, [left, right], :2]
        width_F1 = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1, keepdims=True).clip(1e-3)
        axis_Fxy = (ends[:, 1] - ends[:, 0]) / width_F1
        away_Fxy = (points_F478xyz[:, iris, :2] - ends.mean(axis=1)) / width_F1
        places.append(np.stack([(away_Fxy * axis_Fxy).sum(-1), away_Fxy[:, 1] * axis_Fxy[:, 0] - away_Fxy[:, 0] * axis_Fxy[:, 1]], axis=-1))
    return np.linalg.norm(places[0] - places[1], axis=-1)


def mouth_offset(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F,) how far the mouth's middle lies from the line from the bridge of the nose to the chin, in mouth widths."""
    bridge, chin = points_F478xyz[:, 168], points_F478xyz[:, 152]
    corners = points_F478xyz[:, [61, 291]]
    axis = (chin - bridge) / np.linalg.norm(chin - bridge, axis=-1, keepdims=True).clip(1e-3)
    across = corners[:, 1] - corners[:, 0]
    away = corners.mean(axis=1) - bridge
    width = np.linalg.norm(across, axis=-1).clip(1e-3)
    sideways = away - (away * axis).sum(-1, keepdims=True) * axis
    return np.abs((sideways * across).sum(-1)) / width**2


# Points of MediaPipe's pose: shoulders 11 and 12, elbows 13 and 14, wrists 15 and 16, index knuckles 19 and 20, hips 23 and 24, knees 25
# and 26, ankles 27 and 28, nose 0, ears 7 and 8, corners of the mouth 9 and 10. Even ones are the person's right.
SEGMENTS = np.array([(11, 13), (12, 14), (13, 15), (14, 16), (15, 19), (16, 20), (23, 25), (24, 26), (25, 27), (26, 28)])
WIDTHS = np.array([(11, 12), (23, 24), (7, 8)])
JOINTS = ((23, 25, 27), (24, 26, 28), (11, 13, 15), (12, 14, 16))
SHORTEST_SEGMENT = 0.1
WRISTS, WRIST_SEEN, HAND_AT_WRIST = [15, 16], 0.5, 0.3
"""Hands of real bodies begin within 0.1 trunks of a wrist that is seen; an arm too long for the pose has its wrist guessed in mid-air."""
APART = 0.05
"""Added before a logarithm: less is the roughness of a silhouette."""


def body_measures(pose: Features, hands: Features) -> np.ndarray:
    """(P, 25) what a standing body looks like: lengths over the trunk's, bends, and how well the ends of the limbs are seen.

    Ten logarithms of limb segments, three of widths (which shrink when a body turns; 0.1 trunks are the least), two of the head's
    height over the shoulders and of the face's height, four cosines of the knees' and elbows' bend, three logits of visibility
    (the least of elbows and knees, wrists, ankles), two logarithms of how far silhouette and skeleton are apart, and 1 where a
    wrist that is seen has no hand. Unchanged by moving and scaling.

    Args:
        pose, hands: features of the extractors of these names, of one image.
    """
    poses_P33xyv = pose["keypoints"].reshape(-1, 33, 3)
    points, visibility = poses_P33xyv[..., :2].astype(np.float64), poses_P33xyv[..., 2].astype(np.float64)
    shoulders, hips, mouth = (points[:, pair].mean(axis=1) for pair in ([11, 12], [23, 24], [9, 10]))
    trunk_P1 = np.linalg.norm(shoulders - hips, axis=-1, keepdims=True).clip(1e-3)
    pairs = np.concatenate([SEGMENTS, WIDTHS])
    lengths = np.linalg.norm(points[:, pairs[:, 1]] - points[:, pairs[:, 0]], axis=-1)
    head = np.stack([np.linalg.norm(points[:, 0] - shoulders, axis=-1), np.linalg.norm(points[:, [2, 5]].mean(axis=1) - mouth, axis=-1)], axis=1)
    ratios = np.log(np.maximum(np.concatenate([lengths, head], axis=1) / trunk_P1, [SHORTEST_SEGMENT] * 14 + [0.02]))
    bends = np.stack([_bend(points, joint) for joint in JOINTS], axis=1)
    least = np.stack([visibility[:, ends].min(axis=1) for ends in ([13, 14, 25, 26], [15, 16], [27, 28])], axis=1).clip(0.01, 0.99)
    apart = np.stack([pose["unexplained"], pose["uncovered"]], axis=1).astype(np.float64)
    handless_P1 = _has_wrist_without_hand(points, visibility, hands["keypoints"].reshape(-1, 21, 2)[:, 0], trunk_P1)[:, None]
    return np.concatenate([ratios, bends, np.log(least / (1 - least)), np.log(apart + APART), handless_P1], axis=1)


def _has_wrist_without_hand(points_P33xy: np.ndarray, visibility_P33: np.ndarray, hands_Hxy: np.ndarray, trunk_P1: np.ndarray) -> np.ndarray:
    """(P,) whether a wrist that is seen lies further than HAND_AT_WRIST trunks from where every hand begins."""
    away_PWH = np.linalg.norm(points_P33xy[:, WRISTS, None] - hands_Hxy, axis=-1)
    handless_PW = away_PWH.min(axis=-1, initial=np.inf) > HAND_AT_WRIST * trunk_P1
    return (handless_PW & (visibility_P33[:, WRISTS] >= WRIST_SEEN)).any(axis=1)


def _bend(points_P33xy: np.ndarray, joint: tuple[int, int, int]) -> np.ndarray:
    """(P,) cosine between the two segments that meet in a joint; 1 is straight."""
    upper, lower = (points_P33xy[:, end] - points_P33xy[:, start] for start, end in (joint[:2], joint[1:]))
    return (upper * lower).sum(-1) / (np.linalg.norm(upper, axis=-1) * np.linalg.norm(lower, axis=-1)).clip(1e-3)
