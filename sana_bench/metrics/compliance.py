"""Whether images show whom their prompts ask for: gender, age and skin tone where a prompt states them."""

from __future__ import annotations

from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.perceived import perceived_class
from sana_bench.prompts import Attribute

NOT_STATED = Unscored("prompt asks for nobody in particular")


class _Compliance:
    """What the three metrics share; each says its attribute."""

    attribute: Attribute

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        asked = getattr(sample.prompt.asked, self.attribute)
        if asked is None:
            return NOT_STATED
        perceived = perceived_class(self.attribute, sample.features)
        return perceived if isinstance(perceived, Unscored) else float(perceived == asked)


# 0.1 everywhere: one image in ten. With the few dozen images of a short run, less is chance.
@register_metric("gender_compliance", version=1, kind="sample", extractor="attributes", higher_is_better=True, unit="share", budget=0.1,
                 sees=("prompts_swapped", "one_gender"))
class GenderCompliance(_Compliance):
    """Share of images that are perceived as the woman or man that their prompt asks for.

    Formula: mean over images whose prompt states a gender of whether the largest face is perceived as that presentation.
    Source: attribute compliance, as in HEIM (arXiv 2311.04287) and T2I-CompBench (arXiv 2307.06350); the classes are perceived.
    Limits: images without a found face or with an undetermined presentation are left out and counted: read face_rate beside it. The
        classifier knows two presentations and was trained on photographs of adults.
    Use: perceived presentation in generated images, in aggregate. It identifies nobody and says nothing about anybody.
    """

    attribute = "gender"


@register_metric("age_compliance", version=1, kind="sample", extractor="attributes", higher_is_better=True, unit="share", budget=0.1,
                 sees=("prompts_swapped",))
class AgeCompliance(_Compliance):
    """Share of images whose person is perceived as of the age band that their prompt asks for.

    Formula: mean over images whose prompt states an age of whether the largest face is perceived as of that band (under 30, 30 to 50, over 50).
    Source: attribute compliance, as in HEIM (arXiv 2311.04287) and T2I-CompBench (arXiv 2307.06350); the classes are perceived.
    Limits: ages near the border of a band are left out and counted. The classifier guesses about five years too low, so that people over 50
        comply less often than they should: compare two models, not two ages.
    Use: perceived age in generated images, in aggregate. It identifies nobody and says nothing about anybody.
    """

    attribute = "age"


# Not usual: what skin tone a picture shows is decided by its light as much as by skin, and the diversity of it fails its own self-test.
@register_metric("skin_tone_compliance", version=1, kind="sample", extractor="skin_tone", higher_is_better=True, unit="share", budget=0.1,
                 usual=False, sees=("prompts_swapped",))
class SkinToneCompliance(_Compliance):
    """Share of images whose skin tone is perceived as the light, medium or dark one that their prompt asks for.

    Formula: mean over images whose prompt states a skin tone of whether the largest face is perceived as of it (Monk 1-4, 5-7, 8-10).
    Source: attribute compliance, as in HEIM (arXiv 2311.04287); tones of the Monk scale (arXiv 2305.09073).
    Limits: half a stop of exposure or a warmer lamp can move a tone into another class: see the measured shifts.
    Use: perceived tone in generated images, in aggregate. It identifies nobody and says nothing about anybody.
    """

    attribute = "skin_tone"
