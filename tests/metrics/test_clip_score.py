"""CLIP score: known angles, no dependence on length, negative cosines, truncated prompts."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.config import load_config
from sana_bench.metrics import METRICS, MetricContext, ScoredSample
from sana_bench.metrics.clip_score import CUT, clip_s, clip_score
from sana_bench.prompts import Prompt, Target
from sana_bench.score import evaluate_metric

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


def test_clip_s_is_another_scale_of_the_same_angle() -> None:
    assert clip_s(at_angle(60), TEXT) == pytest.approx(1.25) and clip_s(at_angle(120), TEXT) == 0


def sample_of(index: int, degrees: float, truncated: bool) -> ScoredSample:
    features = {"clip_tiny": {"image": at_angle(degrees), "text": TEXT, "truncated": np.array([truncated])}}
    return ScoredSample(sample_id=f"p{index}_0", prompt=Prompt(id=f"p{index}", text="a man"), features=features)


def test_a_prompt_that_is_cut_is_scored_flagged_and_counted() -> None:
    samples = [sample_of(index, 10 * index, truncated=index > 5) for index in range(8)]
    entry = METRICS.get("clip_score_tiny_clip")
    rows, _, result = evaluate_metric(entry, entry.make(MetricContext(reference=[], target=Target())), samples, load_config("tiny"))
    assert [row.value for row in rows] == [pytest.approx(100 * np.cos(np.radians(10 * index)), abs=1e-4) for index in range(8)]
    assert [row.reason for row in rows] == [""] * 6 + [CUT] * 2
    assert (result.num_scored, result.num_unscored, result.note) == (8, 0, f"2 × {CUT}")
    _, _, whole = evaluate_metric(entry, entry.make(MetricContext(reference=[], target=Target())), samples[:6], load_config("tiny"))
    assert whole.note == ""
