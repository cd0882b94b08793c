"""The Fréchet distance as a metric on any extractor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.features import EXTRACTORS, ExtractorEntry
from sana_bench.metrics import METRICS, MetricEntry, ScoredSample, has_no_rows, metric_entry, on_every_extractor
from sana_bench.metrics.feature_distance import USUAL, FeatureDistance
from sana_bench.metrics.frechet_distance import frechet_of_subset, frechet_statistics, joined_frechet_statistics
from sana_bench.metrics.frechet_floor import small_sample_floor

# A covariance of N images has rank N - 1 at most. Below eight, which image is left out moves it more than a model does.
MIN_IMAGES = 8


class Frechet(FeatureDistance):
    """Distance in mean and spread of {features} features to real people; biased with few images, where lost variety lowers it.

    The bias hides lost diversity at small N: a model whose images are 10 % less spread can score better than a perfect one
    up to N = 1,000, so below that it is shown and decides nothing. Read it beside the kernel distance, which has no bias, MIND, and the
    diversity metrics.

    Formula: |m_g - m_r|^2 + Tr(S_g) + Tr(S_r) - 2 Tr((S_g S_r)^(1/2)) over means and covariances of generated and real features.
    Source: Heusel et al. 2017 (arXiv 1706.08500), with {features} features instead of Inception-v3's, which make `fid`.
    Limits: {seen}. It depends on N and on the reference people.
    Use: compares two models at the same N with the same real images. Its absolute value means nothing.
    """

    min_images = MIN_IMAGES
    distance = staticmethod(frechet_of_subset)

    def reduce(self, generated_RD: np.ndarray, real_SD: np.ndarray) -> dict[str, np.ndarray]:
        return frechet_statistics(generated_RD, real_SD, only_similarities=not EXTRACTORS.get(self.extractor).kept)

    @classmethod
    def join(cls, baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        return joined_frechet_statistics(baseline, candidate)

    def note(self, samples: Sequence[ScoredSample]) -> str:
        """What people must know beside the value: how much of it few images alone would make. Of several rows an image, which are not independent, nothing."""
        one_each = not EXTRACTORS.get(self.extractor).rows
        floor = small_sample_floor(self.real.features_RD, len(samples)) if one_each else None
        return f"{len(samples)} images like the {self.real.num_images} real ones would read about {floor:.3g}" if floor is not None else ""


# EfficientNet: for photographs of two groups of people it is 53 at N = 196 and 90 at N = 16; a blur of 3 pixels at 512 adds 27. Five is
# a fifth of that blur, and about one standard deviation of a paired difference at N = 16. Unit features of CLIP are at most 2 apart.
# Native patches of nine photographs of 2048 px: JPEG of quality 75 adds 2, 1024 px enlarged 4, a blur of one pixel 9. Hands: a finger less on
# each adds 8; faces whose features are blurred by a hundredth of their size: 15.
BUDGET, BUDGET_OF_UNIT_FEATURES, BUDGETS = 5.0, 0.02, {"patches_efficientnet_lite0": 3.0}
SEEN = {"patches_efficientnet_lite0": ("picture_blurred", "picture_compressed", "picture_upscaled", "picture_noisy", "set_collapsed"),
        "hand_crops_efficientnet_lite0": ("hand_overlong_finger", "hand_missing_finger", "hand_added_finger", "hand_fused_fingers"),
        "face_crops_efficientnet_lite0": ("face_blurred_features", "face_asymmetric", "set_collapsed")}


def _frechet_on(extractor: str) -> MetricEntry:
    usual_budget = BUDGET_OF_UNIT_FEATURES if EXTRACTORS.get(extractor).text else BUDGET
    return metric_entry(Frechet.on(extractor), name=f"fd_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=False,
                        unit="squared feature units", budget=BUDGETS.get(extractor, usual_budget), needs_reference=True, fewest_images=1000,
                        usual=extractor == USUAL, sees=SEEN.get(extractor, ("set_collapsed", "one_gender")))


def _why_no_frechet(entry: ExtractorEntry) -> str:
    return 'is what "fid" is made of' if entry.name == "inception_v3" else has_no_rows(entry)


on_every_extractor("fd", _frechet_on, "Fréchet distance", why_not=_why_no_frechet)
METRICS.register("fd_dinov2", _frechet_on("dinov2"))  # listed, since people know it by name
