"""Learned rewards: CLIP models that were tuned on which of two images people chose. They run in open_clip like any other CLIP.

ImageReward and HPSv3 are left out (LEFT_OUT says why). HPSv2's own package is not needed either: it pins protobuf below 4 and pytest 7.
"""

from __future__ import annotations

from sana_bench.metrics import ScoredSample, register_metric
from sana_bench.metrics.clip_score import OfImageAndPrompt, cosine

LEFT_OUT = {
    "ImageReward": "its package (image-reward 1.5) pins timm 0.6.13 and imports what transformers 5 no longer has",
    "HPSv3": "its package (hpsv3 1.0.0) pins transformers 4.45.2, and its model is a Qwen2-VL of 7 billion parameters",
}
"""Rewards that people ask for and that do not run beside the rest, and why. Score with them in an environment of their own."""


# A choice, not a measurement: PickScore's scale is about 100 times the cosine, and a fifth of a point is a small loss on it.
@register_metric("pickscore_v1", version=1, kind="sample", extractor="pickscore_v1", higher_is_better=True, unit="logit", budget=0.2,
                 usual=False, sees=("captions_swapped",))
class PickScore(OfImageAndPrompt):
    """How much people who drew from this prompt would prefer each image, as PickScore learned it from their choices.

    Formula: s cos(image, text), with the model's own logit scale s, about 100.
    Source: Kirstain et al. 2023 (arXiv 2305.01569), PickScore_v1: CLIP ViT-H/14 tuned on Pick-a-Pic, in float32.
    Limits: it learned from users of one website in 2023 and from images of 512 and 768 px; it sees 224 px, and prefers what they did,
        which includes looks of faces and bodies. Prompts beyond 77 tokens are cut and said so.
    Use: compares images of one prompt. A model that was tuned on such a reward is not judged by it.
    """

    def score(self, sample: ScoredSample) -> float:
        features = sample.features[self.extractor]
        return float(features["scale"][0]) * cosine(features["image"], features["text"])


# A choice, not a measurement, as for PickScore.
@register_metric("hps_v2_1", version=1, kind="sample", extractor="hps_v2_1", higher_is_better=True, unit="points of 100", budget=0.3,
                 usual=False, sees=("captions_swapped",))
class HumanPreferenceScore(OfImageAndPrompt):
    """How much annotators would prefer each image for its prompt, as Human Preference Score v2.1 learned it from their choices.

    Formula: 100 cos(image, text), as in the tables of its authors; their package prints a hundredth of it.
    Source: Wu et al. 2023 (arXiv 2306.09341), HPS_v2.1: CLIP ViT-H/14 tuned on HPD v2, in float32.
    Limits: it learned from pairs of images of 512 to 1024 px drawn until 2023; it sees 224 px. PIL resizes here, a float tensor is resized
        there, in half precision on a GPU, so that values differ a little. Prompts beyond 77 tokens are cut and said so.
    Use: compares images of one prompt. A model that was tuned on such a reward is not judged by it.
    """

    def score(self, sample: ScoredSample) -> float:
        features = sample.features[self.extractor]
        return 100 * cosine(features["image"], features["text"])
