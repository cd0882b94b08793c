"""Hands: are they there, and do their bones have the proportions of real hands?

MediaPipe always returns five fingers of 21 points, so an extra or a fused finger is seen only through the proportions it
bends. Its confidence says little about broken hands; the share of expected hands that it finds, and their shape, say more.

Legend: H hands, B = 15 bones, xy in pixels.
"""

from __future__ import annotations

import numpy as np

from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.shape import fit_shapes

# MediaPipe's hand: 0 wrist, then four points from knuckle to tip for thumb, index, middle, ring and little finger.
BONES = np.array([(first, first + 1) for finger in range(5) for first in range(4 * finger + 1, 4 * finger + 4)])
PALM = np.array([(0, 5), (0, 9), (0, 13), (0, 17), (5, 9), (9, 13), (13, 17)])

# A bone that points at the camera has almost no length in the image, and the logarithm of what is left would be noise. With
# this floor the deviations of real hands of unseen people spread by 0.7 instead of 1.1; those of damaged hands stayed apart.
SHORTEST_BONE = 0.15

# 15 proportions with a shrunk covariance; below a dozen hands the shrinkage leaves little but the identity.
MIN_REFERENCE_HANDS = 12


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


# Five in a hundred expected hands: fewer cannot be told apart with a few dozen images, more is seen by eye.
@register_metric("hand_rate", version=1, kind="sample", extractor="hands", higher_is_better=True, unit="share", budget=0.05)
class HandRate:
    """Share of the hands a prompt asks for that a hand detector finds; more than asked for counts as all."""

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = sample.prompt.expects.hands
        if expected == 0:
            return Unscored("no hands expected")
        return min(len(sample.features["hands"]["keypoints"]) / expected, 1.0)


# Half of what jitter of 1 % of the hand's size costs (1.0 to 1.6 on photographs of people that the fit had not seen).
@register_metric("hand_shape_deviation", version=2, kind="sample", extractor="hands", higher_is_better=False,
                 unit="times the median real hand", budget=0.3, needs_reference=True)
class HandShapeDeviation:
    """How far the finger proportions of found hands are from real hands seen by the same detector; a new real hand has about 1.1.

    Mahalanobis distance of 15 log bone ratios under a Ledoit-Wolf covariance, over the median of held-out real hands; an
    image has the mean of its hands. Hands too broken to be found do not count here but in `hand_rate`: read both.
    """

    def __init__(self, context: MetricContext) -> None:
        hands = [features["hands"]["keypoints"].reshape(-1, 21, 2) for features in context.reference]
        people = [person for person, each in zip(context.reference_people, hands, strict=False) for _ in each]
        keypoints_H21xy = np.concatenate([np.empty((0, 21, 2)), *hands])
        self.reference = fit_shapes(bone_ratios(keypoints_H21xy), people, MIN_REFERENCE_HANDS, "hand(s)")

    def score(self, sample: ScoredSample) -> float | Unscored:
        keypoints_H21xy = sample.features["hands"]["keypoints"]
        if len(keypoints_H21xy) == 0:
            return Unscored("no hand found")
        return float(np.mean([self.reference.relative_distance(ratios_B) for ratios_B in bone_ratios(keypoints_H21xy)]))
