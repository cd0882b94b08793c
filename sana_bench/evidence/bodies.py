"""Real standing bodies, summed up: what body_plausibility compares with. Nothing is learned from damage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.errors import AssetError
from sana_bench.evidence import calibration_file
from sana_bench.shape import ShapeReference, fit_shapes, reference_from_json, reference_to_json

FEWEST_BODIES = 24
LEAST_SPREAD = 0.05
"""Of a measure among real bodies: one that hardly varies among a few dozen would otherwise outweigh all others."""


@dataclass(frozen=True)
class Bodies:
    """Measures of real bodies in units of their spread, and the shapes of these."""

    centre_D: np.ndarray
    scale_D: np.ndarray
    shapes: ShapeReference

    def distance(self, measures_D: np.ndarray) -> float:
        """Distance to the real bodies, in medians of theirs."""
        return self.shapes.relative_distance((measures_D - self.centre_D) / self.scale_D)

    def survival(self, measures_D: np.ndarray) -> float:
        """Share of real bodies at least as unusual, in [1 / (M + 1), 1]."""
        return self.shapes.survival((measures_D - self.centre_D) / self.scale_D)


def fit_bodies(measures_PD: np.ndarray, people: list[str]) -> Bodies:
    """Raises InsufficientSamplesError with fewer than FEWEST_BODIES bodies."""
    centre_D, scale_D = measures_PD.mean(axis=0), np.maximum(measures_PD.std(axis=0), LEAST_SPREAD)
    return Bodies(centre_D, scale_D, fit_shapes((measures_PD - centre_D) / scale_D, people, FEWEST_BODIES, "full body(ies)"))


def bodies_document(bodies: Bodies, people: list[str]) -> str:
    return json.dumps({"part": "body", "people": sorted(set(people)), "centre": np.round(bodies.centre_D, 6).tolist(),
                       "scale": np.round(bodies.scale_D, 6).tolist(), "shape": reference_to_json(bodies.shapes)}, indent=1) + "\n"


def load_bodies(path: Path | None = None) -> Bodies:
    """The shipped ones.

    Raises:
        AssetError: the file is missing or damaged.
    """
    path = path or calibration_file("body")
    try:
        document = json.loads(path.read_text())
        return Bodies(*(np.array(document[key], dtype=np.float64) for key in ("centre", "scale")), reference_from_json(document["shape"]))
    except (OSError, ValueError, KeyError) as error:
        raise AssetError(f"{path} is missing or damaged ({error!r}); install sana-bench again, or make it with sana-bench build-evidence") from error
