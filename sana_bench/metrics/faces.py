"""Faces: are they there, and do eyes, nose, mouth and jaw have the proportions of real faces?

Limits. MediaPipe stays confident on broken faces and fits a legal face to them: a doubled eye or a wild iris between
plausible points is not seen here. Faces of a few dozen pixels have noisy points and score lower. Neoclassical canons are not
used, since they hold for a minority of real people and less for some groups than for others. The reference people are the
measure, so they should be as varied as the people in the suite: with three of them, photographs of seven others average
0.50.

Legend: F faces, R = 23 distances, xyz in pixels.
"""

from __future__ import annotations

import numpy as np

from sana_bench.features import Features
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.shape import fit_shapes

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
CHEEKS = (234, 454)

# Distances in space hardly change when a head turns until points are hidden and guessed, which is so well before a profile.
MAX_YAW_DEGREES = 30.0

# 22 free proportions with a shrunk covariance, and a value that goes in steps of 1 / (M + 1).
MIN_REFERENCE_FACES = 20


def face_points(features: Features) -> np.ndarray:
    """(F, 478, 3) float64 x, y and depth in pixels, from the features of the extractor `faces`."""
    points_F478xyz = np.concatenate([features["keypoints"], features["depth"][..., None]], axis=-1)
    return points_F478xyz.astype(np.float64)


def face_yaw(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F,) degrees that each face is turned sideways, from the depth of its cheeks; 0 looks at the camera."""
    across_Fxyz = points_F478xyz[:, CHEEKS[1]] - points_F478xyz[:, CHEEKS[0]]
    return np.degrees(np.arctan2(across_Fxyz[:, 2], np.linalg.norm(across_Fxyz[:, :2], axis=1)))


def face_ratios(points_F478xyz: np.ndarray) -> np.ndarray:
    """(F, R) logarithms of distances in space over their geometric mean.

    Unchanged by moving, scaling and turning in any direction, as far as the depth is right.
    """
    ends_FRxyz = points_F478xyz[:, DISTANCES[:, 1]] - points_F478xyz[:, DISTANCES[:, 0]]
    logs_FR = np.log(np.linalg.norm(ends_FRxyz, axis=-1).clip(1e-3))
    return logs_FR - logs_FR.mean(1, keepdims=True)


def facing(points_F478xyz: np.ndarray) -> np.ndarray:
    """Those faces that are turned by at most 30 degrees."""
    return points_F478xyz[np.abs(face_yaw(points_F478xyz)) <= MAX_YAW_DEGREES]


def reference_faces(context: MetricContext) -> tuple[np.ndarray, list[str]]:
    """Faces of the reference images that look at the camera, (F, 478, 3), and whose they are (F, or none where unknown).

    Profiles would make any turned face plausible.
    """
    faces = [facing(face_points(features["faces"])) for features in context.reference]
    people = [person for person, each in zip(context.reference_people, faces, strict=False) for _ in each]
    return np.concatenate([np.empty((0, 478, 3)), *faces]), people


# Five in a hundred expected faces: fewer cannot be told apart with a few dozen images, more is seen by eye.
@register_metric("face_rate", version=1, kind="sample", extractor="faces", higher_is_better=True, unit="share", budget=0.05)
class FaceRate:
    """Faces found against faces a prompt asks for, the smaller number over the larger; 1 is right."""

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = sample.prompt.expects.faces
        if expected == 0:
            return Unscored("no face expected")
        found = len(sample.features["faces"]["keypoints"])
        return min(found, expected) / max(found, expected)


# Moving every point by 0.5 % of the face costs 0.2 on photographs of people that the fit had not seen; this is a quarter.
@register_metric("face_plausibility", version=2, kind="sample", extractor="faces", higher_is_better=True,
                 unit="share of real faces", budget=0.05, needs_reference=True)
class FacePlausibility:
    """Share of real faces whose proportions are as unusual or more: about 0.5 for a new real face; doubled features go unseen.

    Mahalanobis distance of 23 log distance ratios under a Ledoit-Wolf covariance, as its rank among held-out real faces; an
    image has the mean of its faces that look at the camera. Faces that are not found count in `face_rate` only.
    """

    def __init__(self, context: MetricContext) -> None:
        points_F478xyz, people = reference_faces(context)
        self.reference = fit_shapes(face_ratios(points_F478xyz), people, MIN_REFERENCE_FACES, "face(s) looking at the camera")

    def score(self, sample: ScoredSample) -> float | Unscored:
        points_F478xyz = face_points(sample.features["faces"])
        if len(points_F478xyz) == 0:
            return Unscored("no face found")
        ratios_FR = face_ratios(facing(points_F478xyz))
        if len(ratios_FR) == 0:
            return Unscored("face turned away by more than 30 degrees")
        return float(np.mean([self.reference.survival(ratios_R) for ratios_R in ratios_FR]))
