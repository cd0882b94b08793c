"""Compliance: who is seen, held against whom the prompt asks for."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored
from sana_bench.metrics.parity import FaceParity
from sana_bench.prompts import Asked, Expects, Prompt, Target

CONTEXT = MetricContext(reference=(), target=Target())


def sample_of(asked: Asked, *, feminine: float = 0.9, age: float = 40, monk: int = 2, num_faces: int = 1) -> ScoredSample:
    features = {"faces": {"keypoints": np.random.default_rng(0).random((num_faces, 478, 2))},
                "attributes": {"feminine": np.full(num_faces, feminine, np.float32), "age": np.full(num_faces, age)},
                "skin_tone": {"monk": np.full(num_faces, monk)}}
    return ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text="a person", asked=asked, expects=Expects(faces=1)), features=features)


@pytest.mark.parametrize(("metric", "asked", "seen", "value"), [
    ("gender_compliance", {"gender": "feminine"}, {"feminine": 0.9}, 1.0), ("gender_compliance", {"gender": "masculine"}, {"feminine": 0.9}, 0.0),
    ("age_compliance", {"age": "30_to_50"}, {"age": 40}, 1.0), ("age_compliance", {"age": "over_50"}, {"age": 40}, 0.0),
    ("skin_tone_compliance", {"skin_tone": "dark"}, {"monk": 9}, 1.0), ("skin_tone_compliance", {"skin_tone": "light"}, {"monk": 9}, 0.0)])
def test_one_where_it_is_who_was_asked_for_and_nought_where_not(metric, asked, seen, value) -> None:
    made = METRICS.get(metric).make(CONTEXT)
    assert made.score(sample_of(Asked(**asked), **seen)) == value
    assert made.score(sample_of(Asked(), **seen)) == Unscored("prompt asks for nobody in particular")
    assert made.score(sample_of(Asked(**asked), **seen, num_faces=0)) == Unscored("no face found")


def test_an_undetermined_presentation_is_not_taken_for_another() -> None:
    made = METRICS.get("gender_compliance").make(CONTEXT)
    assert made.score(sample_of(Asked(gender="feminine"), feminine=0.5)) == Unscored("undetermined presentation")


def test_groups_of_parity_are_whom_prompts_ask_for(monkeypatch) -> None:
    """A face that is lost stays in its group, and counts there once."""
    monkeypatch.setattr(FaceParity.of.make, "score", lambda self, sample: float(len(sample.features["faces"]["keypoints"])))
    monkeypatch.setattr(FaceParity.of.make, "__init__", lambda self, context: None)
    made = FaceParity(CONTEXT)

    def sample(index: int, gender: str, num_faces: int) -> ScoredSample:
        one = sample_of(Asked(gender=gender), feminine=0.9, num_faces=num_faces)
        return ScoredSample(sample_id=f"p{index}_0", prompt=one.prompt.model_copy(update={"id": f"p{index}"}), features=one.features)

    samples = [sample(index, "feminine", 1) for index in range(8)] + [sample(8 + index, "masculine", int(index < 4)) for index in range(8)]
    assert made.evaluate(made.statistics(samples), np.arange(16)) == pytest.approx(0.5)  # all look feminine; half of those asked to be men have no face
