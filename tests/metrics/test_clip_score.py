"""CLIP score: known angles, no dependence on length, negative cosines, truncated prompts."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.metrics import MetricContext, ScoredSample, Unscored
from sana_bench.metrics.clip_score import ClipScoreTinyClip, clip_score
from sana_bench.prompts import Prompt, Target

TEXT = np.array([1, 0], np.float32)


def at_angle(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], np.float32)


@pytest.mark.parametrize(("degrees", "value"), [(0, 100), (60, 50), (90, 0), (120, 0), (180, 0)])
def test_closed_form(degrees: float, value: float) -> None:
    """100 cos: 1, 1/2, 0; beyond a right angle it stays 0."""
    assert clip_score(at_angle(degrees), TEXT) == pytest.approx(value, abs=1e-5)


def test_length_of_embeddings_does_not_matter() -> None:
    assert clip_score(7 * at_angle(30), 0.1 * TEXT) == pytest.approx(clip_score(at_angle(30), TEXT), rel=1e-6)


def test_never_above_100() -> None:
    """A cosine of float32 unit vectors can come out above 1 by rounding."""
    embedding = np.full(640, 1 / np.sqrt(640), np.float32)
    assert clip_score(embedding, embedding) <= 100


def test_falls_as_the_image_turns_away() -> None:
    values = [clip_score(at_angle(degrees), TEXT) for degrees in (5, 20, 45, 80)]
    assert values == sorted(values, reverse=True)


def test_a_truncated_prompt_has_no_score_but_a_reason() -> None:
    metric = ClipScoreTinyClip(MetricContext(reference=[], target=Target()))

    def score(truncated: bool) -> float | Unscored:
        features = {"clip_tiny": {"image": TEXT, "text": TEXT, "truncated": np.array([truncated])}}
        return metric.score(ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text="a man"), features=features))

    assert score(False) == pytest.approx(100)
    assert score(True) == Unscored("prompt longer than the model reads")
