"""How a set is composed of classes, and how different its members are: entropies, Hill numbers, distances to a target.

Legend: K classes, n images, H entropy in nats.
"""

from __future__ import annotations

import numpy as np

PSEUDO_COUNT = 0.5
"""Added to the count of every class, in shares and target alike, before a divergence (Jeffreys' prior)."""

EM_STEPS, EM_TOLERANCE = 10_000, 1e-10


def shannon_entropy(shares_K: np.ndarray) -> float:
    """Entropy in nats; classes without a share add nothing."""
    present = shares_K[shares_K > 0]
    return float(-(present * np.log(present)).sum()) + 0.0  # no negative zero


def miller_madow_entropy(counts_K: np.ndarray) -> float:
    """Entropy in nats of the distribution that the counts were drawn from; at least 0.

    The plug-in entropy of few images is too low by about (K - 1) / 2n; this adds that, with the classes that were seen for K.

    Args:
        counts_K: (K,) images of each class, at least one in all.

    Source: G. Miller, "Note on the bias of information estimates" (1955).
    """
    num_images = counts_K.sum()
    return shannon_entropy(counts_K / num_images) + (np.count_nonzero(counts_K) - 1) / (2 * num_images)


def normalised_entropy(counts_K: np.ndarray) -> float:
    """Miller-Madow entropy over that of equal shares, cut at 1, which the correction can exceed; 1 is equal shares."""
    return min(1.0, float(miller_madow_entropy(counts_K) / np.log(len(counts_K))))


def hill_number(shares_K: np.ndarray, order: int) -> float:
    """Effective number of classes, in [1, K].

    Args:
        shares_K: (K,) shares that sum to 1.
        order: 0 counts classes that are there at all, 1 weighs them by their share, 2 mostly sees the common ones.

    Source: M. Hill, "Diversity and evenness", Ecology 54 (1973), equation 1.
    """
    present = shares_K[shares_K > 0]
    if order == 1:
        return float(np.exp(shannon_entropy(present)))
    return float((present**order).sum() ** (1 / (1 - order)))


def divergence_from_target(counts_K: np.ndarray, target_K: np.ndarray) -> float:
    """Kullback-Leibler divergence of the shares from their target, in nats; 0 is on target.

    Both are smoothed in the same way: (n share + 1/2) / (n + K/2). So an empty class, and one to which the target gives no
    share at all, cost a finite amount that grows with the number of images, and shares that equal the target are at 0.

    Args:
        counts_K: (K,) images of each class, at least one in all.
        target_K: (K,) shares that sum to 1.
    """
    num_images, num_classes = counts_K.sum(), len(counts_K)
    scale = num_images + PSEUDO_COUNT * num_classes
    shares_K, wanted_K = (counts_K + PSEUDO_COUNT) / scale, (num_images * target_K + PSEUDO_COUNT) / scale
    return max(0.0, float((shares_K * np.log(shares_K / wanted_K)).sum()))


def mean_deviation_from_target(shares_K: np.ndarray, target_K: np.ndarray) -> float:
    """Mean absolute difference between share and target over the classes; 0 is on target, at most 2 / K."""
    return float(np.abs(shares_K - target_K).mean())


def corrected_shares(counts_K: np.ndarray, confusion_KK: np.ndarray) -> np.ndarray:
    """Shares of the true classes that make what a classifier saw most likely, (K,), not below 0, sum 1.

    Maximum likelihood by EM: p_i <- p_i sum_j (c_j / n) C_ij / (p C)_j. Where C can be inverted and C^-T c / n is a
    distribution, it is that one; else it lies on the edge of the simplex. Only as good as C fits the generated images, and
    the noise of the counts grows as the rows of C become alike.

    Args:
        counts_K: (K,) images that the classifier put into each class, at least one in all.
        confusion_KK: counts or shares, rows true and columns perceived classes; no row is empty.

    Source: the model of misclassification that CLEAM (C. Teo et al., NeurIPS 2023, arXiv 2310.19297) inverts; EM after
    A. Dempster et al. 1977.
    """
    seen_K = counts_K / counts_K.sum()
    chances_KK = confusion_KK / confusion_KK.sum(axis=1, keepdims=True)
    shares_K = np.full(len(counts_K), 1 / len(counts_K))
    for _ in range(EM_STEPS):
        expected_K = shares_K @ chances_KK
        ratio_K = np.divide(seen_K, expected_K, out=np.zeros_like(expected_K), where=expected_K > 0)
        better_K = shares_K * (chances_KK @ ratio_K)
        better_K /= better_K.sum()
        if np.abs(better_K - shares_K).max() < EM_TOLERANCE:
            return better_K
        shares_K = better_K
    return shares_K


def vendi_score(similarity_nn: np.ndarray) -> float:
    """Effective number of different members, in [1, n]: 1 where all are alike, n where none is like another.

    exp of the von Neumann entropy of K / n.

    Args:
        similarity_nn: (n, n) positive semidefinite kernel with ones on its diagonal.

    Source: D. Friedman, A. Dieng, "The Vendi Score", TMLR 2023 (arXiv 2210.02410), definition 3.1.
    """
    eigenvalues_n = np.linalg.eigvalsh(similarity_nn / len(similarity_nn))
    return float(np.exp(shannon_entropy(eigenvalues_n)))
