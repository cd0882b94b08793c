"""Fréchet distance between pooled features of generated images and of real people.

    FD = |m_g - m_r|^2 + Tr(S_g) + Tr(S_r) - 2 Tr((S_g S_r)^(1/2))

With N images in D dimensions the trace of the root is the sum of the roots of the eigenvalues of an N x N matrix, so that
no D x D root is taken: the non-zero eigenvalues of S_g S_r are those of X_c S_r X_c' / (N - 1), X_c being the centred
generated features. Centring is done on the N x N matrices too, so any subset of images costs one small eigenproblem. From N > D on
the D x D matrix in the axes of S_r is the smaller one, and no N x N matrix is made or kept.

Where an image has several rows (patches, hands), the moments are those of all rows of the chosen images together, and N counts rows.

Legend: N generated rows, M real rows, D feature dimensions.
Source: Heusel et al. 2017 (arXiv 1706.08500), eq. 6; Gram form as in FastFID (Mathiasen and Hvilshøj, arXiv 2009.14075).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.metrics.feature_distance import joined


def frechet_statistics(generated_ND: np.ndarray, real_MD: np.ndarray, *, only_similarities: bool = False) -> dict[str, np.ndarray]:
    """What the distance of any subset of the generated rows needs.

    Args:
        generated_ND: (N, D) float64 features.
        real_MD: (M, D) float64 features, M at least 2.
        only_similarities: no row by itself, however many there are.

    Returns:
        Up to N = D and for only_similarities, `gram`: (N, N) inner products of the generated features about the real mean, and `folded_gram`: the same with
        the real covariance between; but for only_similarities also what they are products of, in float32, for `joined_frechet_statistics`. Above, `along_axes`: (N, D) the generated features about the real mean along the real
        covariance's axes, and `axis_variances`: (D,) its variances along them. In both, `real_trace`: (1,) its trace. All float64:
        the roots of float32's rounding errors would add up.
    """
    centred_MD = real_MD - real_MD.mean(0)
    shifted_ND = generated_ND.reshape(-1, real_MD.shape[1]) - real_MD.mean(0)
    freedom = len(real_MD) - 1
    real_trace = np.array([np.square(centred_MD).sum() / freedom])
    if len(shifted_ND) > shifted_ND.shape[1] and not only_similarities:
        variances_D, axes_DD = np.linalg.eigh(centred_MD.T @ centred_MD / freedom)
        return {"along_axes": shifted_ND @ axes_DD, "axis_variances": variances_D.clip(0), "real_trace": real_trace}
    projected_NM = shifted_ND @ centred_MD.T / np.sqrt(freedom)
    grams = {"gram": shifted_ND @ shifted_ND.T, "folded_gram": projected_NM @ projected_NM.T, "real_trace": real_trace}
    return grams if only_similarities else grams | {"shifted": shifted_ND.astype(np.float32), "projected": projected_NM.astype(np.float32)}


def joined_frechet_statistics(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Statistics of the rows of both sides as one set; None where only similarities of one side are there, or each side has another form."""
    both = joined(baseline, candidate, ("along_axes",)) or joined(baseline, candidate, ("shifted", "projected"))
    if both is None or "shifted" not in both:
        return both
    shifted, projected = both.pop("shifted").astype(np.float64), both.pop("projected").astype(np.float64)
    return both | {"gram": shifted @ shifted.T, "folded_gram": projected @ projected.T}


def frechet_of_subset(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
    """Fréchet distance of the chosen generated rows, in squared feature units; lower is better, 0 is equal moments.

    Args:
        statistics: of `frechet_statistics`.
        indices: (n,) integers into the generated rows, n at least 2.
    """
    n = len(indices)
    if "gram" in statistics:
        block = np.ix_(indices, indices)
        gram_nn, folded_nn = statistics["gram"][block], statistics["folded_gram"][block]
        shift = gram_nn.mean()
        generated_trace = (np.trace(gram_nn) - n * shift) / (n - 1)
        folded = (folded_nn - folded_nn.mean(0) - folded_nn.mean(1)[:, None] + folded_nn.mean()) / (n - 1)
    else:
        rows_nD = statistics["along_axes"][indices]
        shift = np.square(rows_nD.mean(0)).sum()
        rows_nD = rows_nD - rows_nD.mean(0)
        generated_trace = np.square(rows_nD).sum() / (n - 1)
        rows_nD *= np.sqrt(statistics["axis_variances"])
        folded = rows_nD.T @ rows_nD / (n - 1)
    value = shift + generated_trace + statistics["real_trace"][0] - 2 * _sum_of_roots(folded)
    return max(float(value), 0.0)


def _sum_of_roots(symmetric: np.ndarray) -> float:
    """Of the eigenvalues. Rounding leaves the null space at about n eps times the largest one; n of its roots would be seen."""
    eigenvalues = np.linalg.eigvalsh(symmetric)
    eigenvalues[eigenvalues < len(symmetric) * np.finfo(np.float64).eps * eigenvalues[-1]] = 0
    return float(np.sqrt(eigenvalues.clip(0)).sum())


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
