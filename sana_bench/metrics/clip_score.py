"""CLIP score: how well an image matches its prompt, by one named model.

What is in the name: `clip_score_<model>` is torchmetrics' 100 max(cos, 0) without a prefix; `clip_s_<model>` is the CLIP-S of Hessel et al.
2021 (arXiv 2104.08718), 2.5 max(cos, 0) with "A photo depicts " before the prompt. <model> is open_clip's architecture and tag, such as
vit_l_14_openai, or a name that the recipe declares with [[score.clip_model]], with the prefix that stands there. Values of another model,
scale or prefix are not comparable.
"""

from __future__ import annotations

import numpy as np

from sana_bench.errors import ConfigError
from sana_bench.features import EXTRACTORS
from sana_bench.features.open_clip_models import DEPICTS, FAMILY
from sana_bench.metrics import METRICS, MetricContext, MetricEntry, ScoredSample, metric_entry, register_metric, variant_of

CUT = "prompt longer than the model reads, cut"


def cosine(image_D: np.ndarray, text_D: np.ndarray) -> float:
    """cos(image, text); in [-1, 1].

    Args:
        image_D: (D,) image embedding, not zero.
        text_D: (D,) text embedding, not zero.
    """
    image_D, text_D = image_D.astype(np.float64), text_D.astype(np.float64)
    return float(np.clip(image_D @ text_D / (np.linalg.norm(image_D) * np.linalg.norm(text_D)), -1, 1))


def clip_score(image_D: np.ndarray, text_D: np.ndarray) -> float:
    """100 max(cos(image, text), 0); in [0, 100], higher is better. The arguments are those of `cosine`."""
    return 100 * max(cosine(image_D, text_D), 0.0)


def clip_s(image_D: np.ndarray, text_D: np.ndarray) -> float:
    """2.5 max(cos(image, text), 0); in [0, 2.5], higher is better. The arguments are those of `cosine`."""
    return 2.5 * max(cosine(image_D, text_D), 0.0)


class OfImageAndPrompt:
    """A sample metric on the embeddings of an image and its prompt in one space."""

    extractor: str
    """Set by `register_metric`."""

    @classmethod
    def on(cls, extractor: str) -> type[OfImageAndPrompt]:
        """The same metric on another extractor, with a card that names it."""
        return variant_of(cls, extractor, model=extractor)

    def __init__(self, context: MetricContext) -> None:
        """It needs no reference."""

    def flag(self, sample: ScoredSample) -> str:
        """What must be said of an image's value: the model has not seen the whole prompt. Empty where there is nothing."""
        return CUT if sample.features[self.extractor]["truncated"][0] else ""


class ClipScore(OfImageAndPrompt):
    """How well each image matches its prompt: 100 times the cosine of image and text, by {model}.

    Formula: 100 max(cos(image, text), 0), on the embeddings of {model} in float32, without a prefix unless the recipe declares one.
    Source: torchmetrics' CLIPScore; Hessel et al. 2021 (arXiv 2104.08718) on another scale and with a prefix, which is clip_s.
    Limits: CLIP sees images in small (224 px and alike), counts badly, and does not see whether a hand is whole. Prompts beyond the context
        (77 tokens for OpenAI's) are cut and said so. Values of another model, scale or prefix are not comparable.
    Use: compares two models on the same prompts. A higher score is no better picture.
    """

    def score(self, sample: ScoredSample) -> float:
        features = sample.features[self.extractor]
        return clip_score(features["image"], features["text"])


# Two points: about what 25 paired prompts can show where a prompt's images differ by 2.5 points (standard deviation).
@register_metric("clip_score_tiny_clip", version=1, kind="sample", extractor="clip_tiny", higher_is_better=True,
                 unit="points of 100", budget=2.0, sees=("captions_swapped",))
class ClipScoreTinyClip(ClipScore):
    """How well each image matches its prompt: 100 times the cosine of tiny-clip's image and text embeddings.

    Formula: 100 max(cos(image, text), 0).
    Source: Hessel et al. 2021 (arXiv 2104.08718), on torchmetrics' scale, without a prefix.
    Limits: tiny-clip has seen seven people. It tells framing, view and setting well, expressions fairly, women from men not at all; it
        does not look at hands. Values of another model, scale or prefix are not comparable. Prompts beyond its context are cut.
    Use: compares two models on the same prompts. A higher score is no better picture.
    """


class ClipS(OfImageAndPrompt):
    """How well each image matches its prompt: CLIP-S, 2.5 times the cosine of image and text, by {model}.

    Formula: 2.5 max(cos(image, text), 0), on the embeddings of {model} in float32, with "A photo depicts " before each prompt.
    Source: Hessel et al. 2021 (arXiv 2104.08718), who used ViT-B/32.
    Limits: CLIP sees images in small (224 px and alike), counts badly, and does not see whether a hand is whole. Prompts beyond the context
        (77 tokens for OpenAI's) are cut and said so. Values of another model, scale or prefix are not comparable.
    Use: compares two models on the same prompts. A higher score is no better picture.
    """

    def score(self, sample: ScoredSample) -> float:
        features = sample.features[self.extractor]
        return clip_s(features["image"], features["text"])


# A choice, not a measurement: half a point of 100, and the same cosine in CLIP-S.
BUDGET = 0.5


def _clip_score_on(model: str) -> MetricEntry:
    extractor = EXTRACTORS.get(f"{FAMILY}_{model}").name
    if extractor == ClipScoreTinyClip.extractor:
        raise ConfigError('the CLIP score of tiny-clip is called "clip_score_tiny_clip"')
    return metric_entry(ClipScore.on(extractor), name=f"clip_score_{model}", version=1, kind="sample", extractor=extractor, higher_is_better=True,
                        unit="points of 100", budget=BUDGET, usual=False, sees=("captions_swapped",))


def _clip_s_on(model: str) -> MetricEntry:
    extractor = EXTRACTORS.get(f"{FAMILY}_{model}{DEPICTS}").name
    return metric_entry(ClipS.on(extractor), name=f"clip_s_{model}", version=1, kind="sample", extractor=extractor, higher_is_better=True,
                        unit="points of 2.5", budget=BUDGET / 40, usual=False, sees=("captions_swapped",))


METRICS.register("clip_score_vit_l_14_openai", _clip_score_on("vit_l_14_openai"))
METRICS.add_family("clip_score", _clip_score_on, "CLIP score on torchmetrics' scale, of any CLIP: clip_score_vit_b_32_openai")
METRICS.add_family("clip_s", _clip_s_on, "CLIP-S of Hessel et al., of any CLIP: clip_s_vit_b_32_openai")
