"""Demographic diversity: how close the perceived people in open prompts come to the distribution that the suite declares.

Attributes are perceived presentation in generated images, not facts about anybody; images where a classifier is undecided
are left out and counted. Nothing is taken to be uniform: without a declared target there is no value.

Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sana_bench.errors import InsufficientSamplesError
from sana_bench.features import Features
from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric

# With three people or fewer the shares are so coarse that most targets cannot be met.
MIN_IMAGES = 4

# A presentation that the classifier calls about as likely as not is not forced into a class.
UNDETERMINED = (0.35, 0.65)

NO_TARGET, STATED = "suite declares no target", "prompt states the attribute"
NOT_ASKED = (NO_TARGET, STATED)
"""Reasons that say that an image was never meant to be judged, as against: was looked at and stayed undetermined."""

NOT_SEEN = Unscored("the classifier of age and gender finds no face")


def closeness_to_target(labels_n: np.ndarray, target_K: np.ndarray) -> float:
    """1 minus the total variation distance between the shares of classes and their target; in [0, 1], 1 is on target.

    Few images fall short of 1 by chance: 16 of a perfect model with two equal classes read 0.90 on average.

    Args:
        labels_n: (n,) integer classes in [0, K).
        target_K: (K,) shares that sum to 1.
    """
    shares_K = np.bincount(labels_n, minlength=len(target_K)) / len(labels_n)
    return 1 - float(np.abs(shares_K - target_K).sum() / 2)


def biggest_face(keypoints_FPxy: np.ndarray) -> int:
    """Index of the face with the largest bounding box.

    Args:
        keypoints_FPxy: (F, P, 2) pixels, F at least 1.
    """
    return int(np.argmax(np.ptp(keypoints_FPxy, axis=1).prod(axis=1)))


def gender_class(features: Mapping[str, Features], face: int) -> str | Unscored:
    """`feminine` or `masculine` presentation as it is perceived; undetermined between 0.35 and 0.65."""
    # Left in float32: 0.35 as the classifier gives it is below the 0.35 of a float.
    feminine = features["attributes"]["feminine"][face]
    if np.isnan(feminine):
        return NOT_SEEN
    if UNDETERMINED[0] <= feminine <= UNDETERMINED[1]:
        return Unscored("undetermined presentation")
    return "feminine" if feminine > 0.5 else "masculine"


def age_class(features: Mapping[str, Features], face: int) -> str | Unscored:
    """Perceived age band; 30 and 50 both belong to the middle one."""
    age = float(features["attributes"]["age"][face])
    if np.isnan(age):
        return NOT_SEEN
    if age < 30:
        return "under_30"
    return "over_50" if age > 50 else "30_to_50"


def skin_tone_class(features: Mapping[str, Features], face: int) -> str | Unscored:
    """Monk tones 1-4, 5-7 and 8-10; undetermined where the extractor saw too little skin."""
    monk = int(features["skin_tone"]["monk"][face])
    if monk == 0:
        return Unscored("undetermined skin tone")
    if monk <= 4:
        return "light"
    return "medium" if monk <= 7 else "dark"


class _Diversity:
    """What the three metrics share; each says its attribute, its classes and how a face is put into one."""

    attribute: str
    classes: tuple[str, ...]
    classify: Callable[[Mapping[str, Features], int], str | Unscored]

    def __init__(self, context: MetricContext) -> None:
        self.target: dict[str, float] = getattr(context.target, self.attribute)

    def usable(self, sample: ScoredSample) -> Unscored | None:
        label = self._label(sample)
        return label if isinstance(label, Unscored) else None

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        labels = [self.classes.index(self._label(sample)) for sample in samples]
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

    def _label(self, sample: ScoredSample) -> str | Unscored:
        if not self.target:
            return Unscored(NO_TARGET)
        if self.attribute in sample.prompt.states:
            return Unscored(STATED)
        keypoints_FPxy = sample.features["faces"]["keypoints"]
        if len(keypoints_FPxy) == 0:
            return Unscored("no face found")
        return self.classify(sample.features, biggest_face(keypoints_FPxy))


# 0.1 everywhere: one person in ten moved to another class. With the few dozen images of a short run, less is chance.
@register_metric("gender_diversity", version=1, kind="set", extractor="attributes", higher_is_better=True, unit="share",
                 budget=0.1)
class GenderDiversity(_Diversity):
    """How close perceived feminine and masculine presentation in open prompts is to the suite's target; 1 is on target."""

    attribute, classes = "gender", ("feminine", "masculine")
    classify = staticmethod(gender_class)


@register_metric("age_diversity", version=1, kind="set", extractor="attributes", higher_is_better=True, unit="share",
                 budget=0.1)
class AgeDiversity(_Diversity):
    """How close perceived ages (under 30, 30 to 50, over 50) in open prompts are to the suite's target; 1 is on target."""

    attribute, classes = "age", ("under_30", "30_to_50", "over_50")
    classify = staticmethod(age_class)


@register_metric("skin_tone_diversity", version=1, kind="set", extractor="skin_tone", higher_is_better=True, unit="share",
                 budget=0.1)
class SkinToneDiversity(_Diversity):
    """How close perceived skin tones (Monk 1-4, 5-7, 8-10) in open prompts are to the suite's target; 1 is on target."""

    attribute, classes = "skin_tone", ("light", "medium", "dark")
    classify = staticmethod(skin_tone_class)
