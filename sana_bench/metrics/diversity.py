"""Demographic diversity: how close the perceived people in open prompts come to the distribution that the suite declares.

Attributes are perceived presentation in generated images, not facts about anybody; images where a classifier is undecided
are left out and counted. Nothing is taken to be uniform: without a declared target there is no value.

Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.feature_distance import joined
from sana_bench.metrics.perceived import ATTRIBUTES, NO_TARGET, STATED, perceived_class
from sana_bench.prompts import Attribute

# With three people or fewer the shares are so coarse that most targets cannot be met.
MIN_IMAGES = 4


def closeness_to_target(labels_n: np.ndarray, target_K: np.ndarray) -> float:
    """1 minus the total variation distance between the shares of classes and their target; in [0, 1], 1 is on target.

    Few images fall short of 1 by chance: 16 of a perfect model with two equal classes read 0.90 on average.

    Args:
        labels_n: (n,) integer classes in [0, K).
        target_K: (K,) shares that sum to 1.
    """
    shares_K = np.bincount(labels_n, minlength=len(target_K)) / len(labels_n)
    return 1 - float(np.abs(shares_K - target_K).sum() / 2)


class _Diversity:
    """What the three metrics share; each says its attribute."""

    attribute: Attribute

    def __init__(self, context: MetricContext) -> None:
        self.target: dict[str, float] = getattr(context.target, self.attribute)
        self.classes = ATTRIBUTES[self.attribute].classes

    def usable(self, sample: ScoredSample) -> Unscored | None:
        if not self.target:
            return Unscored(NO_TARGET)
        if self.attribute in sample.prompt.states:
            return Unscored(STATED)
        label = perceived_class(self.attribute, sample.features)
        return label if isinstance(label, Unscored) else None

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        labels = [self.classes.index(perceived_class(self.attribute, sample.features)) for sample in samples]
        return {"labels": np.array(labels, dtype=np.int64),
                "target": np.array([self.target.get(name, 0.0) for name in self.classes])}

    @staticmethod
    def evaluate(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        num_images = len(np.unique(indices))
        if num_images < MIN_IMAGES:
            raise InsufficientSamplesError(
                f"{num_images} image(s) of open prompts with a determined person, diversity needs at least {MIN_IMAGES}: "
                "add prompts that leave the attribute open, or raise generate.num_images_per_prompt")
        return closeness_to_target(statistics["labels"][indices], statistics["target"])

    @staticmethod
    def join(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        return joined(baseline, candidate, ("labels",))


# 0.1 everywhere: one person in ten moved to another class. With the few dozen images of a short run, less is chance.
@register_metric("gender_diversity", version=1, kind="set", extractor="attributes", higher_is_better=True, unit="share",
                 budget=0.1, sees=("one_gender",))
class GenderDiversity(_Diversity):
    """How close perceived feminine and masculine presentation in open prompts is to the suite's target; 1 is on target.

    Formula: 1 - half the sum of |share - target| over the classes; images whose class is undetermined are left out and counted.
    Source: total variation distance to a declared target (nothing is taken to be uniform: arXiv 2604.21036).
    Limits: The classifier knows two presentations and leaves others undetermined; it was trained on photographs of adults. Few images fall short of 1 by chance.
    Use: perceived presentation in generated images, in aggregate. It identifies nobody, says nothing about anybody, and is no proof of fairness.
    """

    attribute = "gender"


@register_metric("age_diversity", version=2, kind="set", extractor="attributes", higher_is_better=True, unit="share",
                 budget=0.1, sees=("one_age",))
class AgeDiversity(_Diversity):
    """How close perceived ages (under 30, 30 to 50, over 50) in open prompts are to the suite's target; 1 is on target.

    Formula: 1 - half the sum of |share - target| over the classes; images whose class is undetermined are left out and counted.
    Source: total variation distance to a declared target (nothing is taken to be uniform: arXiv 2604.21036).
    Limits: The classifier guesses about five years too low, and more with strong expressions. Few images fall short of 1 by chance.
    Use: perceived presentation in generated images, in aggregate. It identifies nobody, says nothing about anybody, and is no proof of fairness.
    """

    attribute = "age"


@register_metric("skin_tone_diversity", version=1, kind="set", extractor="skin_tone", higher_is_better=True, unit="share",
                 budget=0.1, sees=("one_skin_tone",))
class SkinToneDiversity(_Diversity):
    """How close perceived skin tones (Monk 1-4, 5-7, 8-10) in open prompts are to the suite's target; 1 is on target.

    Formula: 1 - half the sum of |share - target| over the classes; images whose class is undetermined are left out and counted.
    Source: total variation distance to a declared target (nothing is taken to be uniform: arXiv 2604.21036).
    Limits: Half a stop of exposure or a warmer lamp can move a tone into another class: see the measured shifts. Light decides as well as skin. Few images fall short of 1 by chance.
    Use: perceived presentation in generated images, in aggregate. It identifies nobody, says nothing about anybody, and is no proof of fairness.
    """

    attribute = "skin_tone"
