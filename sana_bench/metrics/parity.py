"""For whom are images worse? The widest gap of a metric between groups of gender and of skin tone: whom a prompt asks for, or else whom an image shows.

The largest of several noisy differences is positive where there is none. Simulated (2000 sets, values of standard deviation 1
at one image a prompt, two genders, three tones with equal shares / shares 0.6, 0.3 and 0.1): the mean gap read

    images              24           48           96           192
    no true gap         0.60 / 0.46  0.47 / 0.41  0.33 / 0.39  0.23 / 0.29
    0.5 between genders 0.72 / 0.64  0.63 / 0.59  0.53 / 0.57  0.50 / 0.52
    1 between genders   1.06 / 1.01  1.02 / 1.02  1.00 / 1.01  1.00 / 1.00

Nothing is subtracted. Both sides of a comparison carry about the same bias, but it hides what opens: of a gap that grows from 0
to 1, half shows with 24 images and two thirds with 96. Below FEWEST_IMAGES it is therefore shown and not judged.

A face that is too broken to be found has no perceived group, and would take its bad value out of its group's mean. Images without
a face where one is expected are therefore counted for whichever group that makes the gap widest: it never shrinks by losing faces.

Legend: n images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import METRICS, MetricContext, MetricEntry, ScoredSample, Unscored, register_metric
from sana_bench.metrics.feature_distance import joined
from sana_bench.metrics.perceived import ATTRIBUTES, NO_FACE, NOT_SEEN, perceived_class
from sana_bench.prompts import Attribute
from sana_bench.significance import fewest_prompts

GROUPED: tuple[Attribute, ...] = ("gender", "skin_tone")

GROUPING = tuple(ATTRIBUTES[attribute].extractor for attribute in GROUPED)
"""Extractors that tell the groups."""

SMALLEST_GROUP = fewest_prompts()
"""Prompts that a group must be drawn from, as for a verdict: with fewer, one odd prompt makes the gap."""

FEWEST_IMAGES = 96


UNDETERMINED, LOST = -1, -2
"""Labels of images without a group: of a face that is in none, and of a face that is expected and not found."""


def worst_gap(values_n: np.ndarray, labels_n: np.ndarray, prompts_n: np.ndarray) -> float | None:
    """Largest minus smallest mean of the groups that are large enough, lost images counted for the group that makes it widest.

    None where fewer than two groups are large enough. A group that falls under the smallest size when a prompt is left out takes
    its gap along, which widens the interval.

    Args:
        values_n: (n,) float.
        labels_n: (n,) integer groups, or UNDETERMINED or LOST.
        prompts_n: (n,) integers, equal for images of one prompt.
    """
    groups = [values_n[labels_n == group] for group in np.unique(labels_n[labels_n >= 0])
              if len(np.unique(prompts_n[labels_n == group])) >= SMALLEST_GROUP]
    if len(groups) < 2:
        return None
    best, lost = max(group.mean() for group in groups), values_n[labels_n == LOST]
    worst = min(min(group.mean(), np.concatenate([group, lost]).mean()) for group in groups)
    return float(best - worst)


def grouped_metrics() -> dict[str, MetricEntry]:
    """What groups are compared on, by part."""
    names = {"hand": "hand_plausibility", "face": "face_plausibility", "clip": "clip_score_tiny_clip"}
    return {part: METRICS.get(name) for part, name in names.items()}


class _Parity:
    """What the three metrics share; each says the metric of which it takes the gap."""

    of: MetricEntry

    def __init__(self, context: MetricContext) -> None:
        self.metric = self.of.make(context)

    def usable(self, sample: ScoredSample) -> Unscored | None:
        if all(_label(attribute, sample) == UNDETERMINED for attribute in GROUPED):
            return perceived_class(GROUPED[0], sample.features)
        value = self.metric.score(sample)
        return value if isinstance(value, Unscored) else None

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        """Values, a label of each attribute and a number of each prompt, the same in every result."""
        prompts_n = np.array([int.from_bytes(hashlib.sha256(sample.prompt.id.encode()).digest()[:8], "big") >> 1 for sample in samples], np.int64)
        labels = {attribute: np.array([_label(attribute, sample) for sample in samples], np.int64) for attribute in GROUPED}
        return {"values": np.array([self.metric.score(sample) for sample in samples], float),
                "prompts": prompts_n, **labels}

    @staticmethod
    def evaluate(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        chosen = np.unique(indices)
        values_n, prompts_n = statistics["values"][chosen], statistics["prompts"][chosen]
        gaps = [worst_gap(values_n, statistics[attribute][chosen], prompts_n) for attribute in GROUPED]
        known = [gap for gap in gaps if gap is not None]
        if not known:
            raise InsufficientSamplesError(
                f"{len(chosen)} image(s) with a perceived group, and no attribute has two groups of at least {SMALLEST_GROUP} "
                f"prompts ({_sizes(statistics, chosen)}): add prompts that leave the person open, or raise "
                f"generate.num_images_per_prompt")
        return max(known)

    @staticmethod
    def join(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        return joined(baseline, candidate, ("values", "prompts", *GROUPED))


def _label(attribute: Attribute, sample: ScoredSample) -> int:
    """Whom the prompt asks for, so that no broken face falls out of its group; where it leaves that open, whom the image shows."""
    group = getattr(sample.prompt.asked, attribute) or perceived_class(attribute, sample.features)
    if not isinstance(group, Unscored):
        return ATTRIBUTES[attribute].classes.index(group)
    return LOST if group in (NO_FACE, NOT_SEEN) and sample.prompt.expects.faces else UNDETERMINED


def _sizes(statistics: Mapping[str, np.ndarray], chosen: np.ndarray) -> str:
    """`gender: feminine 7, masculine 2; ...`: prompts of each group."""
    parts = []
    for attribute in GROUPED:
        labels_n, prompts_n = statistics[attribute][chosen], statistics["prompts"][chosen]
        counts = (f"{name} {len(np.unique(prompts_n[labels_n == group]))}"
                  for group, name in enumerate(ATTRIBUTES[attribute].classes))
        parts.append(f"{attribute.replace('_', ' ')}: {', '.join(counts)}")
    return "; ".join(parts)


# Twice the budget of the metric itself: a gap is the difference of two means, each of a part of the images only.
def _register(name: str, of: MetricEntry, *, sees: tuple[str, ...] = ("one_group_damaged",)):
    """As `register_metric`, with what follows from the metric that the gap is of; the version goes up with that one's, too."""
    def register(cls: type) -> type:
        cls.of = of
        return register_metric(
            name, version=3 + of.version, kind="set", extractor=of.extractor, also_reads=(*of.also_reads, *GROUPING),
            higher_is_better=False, unit=of.unit, budget=2 * of.budget, needs_reference=of.needs_reference,
            fewest_images=FEWEST_IMAGES, files=of.files, sees=sees)(cls)
    return register


