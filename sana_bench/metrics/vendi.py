"""How different the faces of open prompts are from one another: a Vendi score, which knows no classes and needs no labels.

The kernel is exp(-d^2 / 2h^2) of the distance d of unit features, h = BANDWIDTH. Measured on photographs of OpenPeople's ten
people, 16 images a set: one person with 16 expressions has 2.9 to 5.8 different faces, the ten people 6.8 to 9.1. Cosines of
these features, all above zero, are near 1 for anybody (0.87 within a person, 0.75 between): 1.5 to 2.2 against 2.6 to 3.3.
Cosines after the mean face is taken off tell worse: 3.1 to 9.5 against 9.8 to 12.3.

Light, hair, expression and damage make faces different as well as people do, so read it beside the shares of classes and
the plausibility of faces: it rises where faces break in many ways.

Legend: n images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.metrics import MetricContext, ScoredSample, Unscored, register_metric
from sana_bench.metrics.composition import vendi_score
from sana_bench.metrics.feature_distance import check_num_images, feature_matrix
from sana_bench.metrics.perceived import NO_FACE, STATED

BANDWIDTH = 0.5
"""Of the kernel, in lengths of unit features: two photographs of one person are 0.5 apart, of two people 0.7 (medians)."""

MIN_IMAGES = 4
"""Two or three faces are nearly always different."""


def face_kernel(features_nD: np.ndarray) -> np.ndarray:
    """(n, n) float64 similarities in (0, 1], 1 on the diagonal.

    Args:
        features_nD: (n, D) float64, no row zero.
    """
    unit_nD = features_nD / np.linalg.norm(features_nD, axis=1, keepdims=True)
    squares_nn = (2 - 2 * unit_nD @ unit_nD.T).clip(0)
    np.fill_diagonal(squares_nn, 0)
    return np.exp(-squares_nn / (2 * BANDWIDTH**2))


# A quarter of what lies between one person and ten on 16 photographs (0.29 and 0.49).
@register_metric("vendi_faces_efficientnet_lite0", version=1, kind="set", extractor="face_features", higher_is_better=True,
                 unit="different faces per face", budget=0.05, sees=("set_collapsed",))
class VendiFaces:
    """Effective number of different faces (Vendi score) over the number of faces, in images whose prompt leaves the person open.

    In (0, 1]. More images repeat more, so only sets of one size can be compared; pairs always are. Of the features, only the
    similarities between images are kept.

    Formula: exp(-sum l log l) / n over the eigenvalues l of K / n, K the Gaussian kernel of unit EfficientNet-lite0 features of the faces.
    Source: Friedman and Dieng 2023 (arXiv 2210.02410).
    Limits: light, hair, expression and damage make faces different as well as people do: it rises where faces break in many ways.
    Use: read it beside the shares of classes and the plausibility of faces. It identifies nobody.
    """

    def __init__(self, context: MetricContext) -> None:
        pass

    def usable(self, sample: ScoredSample) -> Unscored | None:
        if {"gender", "age"} & set(sample.prompt.states):
            return Unscored(STATED)
        return None if len(sample.features["face_features"]["features"]) else NO_FACE

    def statistics(self, samples: Sequence[ScoredSample]) -> dict[str, np.ndarray]:
        features = feature_matrix([{"features": sample.features["face_features"]["features"][0]} for sample in samples])
        return {"similarity": face_kernel(features) if samples else np.zeros((0, 0))}

    @staticmethod
    def evaluate(statistics: Mapping[str, np.ndarray], indices: np.ndarray) -> float:
        chosen = np.unique(indices)
        check_num_images(len(chosen), MIN_IMAGES, "generated")
        return vendi_score(statistics["similarity"][np.ix_(chosen, chosen)]) / len(chosen)

    @staticmethod
    def join(baseline: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> None:
        """No features of faces are kept, so nothing tells how alike a face of one side is to one of the other."""
