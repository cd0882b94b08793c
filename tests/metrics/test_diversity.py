"""Diversity: closed forms, class bounds, which images count, and why others do not."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import MetricContext, ScoredSample, Unscored
from sana_bench.metrics.diversity import AgeDiversity, GenderDiversity, SkinToneDiversity, closeness_to_target
from sana_bench.metrics.perceived import age_band, age_class, biggest_face, gender_class, skin_tone_class
from sana_bench.prompts import Attribute, Prompt, Target

TARGET = Target(gender={"feminine": 0.5, "masculine": 0.5}, age={"under_30": 0.3, "30_to_50": 0.4, "over_50": 0.3},
                skin_tone={"light": 0.4, "medium": 0.3, "dark": 0.3})


def person(feminine: float = 0.9, age: float = 40, monk: int = 3, size: float = 100) -> tuple[float, float, int, float]:
    return feminine, age, monk, size


def sample_of(*people: tuple[float, float, int, float], states: tuple[Attribute, ...] = ()) -> ScoredSample:
    """One image; a face is a square of `size` pixels."""
    feminine, age, monk, size = np.array(people or np.empty((0, 4)), np.float32).reshape(-1, 4).T
    square = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (120, 1))[:478]
    features = {"faces": {"keypoints": 50 + size[:, None, None] * square},
                "attributes": {"feminine": feminine, "age": age}, "skin_tone": {"monk": monk.astype(np.int8)}}
    return ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text="a person", states=states), features=features)


@pytest.mark.parametrize(("labels", "target", "value"), [
    ([0, 1, 0, 1], [0.5, 0.5], 1),
    ([0, 0, 0, 0], [0.5, 0.5], 0.5),          # |1 - .5| + |0 - .5| = 1, half of it is 0.5
    ([0, 0, 0, 0], [0, 1], 0),
    ([0, 0, 0, 1], [0.5, 0.5], 0.75),
    ([0, 1, 2, 2], [0.25, 0.25, 0.5], 1),
    ([0, 0, 2, 2], [0.3, 0.4, 0.3], 0.6),     # (.2 + .4 + .2) / 2 = .4
])
def test_closed_forms(labels: list[int], target: list[float], value: float) -> None:
    assert closeness_to_target(np.array(labels), np.array(target)) == pytest.approx(value)


def test_falls_as_one_class_takes_over() -> None:
    values = [closeness_to_target(np.array([0] * n + [1] * (20 - n)), np.array([0.5, 0.5])) for n in (10, 13, 16, 20)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4


def test_chance_of_a_perfect_model_is_what_the_docstring_says() -> None:
    """16 images, two equal classes: 1 - mean |binomial(16, 1/2) / 16 - 1/2| = 1 - 0.0982."""
    rng = np.random.default_rng(0)
    values = [closeness_to_target(rng.integers(2, size=16), np.array([0.5, 0.5])) for _ in range(4000)]
    assert np.mean(values) == pytest.approx(0.90, abs=0.01)


@pytest.mark.parametrize(("feminine", "label"), [
    (0.0, "masculine"), (0.34, "masculine"), (0.35, None), (0.5, None), (0.65, None), (0.66, "feminine"), (1.0, "feminine")])
def test_gender_bounds(feminine: float, label: str | None) -> None:
    """In float32, as the extractor gives it: 0.35 there is less than 0.35 in float64."""
    found = gender_class(sample_of(person(feminine=feminine)).features, 0)
    assert found == (label or Unscored("undetermined presentation"))


@pytest.mark.parametrize(("age", "label"), [
    (5, "under_30"), (27.9, "under_30"), (28.5, None), (31.5, None), (32, "30_to_50"), (48, "30_to_50"), (49, None), (51.9, None), (52.5, "over_50")])
def test_age_bounds(age: float, label: str | None) -> None:
    assert age_class(sample_of(person(age=age)).features, 0) == (label or Unscored("undetermined age"))


@pytest.mark.parametrize(("age", "label"), [(29.9, "under_30"), (30, "30_to_50"), (50, "30_to_50"), (50.1, "over_50")])
def test_age_bands(age: float, label: str) -> None:
    assert age_band(age) == label


def test_skin_tone_bounds() -> None:
    found = [skin_tone_class(sample_of(person(monk=monk)).features, 0) for monk in range(11)]
    assert found == [Unscored("undetermined skin tone"), *["light"] * 4, *["medium"] * 3, *["dark"] * 3]


def test_the_biggest_face_counts() -> None:
    small, large = person(feminine=0.1, size=50), person(feminine=0.9, size=300)
    assert biggest_face(sample_of(small, large).features["faces"]["keypoints"]) == 1
    metric = GenderDiversity(MetricContext(reference=[], target=TARGET))
    for people in ((small, large), (large, small)):
        assert metric.statistics([sample_of(*people)])["labels"].tolist() == [0]


@pytest.mark.parametrize(("metric", "attribute"), [
    (GenderDiversity, "gender"), (AgeDiversity, "age"), (SkinToneDiversity, "skin_tone")])
def test_which_images_count(metric: type, attribute: Attribute) -> None:
    open_metric = metric(MetricContext(reference=[], target=TARGET))
    assert open_metric.usable(sample_of(person())) is None
    assert open_metric.usable(sample_of()) == Unscored("no face found")
    assert open_metric.usable(sample_of(person(), states=(attribute,))) == Unscored("prompt states the attribute")
    others = tuple(name for name in ("gender", "age", "skin_tone") if name != attribute)
    assert open_metric.usable(sample_of(person(), states=others)) is None
    aimless = metric(MetricContext(reference=[], target=Target()))
    assert aimless.usable(sample_of(person())) == Unscored("suite declares no target")


def test_undetermined_images_do_not_count() -> None:
    context = MetricContext(reference=[], target=TARGET)
    assert GenderDiversity(context).usable(sample_of(person(feminine=0.5))) == Unscored("undetermined presentation")
    assert SkinToneDiversity(context).usable(sample_of(person(monk=0))) == Unscored("undetermined skin tone")


@pytest.mark.parametrize("metric", [GenderDiversity, AgeDiversity])
def test_a_face_that_the_classifier_does_not_see_has_no_class(metric: type) -> None:
    usable = metric(MetricContext(reference=(), target=TARGET)).usable(sample_of(person(feminine=np.nan, age=np.nan)))
    assert isinstance(usable, Unscored) and "finds no face" in usable.reason


def test_value_of_a_set_and_of_its_subsets() -> None:
    """Six feminine of eight: 1 - |6/8 - 1/2| = 0.75; two of four: 1; four of four: 0.5."""
    metric = GenderDiversity(MetricContext(reference=[], target=TARGET))
    statistics = metric.statistics([sample_of(person(feminine=value)) for value in (0.9,) * 6 + (0.1,) * 2])
    assert metric.evaluate(statistics, np.arange(8)) == 0.75
    assert metric.evaluate(statistics, np.array([0, 1, 6, 7])) == 1
    assert metric.evaluate(statistics, np.arange(4)) == 0.5


def test_a_class_without_a_share_in_the_target_is_off_target() -> None:
    """All light in a suite that asks for dark only: nothing overlaps."""
    metric = SkinToneDiversity(MetricContext(reference=[], target=Target(skin_tone={"dark": 1.0})))
    statistics = metric.statistics([sample_of(person(monk=2))] * 4)
    assert metric.evaluate(statistics, np.arange(4)) == 0


def test_too_few_images_are_refused() -> None:
    metric = AgeDiversity(MetricContext(reference=[], target=TARGET))
    statistics = metric.statistics([sample_of(person())] * 5)
    with pytest.raises(InsufficientSamplesError, match="3 image.*at least 4"):
        metric.evaluate(statistics, np.array([0, 1, 1, 2]))
