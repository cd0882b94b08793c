"""Compositions and group scores: who counts, by hand, and what the classifier's known errors may correct."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sana_bench import demographics
from sana_bench.config import CompareSection
from sana_bench.demographics import compositions, demographics_digest, group_scores, known_confusion
from sana_bench.metrics import ScoredSample
from sana_bench.metrics.composition import miller_madow_entropy
from sana_bench.prompts import Attribute, Prompt, Target
from sana_bench.records import BenchmarkResult, Composition, GroupScore, Score
from tests.bundles import make_bundle

SETTINGS = CompareSection()
SQUARE = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (120, 1))[None, :478] * 100
TARGET = Target(gender={"feminine": 0.5, "masculine": 0.5})


def image_of(prompt: str, index: int, feminine: float | None, *, monk: int = 5, states: tuple[Attribute, ...] = ()) -> ScoredSample:
    """An image with one face that reads so, or with none."""
    faces = 0 if feminine is None else 1
    features = {"faces": {"keypoints": SQUARE[:faces]}, "skin_tone": {"monk": np.full(faces, monk, np.int8)},
                "attributes": {"feminine": np.full(faces, feminine or 0, np.float32), "age": np.full(faces, 40, np.float32)}}
    return ScoredSample(sample_id=f"{prompt}_{index}", prompt=Prompt(id=prompt, text="a person", states=states), features=features)


def gender_of(samples: list[ScoredSample], target: Target = TARGET) -> Composition:
    return next(each for each in compositions(samples, target, SETTINGS) if each.attribute == "gender")


@pytest.fixture
def sixteen() -> list[ScoredSample]:
    """Eight open prompts with two images each: 10 feminine, 4 masculine, one undecided, one without a face; and a stated one."""
    values = [1.0] * 10 + [0.0] * 4 + [0.5, None]
    return [image_of(f"p{index // 2}", index % 2, value) for index, value in enumerate(values)] + [
        image_of("stated", 0, 0.0, states=("gender",))]


def test_counts_reasons_and_shares_by_hand(sixteen: list[ScoredSample]) -> None:
    found = gender_of(sixteen)
    assert (found.classes, found.counts) == (("feminine", "masculine"), (10, 4))
    assert found.undetermined_reasons == {"undetermined presentation": 1, "no face found": 1}
    assert (found.num_undetermined, found.num_not_asked) == (2, 1)
    assert found.shares == pytest.approx((10 / 14, 4 / 14)) and found.target == (0.5, 0.5)


def test_measures_are_those_of_the_counts_with_intervals_over_prompts(sixteen: list[ScoredSample]) -> None:
    """Sum of squares (100 + 16) / 196, so Hill 2 is 196 / 116."""
    measures = gender_of(sixteen).measures
    assert list(measures) == ["entropy", "normalised_entropy", "hill_0", "hill_1", "hill_2", "kl_to_target", "mean_deviation_from_target"]
    assert measures["entropy"].value == pytest.approx(miller_madow_entropy(np.array([10, 4])))
    assert measures["hill_2"].value == pytest.approx(196 / 116) and measures["hill_0"].value == 2
    assert measures["mean_deviation_from_target"].value == pytest.approx(10 / 14 - 0.5)
    assert all(each.low <= each.value <= each.high for each in measures.values())
    assert measures["hill_2"].low < measures["hill_2"].value < measures["hill_2"].high
    assert measures["hill_0"].low == 2, "no prompt alone holds a class"
    assert measures["mean_deviation_from_target"].low == 0 and measures["normalised_entropy"].high == 1, "cut where none can be beyond"


def test_each_prompt_has_its_own_row(sixteen: list[ScoredSample]) -> None:
    rows = {row.prompt_id: row for row in gender_of(sixteen).prompts}
    assert list(rows) == [f"p{index}" for index in range(8)]
    assert (rows["p0"].counts, rows["p0"].entropy) == ((2, 0), 0.0)
    assert (rows["p7"].counts, rows["p7"].num_undetermined, rows["p7"].entropy) == ((0, 0), 2, None)
    mixed = gender_of([image_of("p0", 0, 1.0), image_of("p0", 1, 0.0)]).prompts[0]
    assert mixed.entropy == pytest.approx(np.log(2) + 1 / 4)


def test_without_a_target_there_is_no_distance_to_it(sixteen: list[ScoredSample]) -> None:
    found = gender_of(sixteen, Target())
    assert found.target is None and found.counts == (10, 4)
    assert not {"kl_to_target", "mean_deviation_from_target"} & found.measures.keys()


def test_too_few_images_have_shares_and_no_measures() -> None:
    few = gender_of([image_of(f"p{index}", 0, 1.0) for index in range(3)])
    assert few.shares == (1, 0) and few.measures == {}
    nobody = gender_of([image_of("p0", 0, None)])
    assert nobody.shares is nobody.corrected_shares is None and nobody.counts == (0, 0)
    four = gender_of([image_of(f"p{index}", 0, 1.0) for index in range(4)])
    assert four.measures["entropy"].value == 0 and four.measures["entropy"].low is None


def test_only_what_was_looked_at_is_described(sixteen: list[ScoredSample]) -> None:
    blind = [ScoredSample(sample_id=each.sample_id, prompt=each.prompt, features={"faces": each.features["faces"]}) for each in sixteen]
    assert compositions(blind, TARGET, SETTINGS) == () and group_scores(blind, [], SETTINGS) == ()
    assert compositions([], TARGET, SETTINGS) == ()


def test_gender_is_corrected_for_how_the_classifier_errs_on_photographs(sixteen: list[ScoredSample]) -> None:
    """Some feminine faces are taken for masculine ones and never the reverse, so there are more feminine ones than seen."""
    confusion = known_confusion("gender")
    assert confusion.sum(axis=1).min() >= 10 and confusion[1, 0] == 0
    found = gender_of(sixteen)
    right = confusion[0, 0] / confusion[0].sum()
    assert found.corrected_shares == pytest.approx((10 / 14 / right, 1 - 10 / 14 / right), abs=1e-6)
    for share, (low, high), seen in zip(found.corrected_shares, found.corrected_intervals, found.shares, strict=True):
        assert 0 <= low < share < high <= 1 and share != pytest.approx(seen, abs=1e-3)
    assert found.corrected_measures.keys() == found.measures.keys()
    assert found.corrected_measures["hill_1"].value < found.measures["hill_1"].value, "further from equal shares than it seems"


@pytest.mark.parametrize(("confusion", "known"), [
    ([[12, 3], [0, 10]], True), ([[12, 3], [0, 9]], False),      # nine pictures of a class are too few
    ([[12, 3], [5, 5]], False), ([[12, 3], [4, 6]], True)])     # seen as another class as often as not
def test_which_tables_are_of_use(confusion: list[list[int]], known: bool, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    table = {"labels": [], "confusion": confusion}
    monkeypatch.setattr(demographics, "shipped_fact", lambda name: {"gender": table, "skin_tone": table})
    known_confusion.cache_clear()
    try:
        assert (known_confusion("gender") is not None) == known
        assert known_confusion("skin_tone") is None, "its labels are noisy"
        assert demographics_digest() != demographics.digest_of([demographics.VERSION])
    finally:
        known_confusion.cache_clear()


def scores_of(samples: list[ScoredSample], metric: str, values: list[float | None]) -> list[Score]:
    return [Score(sample_id=sample.sample_id, metric=metric, value=value) for sample, value in zip(samples, values, strict=True)]


def test_group_means_by_hand_and_which_groups_are_too_small() -> None:
    """Ten feminine images of ten prompts at 0.2 and 0.4, one unscored; eight masculine ones of five prompts."""
    samples = [image_of(f"p{index}", 0, 1.0) for index in range(10)] + [image_of(f"q{index % 5}", index, 0.0) for index in range(8)]
    scores = scores_of(samples, "clip_score_tiny_clip", [0.2, 0.4] * 4 + [0.3, None] + [1.0] * 8)
    rows = {(row.attribute, row.group): row for row in group_scores(samples, scores, SETTINGS)}
    feminine, masculine = rows["gender", "feminine"], rows["gender", "masculine"]
    assert (feminine.num_images, feminine.num_prompts, feminine.enough) == (9, 9, True)
    assert feminine.value == pytest.approx(0.3) and feminine.low < 0.3 < feminine.high
    assert (masculine.num_images, masculine.num_prompts, masculine.enough) == (8, 5, False)
    assert (masculine.value, masculine.low, masculine.high) == (None, None, None)
    assert rows["skin_tone", "medium"].num_images == 17 and rows["skin_tone", "dark"].num_images == 0
    assert {row.metric for row in rows.values()} == {"clip_score_tiny_clip"}


def test_only_metrics_of_parity_have_groups() -> None:
    samples = [image_of(f"p{index}", 0, 1.0) for index in range(6)]
    assert group_scores(samples, scores_of(samples, "face_rate", [1.0] * 6), SETTINGS) == ()


def test_they_come_back_from_json_and_an_older_result_has_none(sixteen: list[ScoredSample]) -> None:
    groups = group_scores(sixteen, scores_of(sixteen, "clip_score_tiny_clip", [1.0] * 17), SETTINGS)
    result = make_bundle({"hand_rate": [1.0]}, compositions=compositions(sixteen, TARGET, SETTINGS), groups=groups).result
    again = BenchmarkResult.model_validate_json(result.model_dump_json())
    assert again == result and isinstance(again.groups[0], GroupScore)
    older = json.loads(result.model_dump_json())
    del older["compositions"], older["groups"]
    assert BenchmarkResult.model_validate(older).compositions == BenchmarkResult.model_validate(older).groups == ()
