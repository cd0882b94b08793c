"""Hands: are they there, do their bones have the proportions of real hands, and are they whole?

MediaPipe always returns five fingers of 21 points and fits a legal hand to a broken one, so an extra or a fused finger does not show
in its points, and its confidence says little. Hence three numbers: the share of expected hands that it finds, the shape of
those, and how plausible they are to a network that has looked at them.

Legend: H hands, B = 15 bones, xy in pixels.
"""

from __future__ import annotations

import numpy as np

from sana_bench.evidence import calibration_file
from sana_bench.features.proportions import bone_ratios
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.part_plausibility import PartPlausibility
from sana_bench.shape import fit_shapes, image_deviation

# 15 proportions with a shrunk covariance; below a dozen hands the shrinkage leaves little but the identity.
MIN_REFERENCE_HANDS = 12


# Five in a hundred expected hands: fewer cannot be told apart with a few dozen images, more is seen by eye.
@register_metric("hand_rate", version=1, kind="sample", extractor="hands", higher_is_better=True, unit="share", budget=0.05,
                 sees=("hand_erased",))
class HandRate:
    """Share of the hands a prompt asks for that a hand detector finds; more than asked for counts as all.

    Formula: min(found / expected, 1), the mean over images whose prompt expects hands.
    Source: MediaPipe's hand landmarker (Zhang et al. 2020, arXiv 2006.10214); counted over expected hands, as detection alone says
        little about found ones.
    Limits: a broken hand is found nearly as often as a whole one: read it beside hand_plausibility, which counts both. Small, gloved
        and crossed hands are missed, and so are those of somebody whose pose is not found beside others whose hands are.
    Use: compares two models on the same prompts. It is no measure of how well hands are drawn.
    """

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = sample.prompt.expects.hands
        if expected == 0:
            return Unscored("no hand expected")
        return min(len(sample.features["hands"]["keypoints"]) / expected, 1.0)


# Half of what jitter of 1 % of the hand's size costs (1.0 to 1.6 on photographs of people that the fit had not seen).
@register_metric("hand_shape_deviation", version=3, kind="sample", extractor="hands", higher_is_better=False,
                 unit="times the median real hand", budget=0.3, needs_reference=True, sees=("hand_overlong_finger", "hand_erased"))
class HandShapeDeviation:
    """How far finger proportions are from real hands seen by the same detector; a new real hand has about 1.1, a missing one counts as 5.

    Formula: Mahalanobis distance of 15 logarithms of bone length over palm size, in the image plane, under a Ledoit-Wolf covariance of
        the reference hands, over the median of held-out reference hands, at most 5; an image has the mean of its best expected hands.
    Source: mean joint ratio difference (Annotated Hands, arXiv 2401.15075); covariance shrunk as in Ledoit and Wolf 2004.
    Limits: where many hands are missing it says little more than hand_rate. It needs a dozen real hands in the reference, and knows only
        their poses.
    Use: compares two models on the same prompts. Unusual hands are not wrong hands: never judge a person's hand by it.
    """

    def __init__(self, context: MetricContext) -> None:
        hands = [features["hands"]["keypoints"].reshape(-1, 21, 2) for features in context.reference]
        people = [person for person, each in zip(context.reference_people, hands, strict=False) for _ in each]
        keypoints_H21xy = np.concatenate([np.empty((0, 21, 2)), *hands])
        self.reference = fit_shapes(bone_ratios(keypoints_H21xy), people, MIN_REFERENCE_HANDS, "hand(s)")

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = sample.prompt.expects.hands
        if expected == 0:
            return Unscored("no hand expected")
        ratios_HB = bone_ratios(sample.features["hands"]["keypoints"].reshape(-1, 21, 2))
        return image_deviation(np.array([self.reference.relative_distance(ratios_B) for ratios_B in ratios_HB]), expected)


@register_metric("hand_plausibility", version=1, kind="sample", extractor="hand_evidence", higher_is_better=True, unit="probability",
                 budget=0.05, files=(calibration_file("hand"),),
                 sees=("hand_warped", "hand_fused_fingers", "hand_missing_finger", "hand_overlong_finger", "hand_added_finger", "hand_erased"))
class HandPlausibility(PartPlausibility):
    """Calibrated probability that the hands a prompt asks for are there and whole; a missing hand counts as 0.

    A hand's value joins what a small network sees in it, how far its proportions are from real ones, and how much its landmarks shift
    when the picture is turned, resized and mirrored; the weights below say how much each of them counts.

    Formula: a hand has 1 / (1 + exp(b + sum w_k z_k)) over its standardised parts; an image has the mean of its best expected hands.
    Source: ours. The network (EfficientNet-lite0 and a dense head) and the weights are fitted on graded damage of photographs of
        synthetic people, calibrated on people that the network's twin had not seen.
    Limits: it knows seven people and few poses, most of them hanging hands, and damage done to photographs, not by a generator; held-out
        kinds are partly made with the same operations on pixels as learned ones. A third hand beside two good ones does not lower it.
    Use: compares two models on the same prompts. 0.5 is where whole and damaged photographs are equally likely, not a pass mark.
        People with other than five fingers would score low: never apply it to people.
    """

    part = "hand"
