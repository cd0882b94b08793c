"""One calibrated number from several kinds of evidence: the probability that a hand or a face is a whole one.

    plausibility = 1 / (1 + exp(bias + sum of weight * (part - centre) / scale))

Calibrated on people from whom neither the networks nor the shapes have learned, with as many whole as damaged photographs: 0.5 is
where both are equally likely. It is no probability that a generator's hand is right, since nobody knows how often that is so.

Legend: F hands or faces, K parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.errors import AssetError, MetricError
from sana_bench.evidence import calibration_file
from sana_bench.features import Features
from sana_bench.features.proportions import (
    bone_ratios, face_asymmetry, face_points, face_ratios, gaze_mismatch, is_facing, mouth_offset)
from sana_bench.shape import ShapeReference, mean_of_expected, reference_from_json, reference_to_json

PARTS = {"hand": ("damage", "shape", "instability"), "face": ("damage", "shape", "asymmetry", "gaze", "mouth", "instability")}
"""What each plausibility is made of, in this order; in all of them more is worse.

damage: logit of the network; shape: logarithm of the distance to real shapes, in medians of them; instability: logarithm of the
shift of the landmarks between altered copies; asymmetry, gaze and mouth: logarithms of proportions.py's measures, each at
its centre for a face that is turned away.
"""
LEAST = 0.003
"""Added before a logarithm: below it differences are rounding of the landmarks."""


@dataclass(frozen=True)
class Calibration:
    """How the parts of one kind become one number; read from the package or made by `sana-bench build-evidence`."""

    part: str
    shape: ShapeReference
    centre_K: np.ndarray
    scale_K: np.ndarray
    weight_K: np.ndarray
    bias: float

    def plausibility(self, parts_FK: np.ndarray) -> np.ndarray:
        """(F,) float64 in [0, 1], more is more plausible. A part that is not a number counts as its centre."""
        standard_FK = np.nan_to_num((parts_FK - self.centre_K) / self.scale_K)
        return 1 / (1 + np.exp(np.clip(self.bias + standard_FK @ self.weight_K, -60, 60)))


def parts_of(part: str, shape: ShapeReference, keypoints: Features, evidence: Features) -> np.ndarray:
    """(F, K) float64 parts of every hand or face of an image.

    Args:
        part: `hand` or `face`.
        shape: real shapes of the same detector.
        keypoints: features of the extractor `hands` or `faces`.
        evidence: features of `hand_evidence` or `face_evidence` of the same parts.

    Raises:
        MetricError: the evidence is not finite.
    """
    seen = [evidence["damage_logit"].astype(np.float64), np.log(evidence["instability"].astype(np.float64) + LEAST)]
    if not np.isfinite(seen).all():
        raise MetricError(f"the evidence of a {part} is not finite: the network's weights are damaged. Install sana-bench again, and score again")
    if part == "hand":
        ratios_FD = bone_ratios(keypoints["keypoints"].reshape(-1, 21, 2))
        return np.stack([seen[0], _log_distances(shape, ratios_FD), seen[1]], axis=1)
    points_F478xyz = face_points(keypoints).reshape(-1, 478, 3)
    measures = [np.log(measure(points_F478xyz) + LEAST) for measure in (face_asymmetry, gaze_mismatch, mouth_offset)]
    columns = [_log_distances(shape, face_ratios(points_F478xyz)), *measures]
    turned = ~is_facing(points_F478xyz)
    for column in columns:  # a turned face is judged by what is seen of it, not by points that are guessed
        column[turned] = np.nan
    return np.stack([seen[0], *columns, seen[1]], axis=1)


def _log_distances(shape: ShapeReference, ratios_FD: np.ndarray) -> np.ndarray:
    return np.log(np.array([shape.relative_distance(ratios_D) for ratios_D in ratios_FD], dtype=np.float64) + LEAST)


def fit_calibration(part: str, shape: ShapeReference, parts_NK: np.ndarray, whole_N: np.ndarray, *, penalty: float = 1e-2) -> Calibration:
    """Logistic regression of damage on the parts, both classes weighed alike.

    Args:
        parts_NK: (N, K) of people that are new to the network and the shape.
        whole_N: (N,) bool.
        penalty: weight of the squared coefficients; a coefficient below zero would call damage plausible and is kept at zero.
    """
    from scipy.optimize import minimize

    centre_K, scale_K = np.nanmean(parts_NK[whole_N], axis=0), np.nanstd(parts_NK, axis=0) + 1e-9
    standard_NK = np.nan_to_num((parts_NK - centre_K) / scale_K)
    sign_N = np.where(whole_N, -1.0, 1.0)
    share_N = np.where(whole_N, 0.5 / whole_N.sum(), 0.5 / (~whole_N).sum())

    def loss(values: np.ndarray) -> float:
        logits_N = values[0] + standard_NK @ values[1:]
        return float((share_N * np.logaddexp(0, -sign_N * logits_N)).sum() + penalty * np.square(values[1:]).sum())

    found = minimize(loss, np.zeros(parts_NK.shape[1] + 1), bounds=[(None, None), *[(0, None)] * parts_NK.shape[1]], method="L-BFGS-B")
    return Calibration(part, shape, centre_K, scale_K, found.x[1:], float(found.x[0]))


def calibration_document(calibration: Calibration, facts: Mapping[str, object]) -> str:
    """JSON of a calibration, with what is to be known of how it was made."""
    def numbers(values: np.ndarray) -> list:
        return np.round(values, 6).tolist()

    named = {name: {"centre": centre, "scale": scale, "weight": weight} for name, centre, scale, weight in zip(
        PARTS[calibration.part], numbers(calibration.centre_K), numbers(calibration.scale_K), numbers(calibration.weight_K), strict=True)}
    return json.dumps({"part": calibration.part, "bias": round(calibration.bias, 6), "parts": named, **facts,
                       "shape": reference_to_json(calibration.shape)}, indent=1) + "\n"


def load_calibration(part: str, path: Path | None = None) -> Calibration:
    """The shipped calibration of `hand` or `face`.

    Raises:
        AssetError: the file is missing or damaged.
    """
    path = path or calibration_file(part)
    try:
        document = json.loads(path.read_text())
        named = [document["parts"][name] for name in PARTS[part]]
        centre, scale, weight = (np.array([each[key] for each in named], dtype=np.float64) for key in ("centre", "scale", "weight"))
        return Calibration(part, reference_from_json(document["shape"]), centre, scale, weight, float(document["bias"]))
    except (OSError, ValueError, KeyError) as error:
        raise AssetError(f"{path} is missing or damaged ({error!r}); install sana-bench again, or make it with sana-bench build-evidence") from error


def image_plausibility(plausibility_F: Sequence[float] | np.ndarray, expected: int) -> float:
    """What one image gets: the best `expected` of its parts, missing ones as 0, on average; in [0, 1].

    A part that is too broken to be found therefore never raises it.
    """
    return mean_of_expected(np.sort(np.asarray(plausibility_F, dtype=np.float64))[::-1], expected, missing=0.0)
