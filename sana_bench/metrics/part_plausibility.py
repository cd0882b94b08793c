"""What hand_plausibility and face_plausibility share: calibrated evidence a part, and a score an image that counts missing parts."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sana_bench.evidence.plausibility import PARTS, image_plausibility, load_calibration, parts_of
from sana_bench.metrics import MetricContext, ScoredSample, Unscored


class PartPlausibility:
    """A sample metric; a subclass names its part, as in `evidence.plausibility.PARTS`."""

    part: Literal["hand", "face"]

    def __init__(self, context: MetricContext) -> None:
        self.calibration = load_calibration(self.part)

    def score(self, sample: ScoredSample) -> float | Unscored:
        expected = getattr(sample.prompt.expects, f"{self.part}s")
        if expected == 0:
            return Unscored(f"no {self.part} expected")
        return image_plausibility(self.score_parts(sample), expected)

    def score_parts(self, sample: ScoredSample) -> np.ndarray:
        return self.calibration.plausibility(self._evidence(sample))

    def explain_parts(self, sample: ScoredSample) -> list[dict[str, float]]:
        return [dict(zip(PARTS[self.part], row, strict=True)) for row in self._evidence(sample).tolist()]

    def _evidence(self, sample: ScoredSample) -> np.ndarray:
        keypoints, evidence = (sample.features[name] for name in (f"{self.part}s", f"{self.part}_evidence"))
        return parts_of(self.part, self.calibration.shape, keypoints, evidence)
