"""Fréchet distance between pooled features of generated images and of real people.

    FD = |m_g - m_r|^2 + Tr(S_g) + Tr(S_r) - 2 Tr((S_g S_r)^(1/2))

With N images in D dimensions the trace of the root is the sum of the roots of the eigenvalues of an N x N matrix, so that
no D x D root is taken: the non-zero eigenvalues of S_g S_r are those of X_c S_r X_c' / (N - 1), X_c being the centred
generated features. Centring is done on the N x N matrices too, so any subset of images costs one small eigenproblem.

Legend: N generated images, M real images, D feature dimensions.
Source: Heusel et al. 2017 (arXiv 1706.08500), eq. 6; Gram form as in FastFID (Mathiasen and Hvilshøj, arXiv 2009.14075).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.errors import ConfigError
from sana_bench.features import EXTRACTORS
from sana_bench.metrics import METRICS, MetricEntry, ScoredSample, metric_entry, on_every_extractor
from sana_bench.metrics.feature_distance import USUAL, FeatureDistance

# A covariance of N images has rank N - 1 at most. Below eight, which image is left out moves it more than a model does.
MIN_IMAGES = 8


def frechet_statistics(generated_ND: np.ndarray, real_MD: np.ndarray) -> dict[str, np.ndarray]:
    """What the distance of any subset of the generated images needs.

    Args:
        generated_ND: (N, D) float64 features.
        real_MD: (M, D) float64 features, M at least 2.

    Returns:
        `gram`: (N, N) inner products of the generated features about the real mean; `folded_gram`: the same with the real
        covariance between; `real_trace`: (1,) trace of the real covariance. All float64: the roots of float32's rounding
        errors would add up.
    """
    centred_MD = real_MD - real_MD.mean(0)
    shifted_ND = generated_ND.reshape(-1, real_MD.shape[1]) - real_MD.mean(0)
    projected_NM = shifted_ND @ centred_MD.T
    freedom = len(real_MD) - 1
    return {"gram": shifted_ND @ shifted_ND.T,
            "folded_gram": projected_NM @ projected_NM.T / freedom,
            "real_trace": np.array([np.square(centred_MD).sum() / freedom])}


def frechet_of_subset(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
    """Fréchet distance of the chosen generated images, in squared feature units; lower is better, 0 is equal moments.

    Args:
        statistics: of `frechet_statistics`.
        indices: (n,) integers into the generated images, n at least 2.
    """
    block = np.ix_(indices, indices)
    gram_nn, folded_nn = statistics["gram"][block], statistics["folded_gram"][block]
    n = len(indices)
    shift = gram_nn.mean()
    generated_trace = (np.trace(gram_nn) - n * shift) / (n - 1)
    centred_nn = folded_nn - folded_nn.mean(0) - folded_nn.mean(1)[:, None] + folded_nn.mean()
    eigenvalues_n = np.linalg.eigvalsh(centred_nn / (n - 1))
    # Rounding leaves the null space at about n eps times the largest eigenvalue; n of its roots would be seen.
    eigenvalues_n[eigenvalues_n < n * np.finfo(np.float64).eps * eigenvalues_n[-1]] = 0
    value = shift + generated_trace + statistics["real_trace"][0] - 2 * np.sqrt(eigenvalues_n.clip(0)).sum()
    return max(float(value), 0.0)


def frechet_distance(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
    """Fréchet distance with unbiased covariances (ddof 1) on both sides, in squared feature units; lower is better.

    It is biased upward by about c/N, and c depends on the model: in a toy with 1,024 dimensions and two equal
    distributions it reads 39 at N = 100 and 7 at N = 1,000. Compare it only at one N and with the same real images.
    Sampling with repeats (a bootstrap) adds bias of its own; leaving groups out (a jackknife) does not.

    Args:
        generated_ND: (N, D) features of generated images, N at least 2.
        real_MD: (M, D) features of real images, M at least 2.
    """
    statistics = frechet_statistics(generated_ND.astype(np.float64), real_MD.astype(np.float64))
    return frechet_of_subset(statistics, np.arange(len(generated_ND)))


class Frechet(FeatureDistance):
    """Distance in mean and spread of {features} features to real people; biased with few images, where lost variety lowers it.

    The bias hides lost diversity at small N: a model whose images are 10 % less spread can score better than a perfect one
    up to N = 1,000, so below that it is shown and decides nothing. Read it beside the kernel distance, which has no bias, MIND, and the
    diversity metrics.

    Formula: |m_g - m_r|^2 + Tr(S_g) + Tr(S_r) - 2 Tr((S_g S_r)^(1/2)) over means and covariances of generated and real features.
    Source: Heusel et al. 2017 (arXiv 1706.08500), with {features} features instead of Inception-v3's, which make `fid`.
    Limits: it sees images as the extractor does, in small: neither blur, noise and texture at 2K nor a broken hand. It depends on N and on the
        reference people.
    Use: compares two models at the same N with the same real images. Its absolute value means nothing.
    """

    min_images = MIN_IMAGES
    reduce = staticmethod(frechet_statistics)
    distance = staticmethod(frechet_of_subset)

    def note(self, samples: Sequence[ScoredSample]) -> str:
        """What people must know beside the value: how much of it few images alone would make."""
        from sana_bench.metrics.frechet_floor import small_sample_floor

        floor = small_sample_floor(self.real_MD, len(samples))
        return f"{len(samples)} images like the {len(self.real_MD)} real ones would read about {floor:.3g}" if floor is not None else ""


# EfficientNet: for photographs of two groups of people it is 53 at N = 196 and 90 at N = 16; a blur of 3 pixels at 512 adds 27. Five is
# a fifth of that blur, and about one standard deviation of a paired difference at N = 16. Unit features of CLIP are at most 2 apart.
BUDGET, BUDGET_OF_UNIT_FEATURES = 5.0, 0.02


def _frechet_on(extractor: str) -> MetricEntry:
    if extractor == "inception_v3":
        raise ConfigError('the Fréchet distance on inception_v3 is called "fid"')
    return metric_entry(Frechet.on(extractor), name=f"fd_{extractor}", version=1, kind="set", extractor=extractor, higher_is_better=False,
                        unit="squared feature units", budget=BUDGET_OF_UNIT_FEATURES if EXTRACTORS.get(extractor).text else BUDGET,
                        needs_reference=True, fewest_images=1000, usual=extractor == USUAL, sees=("set_collapsed", "one_gender"))


on_every_extractor("fd", _frechet_on, "Fréchet distance")
METRICS.register("fd_dinov2", _frechet_on("dinov2"))  # listed, since people know it by name
