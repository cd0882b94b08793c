"""How far images are from the base model's own of the same prompts and noise: image by image, and as a set.

What a fine-tune was not meant to change should still look as the base draws it. Image by image any change counts, another
composition included; as a set only what has shifted as a whole does, since other images of the same kind are no distance.

Legend: N images, D feature dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.features import EXTRACTORS
from sana_bench.metrics import MetricContext, MetricEntry, ScoredSample, Unscored, metric_entry, on_every_extractor, variant_of
from sana_bench.metrics.feature_distance import check_num_images, feature_matrix
from sana_bench.metrics.kernel import cubic_kernel, mean_of_distinct

NO_BASE_IMAGE = Unscored("the base model has no image of this prompt and noise")
MIN_IMAGES = 2


def cosine_distance(one_D: np.ndarray, other_D: np.ndarray) -> float:
    """1 - cos; in [0, 2], 0 for the same direction.

    Args:
        one_D: (D,) features, not zero.
        other_D: (D,) features, not zero.
    """
    one_D, other_D = one_D.astype(np.float64), other_D.astype(np.float64)
    unit_D, other_unit_D = one_D / np.linalg.norm(one_D), other_D / np.linalg.norm(other_D)
    return float(np.square(unit_D - other_unit_D).sum() / 2)  # exactly 0 for equal features, as 1 - cos would not be


def paired_kernel(images_ND: np.ndarray, base_ND: np.ndarray, other_images_MD: np.ndarray, other_base_MD: np.ndarray) -> np.ndarray:
    """(N, M): k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), x the images and y the base's own, pair by pair.

    Between a set of pairs and itself, its mean over distinct i and j is the unbiased MMD^2 of two samples that come in pairs, and 0 where both are the same.
    """
    return (cubic_kernel(images_ND, other_images_MD) + cubic_kernel(base_ND, other_base_MD) - cubic_kernel(images_ND, other_base_MD)
            - cubic_kernel(base_ND, other_images_MD))


class Drift:
    """How far {features} features of each image are from the base model's own image of the same prompt and noise.

    Any change counts, for the better too: read it beside a score of what the images should show.

    Formula: 1 - cos(image, base's image); 0 is the base itself.
    Source: the image similarity CLIP-I of Ruiz et al. 2022 (arXiv 2208.12242), taken from 1, on {features} features, and between images
        of one prompt and noise.
    Limits: it sees images as the extractor does, in small, and does not tell another composition from a broken one.
    Use: on prompts that a fine-tune was not meant to change. Where it was meant to change them, a distance is no fault.
    """

    extractor: str
    """Set by `register_metric`."""

    def __init__(self, context: MetricContext) -> None:
        self.base = context.base

    def score(self, sample: ScoredSample) -> float | Unscored:
        if sample.sample_id not in self.base:
            return NO_BASE_IMAGE
        array = EXTRACTORS.get(self.extractor).pooled
        return cosine_distance(*(features[self.extractor][array] for features in (sample.features, self.base[sample.sample_id])))


class KernelDistanceToBase:
    """Kernel distance of {features} features to the base model's own images of the same prompts and noise.

    What no longer looks like the base's images as a whole; other images of the same kind are no distance.

    Formula: 1000 times the unbiased MMD^2 of paired samples under the kernel (x.y / D + 1)^3; 0 is the base itself, by chance below.
    Source: Bińkowski et al. 2018 (arXiv 1801.01401), section 4, and for pairs Gretton et al. 2012 (JMLR 13), lemma 6.
    Limits: it sees images as the extractor does, in small; images that change places are no distance, and lost variety is a small one.
    Use: on prompts that a fine-tune was not meant to change. Where it was meant to change them, a distance is no fault.
    """

    extractor: str
    """Set by `register_metric`."""

    def __init__(self, context: MetricContext) -> None:
        self.base = context.base

    def usable(self, sample: ScoredSample) -> Unscored | None:
        return None if sample.sample_id in self.base else NO_BASE_IMAGE

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        """`kernel`: (N, N) float64; `images` and `base`: (N, D) float32 features, where a file may hold them."""
        if not samples:
            return {"kernel": np.empty((0, 0))}
        array = EXTRACTORS.get(self.extractor).pooled
        images_ND, base_ND = (feature_matrix([features[self.extractor] for features in side], array) for side in (
            [sample.features for sample in samples], [self.base[sample.sample_id] for sample in samples]))
        features = {"images": images_ND.astype(np.float32), "base": base_ND.astype(np.float32)} if EXTRACTORS.get(self.extractor).kept else {}
        return {"kernel": paired_kernel(images_ND, base_ND, images_ND, base_ND)} | features

    @staticmethod
    def evaluate(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        check_num_images(len(np.unique(indices)), MIN_IMAGES, "generated")
        return 1000 * mean_of_distinct(statistics["kernel"], indices)

    @staticmethod
    def join(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        """The kernel between the sides is made of the features, which a baseline from before they were kept lacks."""
        if not all("images" in side for side in (baseline, candidate)):
            return None
        cross = paired_kernel(*(side[name].astype(np.float64) for side in (baseline, candidate) for name in ("images", "base")))
        return {"kernel": np.block([[baseline["kernel"], cross], [cross.T, candidate["kernel"]]])}


# A fifth of the way to an unrelated picture, which is 0.49 of EfficientNet's and 0.83 of tiny-clip's on photographs. Of tiny-sana's images of
# general_guard at 512 px, the recipe's LoRA moved EfficientNet's features by 0.04, one eight times as strong by 0.25, and another noise by 0.4.
DRIFT_BUDGETS = {"efficientnet_lite0": 0.1, "clip_tiny": 0.17}
# EfficientNet: a JPEG of quality 50 is 8 away, a stop darker 18, and of these LoRAs the first 0.2 and the second 6.6; five is the budget of its
# kernel distance to real images. Between tiny-clip's unit vectors the kernel differs less: there a stop darker is 0.5.
KERNEL_BUDGET, KERNEL_BUDGET_OF_UNIT_FEATURES = 5.0, 0.15
SEEN = ("set_collapsed", "one_gender", "picture_darker")


def _drift_on(extractor: str) -> MetricEntry:
    return metric_entry(variant_of(Drift, extractor, features=extractor), name=f"drift_{extractor}", version=1, kind="sample", extractor=extractor, higher_is_better=False,
                        unit="cosine distance", budget=DRIFT_BUDGETS.get(extractor, 0.1), needs_base=True, usual=False, sees=SEEN)


def _kernel_to_base_on(extractor: str) -> MetricEntry:
    return metric_entry(variant_of(KernelDistanceToBase, extractor, features=extractor), name=f"kid_to_base_{extractor}", version=1, kind="set", extractor=extractor,
                        higher_is_better=False, unit="MMD² x 1000", needs_base=True, usual=False, sees=SEEN,
                        budget=KERNEL_BUDGET_OF_UNIT_FEATURES if EXTRACTORS.get(extractor).text else KERNEL_BUDGET)


on_every_extractor("drift", _drift_on, "distance of each image to the base model's own of the same prompt and noise")
on_every_extractor("kid_to_base", _kernel_to_base_on, "kernel distance to the base model's own images")
