"""Bodies: is a whole person there, and are the limbs as long, as straight and as well seen as those of real ones?

Legend: P poses, 33 points.
"""

from __future__ import annotations

import numpy as np

from sana_bench.evidence import calibration_file
from sana_bench.evidence.bodies import load_bodies
from sana_bench.evidence.plausibility import image_plausibility
from sana_bench.features.proportions import body_measures
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.prompts import Expects


def expected_bodies(expects: Expects) -> int:
    """As many whole bodies as faces, at least one, where the prompt asks for full bodies."""
    return max(1, expects.faces) if expects.full_body else 0


# Five in a hundred expected bodies: fewer cannot be told apart with a few dozen images, more is seen by eye.
@register_metric("body_rate", version=1, kind="sample", extractor="pose", higher_is_better=True, unit="share", budget=0.05,
                 sees=("body_erased",))
class BodyRate:
    """Bodies found against bodies a prompt asks for, the smaller number over the larger; 1 is right.

    Formula: min(found, expected) / max(found, expected), the mean over images whose prompt asks for full bodies.
    Source: MediaPipe's pose landmarker (BlazePose, Bazarevsky et al. 2020, arXiv 2006.10204).
    Limits: it finds a body in many a broken one: read it beside body_plausibility. Small bodies, a third of the image's height and less,
        are missed, so that crowds count as nobody.
    Use: compares two models on the same prompts.
    """

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = expected_bodies(sample.prompt.expects)
        if expected == 0:
            return Unscored("no full body expected")
        found = len(sample.features["pose"]["keypoints"])
        return min(found, expected) / max(found, expected)


# Real bodies of new people average 0.5 and spread by 0.3: a tenth is what a hundred pairs tell.
@register_metric("body_plausibility", version=2, kind="sample", extractor="pose", also_reads=("hands",), higher_is_better=True,
                 unit="share of real bodies", budget=0.1, files=(calibration_file("body"),),
                 sees=("body_overlong_arm", "body_short_legs", "body_missing_forearm", "body_bent_shin", "body_large_head", "body_added_arm",
                       "body_erased"))
class BodyPlausibility:
    """Share of real standing bodies that are as unusual or more: about 0.5 for a new real one; a missing body counts as 0.

    Formula: Mahalanobis distance of 25 measures of the pose (lengths of limbs, head and widths over the trunk's, bends of knees and
        elbows, visibility of joints, silhouette without skeleton and skeleton without silhouette, a wrist without a hand), under
        a Ledoit-Wolf covariance, as its rank among real bodies, each measured against other people; an image has the mean of its
        best expected bodies.
    Source: ours, first version. The real bodies are photographs of seven synthetic people, standing.
    Limits: people who sit, crouch, dance or lie are unusual to it, and so are wide skirts, coats, and hands in pockets. One
        prominent body an image is measured well, small ones are not found.
    Use: compares two models on the same prompts of standing people. Bodies of other builds, and with other or fewer limbs, would score low:
        never apply it to people.
    """

    part = "body"

    def __init__(self, context: MetricContext) -> None:
        self.bodies = load_bodies()

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = expected_bodies(sample.prompt.expects)
        if expected == 0:
            return Unscored("no full body expected")
        return image_plausibility(self.score_parts(sample), expected)

    def score_parts(self, sample: ScoredSample) -> np.ndarray:
        measures_PD = body_measures(sample.features["pose"], sample.features["hands"])
        return np.array([self.bodies.survival(measures_D) for measures_D in measures_PD], dtype=np.float64)

    def explain_parts(self, sample: ScoredSample) -> list[dict[str, float]]:
        measures_PD = body_measures(sample.features["pose"], sample.features["hands"])
        return [{"shape": self.bodies.distance(measures_D)} for measures_D in measures_PD]
