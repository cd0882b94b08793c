"""CLIP score: how well an image matches its prompt, by one named model.

The scale is torchmetrics' 100 max(cos, 0). Hessel et al. 2021 (arXiv 2104.08718) use 2.5 max(cos, 0) and put "A photo
depicts" before the caption. Values of another model, scale or prefix are not comparable: the model is in the metric's name.
"""

from __future__ import annotations

import numpy as np

from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric


def clip_score(image_D: np.ndarray, text_D: np.ndarray) -> float:
    """100 max(cos(image, text), 0); in [0, 100], higher is better.

    Args:
        image_D: (D,) image embedding, not zero.
        text_D: (D,) text embedding, not zero.
    """
    image_D, text_D = image_D.astype(np.float64), text_D.astype(np.float64)
    cosine = image_D @ text_D / (np.linalg.norm(image_D) * np.linalg.norm(text_D))
    return 100 * float(np.clip(cosine, 0, 1))


# Two points: about what 25 paired prompts can show where a prompt's images differ by 2.5 points (standard deviation).
@register_metric("clip_score_tiny_clip", version=1, kind="sample", extractor="clip_tiny", higher_is_better=True,
                 unit="points of 100", budget=2.0, sees=("captions_swapped",))
class ClipScoreTinyClip:
    """How well each image matches its prompt: 100 times the cosine of tiny-clip's image and text embeddings.

    Formula: 100 max(cos(image, text), 0).
    Source: Hessel et al. 2021 (arXiv 2104.08718), on torchmetrics' scale, without a prefix.
    Limits: tiny-clip has seen seven people. It tells framing, view and setting well, expressions fairly, women from men not at all; it
        does not look at hands. Values of another model, scale or prefix are not comparable.
    Use: compares two models on the same prompts. A higher score is no better picture.
    """

    def __init__(self, context: MetricContext) -> None:
        pass

    def score(self, sample: ScoredSample) -> float | Unscored:
        features = sample.features["clip_tiny"]
        if features["truncated"][0]:
            return Unscored("prompt longer than the model reads")
        return clip_score(features["image"], features["text"])