_OF = grouped_metrics()


@_register("hand_parity", _OF["hand"])
class HandParity(_Parity):
    """How much worse hands are for the worst off group (gender, skin tone) than for the best; 0 is alike.

    Formula: largest minus smallest mean of hand_plausibility over groups of at least six prompts, the worse of gender and skin tone.
    Source: worst-group gap, as in DIG-In (arXiv 2308.06198); groups are those that prompts ask for, or else perceived.
    Limits: the largest of several noisy differences is positive where there is none, so it is judged only with many images; smaller groups
        are left out, and a group that is never drawn has no gap. Images whose expected face is not found count for the group that
        makes the gap widest, so that lost faces widen it.
    Use: shows where to look. Groups in generated images are no people; a small gap is no proof of fairness.
    """


@_register("face_parity", _OF["face"], sees=("one_group_damaged", "one_group_lost"))
class FaceParity(_Parity):
    """How much worse faces are for the worst off group (gender, skin tone) than for the best; 0 is alike.

    Formula: largest minus smallest mean of face_plausibility over groups of at least six prompts, the worse of gender and skin tone.
    Source: worst-group gap, as in DIG-In (arXiv 2308.06198); groups are those that prompts ask for, or else perceived.
    Limits: the largest of several noisy differences is positive where there is none, so it is judged only with many images; smaller groups
        are left out, and a group that is never drawn has no gap. Images whose expected face is not found count for the group that
        makes the gap widest, so that lost faces widen it.
    Use: shows where to look. Groups in generated images are no people; a small gap is no proof of fairness.
    """


@_register("clip_parity", _OF["clip"])
class ClipParity(_Parity):
    """How much worse images match prompts for the worst off group (gender, skin tone); 0 is alike.

    Formula: largest minus smallest mean of clip_score_tiny_clip over groups of at least six prompts, the worse of gender and skin tone.
    Source: worst-group gap, as in DIG-In (arXiv 2308.06198); groups are those that prompts ask for, or else perceived.
    Limits: the largest of several noisy differences is positive where there is none, so it is judged only with many images; smaller groups
        are left out, and a group that is never drawn has no gap. Images whose expected face is not found count for the group that
        makes the gap widest, so that lost faces widen it.
    Use: shows where to look. Groups in generated images are no people; a small gap is no proof of fairness.
    """
