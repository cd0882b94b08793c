"""Faces: are they there, do eyes, nose, mouth and jaw have the proportions of real faces, and are they whole?

MediaPipe stays confident on broken faces and fits a legal face to them, so a doubled eye does not show in its points. Neoclassical
canons are not used, since they hold for a minority of real people and less for some groups than for others.

Legend: F faces, R = 23 distances, xyz in pixels.
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from sana_bench.evidence import calibration_file
from sana_bench.features.proportions import face_points, face_ratios, is_facing
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.part_plausibility import PartPlausibility
from sana_bench.shape import fit_shapes, image_deviation

# 22 free proportions with a shrunk covariance.
MIN_REFERENCE_FACES, FEWEST_OF_A_GROUP = 20, 10


def facing(points_F478xyz: np.ndarray) -> np.ndarray:
    """Those faces that are turned by at most 30 degrees."""
    return points_F478xyz[is_facing(points_F478xyz)]


def reference_faces(context: MetricContext) -> tuple[np.ndarray, list[str]]:
    """Faces of the reference images that look at the camera, (F, 478, 3), and whose they are (F, or none where unknown).

    As many of feminine as of masculine presentation, where both are seen: the more frequent would be the measure of the other.
    Profiles are left out, since they would make any turned face plausible.
    """
    rows = [(points, feminine, person) for features, person in zip_longest(context.reference, context.reference_people)
            for points, feminine in zip(face_points(features["faces"]).reshape(-1, 478, 3), features["attributes"]["feminine"], strict=True)]
    rows = [row for row in rows if is_facing(row[0][None])[0]]
    groups = ([row for row in rows if row[1] > 0.5], [row for row in rows if row[1] <= 0.5])
    fewest = min(map(len, groups))
    if fewest >= FEWEST_OF_A_GROUP:  # spread over the images, and so over the people
        rows = [group[index] for group in groups for index in np.linspace(0, len(group) - 1, fewest).round().astype(int)]
    people = [person for _, _, person in rows if person is not None]
    return np.concatenate([np.empty((0, 478, 3)), *[points[None] for points, _, _ in rows]]), people


# Five in a hundred expected faces: fewer cannot be told apart with a few dozen images, more is seen by eye.
@register_metric("face_rate", version=1, kind="sample", extractor="faces", higher_is_better=True, unit="share", budget=0.05,
                 sees=("face_erased",))
class FaceRate:
    """Faces found against faces a prompt asks for, the smaller number over the larger; 1 is right.

    Formula: min(found, expected) / max(found, expected), the mean over images whose prompt expects faces.
    Source: MediaPipe's face landmarker; faces of small figures are looked for in a native crop around the nose of the pose.
    Limits: a broken face is found as often as a whole one: read it beside face_plausibility, which counts both. It counts at most
        as many faces as the extractor looks for.
    Use: compares two models on the same prompts. A missed face is no measure of how well faces are drawn.
    """

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = sample.prompt.expects.faces
        if expected == 0:
            return Unscored("no face expected")
        found = len(sample.features["faces"]["keypoints"])
        return min(found, expected) / max(found, expected)


# Moving every point by 0.5 % of the face makes a face as unusual as the rarest fifth of new real ones.
@register_metric("face_shape_deviation", version=2, kind="sample", extractor="attributes", higher_is_better=False,
                 unit="times the median real face", budget=0.2, needs_reference=True, sees=("face_asymmetric", "face_erased"))
class FaceShapeDeviation:
    """How far proportions of faces are from real faces seen by the same detector; a new real face has about 1, a missing one counts as 5.

    Formula: Mahalanobis distance of 23 logarithms of distances between mesh points, in space, under a Ledoit-Wolf covariance of the
        reference faces, over the median of held-out reference faces, at most 5; an image has the mean of its best expected faces that
        look at the camera. Of the reference, as many faces of feminine as of masculine presentation are taken, where it shows both.
    Source: ours; covariance shrunk as in Ledoit and Wolf 2004. No canon of proportions is taken for granted.
    Limits: only faces turned by at most 30 degrees; the reference people are the measure, so they should be as varied as the people in
        the suite, in more than perceived gender. A strong expression raises it.
    Use: compares two models on the same prompts. An unusual face is not a wrong face: never judge a person's face by it.
    """

    def __init__(self, context: MetricContext) -> None:
        points_F478xyz, people = reference_faces(context)
        self.reference = fit_shapes(face_ratios(points_F478xyz), people, MIN_REFERENCE_FACES, "face(s) looking at the camera")

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = sample.prompt.expects.faces
        if expected == 0:
            return Unscored("no face expected")
        points_F478xyz = face_points(sample.features["faces"]).reshape(-1, 478, 3)
        ratios_FR = face_ratios(facing(points_F478xyz))
        missing = max(expected - len(points_F478xyz), 0)
        judged = min(len(ratios_FR), expected) + missing
        if judged == 0:
            return Unscored("face turned away by more than 30 degrees")
        return image_deviation(np.array([self.reference.relative_distance(ratios_R) for ratios_R in ratios_FR]), judged)


@register_metric("face_plausibility", version=3, kind="sample", extractor="face_evidence", higher_is_better=True, unit="probability",
                 budget=0.05, files=(calibration_file("face"),),
                 sees=("face_melted", "face_asymmetric", "face_doubled_feature", "face_misplaced_feature", "face_blurred_features", "face_erased"))
class FacePlausibility(PartPlausibility):
    """Calibrated probability that the faces a prompt asks for are there and whole; a missing face counts as 0.

    A face's value joins what a small network sees in it, how far its proportions are from real ones, asymmetry, whether both eyes look
    the same way and the mouth stands below the nose (for faces turned by at most 30 degrees), and how much its landmarks shift when
    the picture is turned, resized and mirrored; the weights below say how much each of them counts, 0 that it told nothing new.

    Formula: a face has 1 / (1 + exp(b + sum w_k z_k)) over its standardised parts; an image has the mean of its best expected faces.
    Source: ours. The network (EfficientNet-lite0 and a dense head) and the weights are fitted on graded damage of photographs of
        synthetic people, calibrated on people that the network's twin had not seen.
    Limits: it knows five women and two men, as many pictures of each, and damage done to photographs, not by a generator. Painted faces
        and masks score low.
    Use: compares two models on the same prompts. 0.5 is where whole and damaged photographs are equally likely, not a pass mark. Scars,
        asymmetry and differences of the face would score low: never apply it to people; read it by group.
    """

    part = "face"
