"""CMMD: squared maximum mean discrepancy of unit CLIP embeddings under a Gaussian kernel, over all pairs.

    k(x, y) = exp(-|x - y|^2 / 2 sigma^2), sigma = 10;  CMMD = 1000 MMD^2

Unit vectors are at most 2 apart, so the kernel is nearly linear: CMMD is about 10 |difference of the means|^2, within 1 %, and sees
spread only through it. The published code takes the biased estimate; this is the unbiased one (a U-statistic), which is 0 on average
for equal distributions and may be negative. At N = 200 the biased one reads 0.07 there.

Source: Jayasumana et al. 2024 (arXiv 2401.09603), section 4.
"""

from __future__ import annotations

import numpy as np

from sana_bench.metrics import MetricEntry, metric_entry, on_every_extractor, reads_no_texts
from sana_bench.metrics.kernel import KernelFamily

SIGMA, SCALE = 10.0, 1000.0


def gaussian_kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """(N, M) values of exp(-|x - y|^2 / 2 sigma^2) of rows made unit vectors."""
    unit_ND, unit_MD = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x_ND, y_MD))
    return np.exp(-(2 - 2 * unit_ND @ unit_MD.T).clip(0) / (2 * SIGMA**2))


class Cmmd(KernelFamily):
    """Unbiased CMMD of {features} embeddings to real people; about 0 when equal, by chance below.

    Formula: 1000 times the unbiased MMD^2 of unit embeddings under a Gaussian kernel of sigma 10, over all pairs.
    Source: Jayasumana et al. 2024 (arXiv 2401.09603), unbiased, with {features}; published on CLIP ViT-L/14 at 336 px.
    Limits: it is about the squared distance of the mean embeddings: lost variety moves it only with them. It sees images in small.
    Use: compares two models with the same real images.
    """

    kernel = staticmethod(gaussian_kernel)
    scale = SCALE


def _cmmd_on(extractor: str) -> MetricEntry:
    return metric_entry(Cmmd.on(extractor), name=f"cmmd_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=False,
                        unit="MMD² x 1000", budget=0.5, needs_reference=True, sees=("set_collapsed", "one_gender"), usual=extractor == "clip_tiny")


on_every_extractor("cmmd", _cmmd_on, "CMMD, of models that read images and texts", why_not=reads_no_texts)
