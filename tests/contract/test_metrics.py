"""What every registered metric promises, on made-up features. A new metric is picked up by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.features import EXTRACTORS, Features
from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored
from sana_bench.prompts import Asked, Expects, Prompt, Target
from tests.metrics.test_faces import faces_of

NUM_SAMPLES, NUM_REFERENCE, NUM_PROMPTS = 64, 40, 30
SUBSET = 48
TARGET = Target(gender={"feminine": 0.5, "masculine": 0.5}, age={"under_30": 0.3, "30_to_50": 0.4, "over_50": 0.3},
                skin_tone={"light": 0.4, "medium": 0.3, "dark": 0.3})
NUM_FEATURES, NUM_PATCHES = 1280, 3
FIXED = np.random.default_rng(0)
FACE = faces_of(1, 0, spread=0)[0]
FACE[468], FACE[473] = (FACE[33] + FACE[133]) / 2, (FACE[362] + FACE[263]) / 2
HAND = FIXED.normal(size=(21, 2)) * 100
BODY = np.zeros((33, 3))
BODY[:, 2] = 0.99
for _point, _place in {0: (0, -300), 2: (-10, -310), 5: (10, -310), 7: (-35, -305), 8: (35, -305), 9: (-12, -280), 10: (12, -280),
                       11: (85, -220), 13: (110, -100), 15: (115, 10), 19: (115, 50), 23: (50, 60), 25: (50, 260), 27: (50, 440)}.items():
    BODY[_point, :2] = _place
    if _point > 10:
        BODY[_point + 1, :2] = (-_place[0], _place[1])
TEXT = FIXED.normal(size=64)
FIXED_FACE = FIXED.normal(size=NUM_FEATURES)


def spared(seed: int) -> bool:
    return seed % 5 == 4


def made_up(seed: int, damage: float = 0.0) -> dict[str, Features]:
    """Features of one image by extractor. `damage` 0 is like the reference; 1 is worse in everything that is measured.

    Every fifth image is spared, and shows another group than the others do: damage is for some only.
    """
    rng = np.random.default_rng(seed)
    place = (seed % 10) / 10
    # Damage draws the others towards one end, the spared towards the other, and both away from whom their prompts ask for.
    place += damage * ((0.9 if spared(seed) else 0) - place)
    damage = 0 if spared(seed) else damage
    num_faces, num_hands = int(rng.random() >= damage / 2), 2 - int(rng.random() < damage / 2)
    faces = FACE + (2 + 12 * damage) * rng.normal(size=(num_faces, 478, 3)) * (1, 1, 0)
    hands = HAND + (6 + 30 * damage) * rng.normal(size=(num_hands, 21, 2))
    spread = rng.normal(size=NUM_FEATURES) / np.sqrt(np.arange(1, NUM_FEATURES + 1))
    image = TEXT + (1 + 4 * damage) * rng.normal(size=64)
    evidence = {name: {"damage_logit": -2 + 4 * damage + rng.normal(size=number), "instability": (0.03 + 0.2 * damage) * np.exp(rng.normal(size=number))}
                for name, number in (("hand_evidence", num_hands), ("face_evidence", num_faces))}
    def crops(number: int) -> Features:
        return {"features": (rng.normal(size=(number, NUM_FEATURES)) + spread[:1]) / np.sqrt(np.arange(1, NUM_FEATURES + 1)) + damage}

    arrays = {
        "pose": {"keypoints": BODY + (3 + 40 * damage) * rng.normal(size=(num_faces, 33, 3)) * (1, 1, 0),
                 "unexplained": np.full(num_faces, 0.05 + 0.2 * damage), "uncovered": np.full(num_faces, 0.4 * damage)},
        **evidence,
        "hands": {"keypoints": hands, "score": np.full(num_hands, 0.9), "side": np.arange(num_hands)},
        "faces": {"keypoints": faces[..., :2], "depth": faces[..., 2], "blendshapes": np.zeros((num_faces, 52))},
        "attributes": {"feminine": np.full(num_faces, float(place >= 0.5)), "age": np.full(num_faces, 22 if place < 0.25 else 40 if place < 0.65 else 60)},
        "skin_tone": {"monk": np.full(num_faces, 1 + round(9 * place)), "lab": np.zeros((num_faces, 3)),
                      "ita": np.zeros(num_faces), "hue": np.zeros(num_faces), "num_pixels": np.full(num_faces, 500)},
        "efficientnet_lite0": {"features": spread + damage},
        "face_features": {"features": np.abs(FIXED_FACE + (1 - damage) * rng.normal(size=(num_faces, NUM_FEATURES)))},
        "texture": {name: np.array([usual + worse * damage + 0.01 * rng.normal()]) for name, usual, worse in (
            ("sharpness", -1.5, -2), ("glcm_entropy", 5, -2), ("compression_ratio", 8, 10), ("blockiness", 1, 1), ("seam", 1, 5))},
        "patches_efficientnet_lite0": crops(NUM_PATCHES), "hand_crops_efficientnet_lite0": crops(num_hands), "face_crops_efficientnet_lite0": crops(num_faces),
        "inception_v3": {"features": spread + damage}, "dinov2": {"features": spread + damage},
        **{name: {"image": image / np.linalg.norm(image), "text": TEXT / np.linalg.norm(TEXT), "truncated": np.zeros(1), "scale": np.full(1, 100)}
           for name in ("clip_tiny", "clip_vit_l_14_openai", "pickscore_v1", "hps_v2_1")},
    }
    return {extractor: {name: array.astype(np.float32) for name, array in parts.items()}
            for extractor, parts in arrays.items()}


def samples_of(damage: float) -> list[ScoredSample]:
    asked = {False: Asked(gender="feminine", age="over_50", skin_tone="dark"), True: Asked(gender="masculine", age="30_to_50", skin_tone="medium")}
    prompts = [Prompt(id=f"p{index}", text="a person waves", asked=asked[spared(index)], expects=Expects(faces=1, hands=2, full_body=True))
               for index in range(NUM_PROMPTS)]
    return [ScoredSample(sample_id=f"p{index % NUM_PROMPTS}_{index // NUM_PROMPTS}", prompt=prompts[index % NUM_PROMPTS],
                         features=made_up(index, damage)) for index in range(NUM_SAMPLES)]


CONTEXT = MetricContext(reference=[made_up(1000 + index) for index in range(NUM_REFERENCE)], target=TARGET,
                        base={sample.sample_id: sample.features for sample in samples_of(0)})


def value_of(metric: str, samples: list[ScoredSample]) -> float:
    """The metric as `score` would report it."""
    entry = METRICS.get(metric)
    made = entry.make(CONTEXT)
    if entry.kind == "sample":
        return float(np.mean([value for value in map(made.score, samples) if not isinstance(value, Unscored)]))
    usable = [sample for sample in samples if made.usable(sample) is None]
    return made.evaluate(made.statistics(usable), np.arange(len(usable)))


@pytest.fixture(params=METRICS.names())
def metric(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def known(metric: str) -> str:
    """A metric made of extractors that `made_up` knows."""
    if not set(METRICS.get(metric).extractors) <= made_up(0).keys():
        pytest.skip(f"no made-up features of {METRICS.get(metric).extractors}; its own tests have them")
    return metric


def names_of(kind: str) -> list[str]:
    """Metrics of a kind that are made of extractors that `made_up` knows."""
    return [name for name in METRICS.names()
            if METRICS.get(name).kind == kind and set(METRICS.get(name).extractors) <= made_up(0).keys()]


@pytest.fixture(params=names_of("set"))
def set_metric(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=names_of("sample"))
def sample_metric(request: pytest.FixtureRequest) -> str:
    return request.param


def test_says_what_it_is(metric: str) -> None:
    entry = METRICS.get(metric)
    assert entry.name == metric
    assert 40 <= len(entry.explanation) <= 160
    assert entry.explanation[0].isupper() and entry.explanation.count("`") % 2 == 0
    assert entry.explanation.endswith(".")
    assert entry.version >= 1
    assert entry.unit.strip() == entry.unit != ""
    assert math.isfinite(entry.budget) and entry.budget > 0


def test_its_extractor_is_registered(metric: str) -> None:
    assert set(METRICS.get(metric).extractors) <= set(EXTRACTORS.names())


def test_a_metric_that_says_it_needs_no_reference_needs_none(known: str) -> None:
    entry = METRICS.get(known)
    context = MetricContext(reference=[], target=TARGET)
    if entry.needs_reference:
        with pytest.raises(InsufficientSamplesError):
            entry.make(context)
    else:
        entry.make(context)


NEIGHBOURS = ("precision_", "density_", "coverage_", "recall_")
"""Shares that are at their end before the last step, or rise on the way as outliers get larger balls."""


def collapsed(share: float) -> list[ScoredSample]:
    """Whole images, that share of which are copies of the first."""
    samples = samples_of(0)
    return [replace(sample, features=samples[0].features) if index < share * NUM_SAMPLES else sample for index, sample in enumerate(samples)]


def test_worse_images_score_worse(known: str) -> None:
    """The classic error of the field is a wrong sign. Of what measures variety alone, worse are copies."""
    of_variety = METRICS.get(known).sees == ("set_collapsed",)
    good, middle, bad = (value_of(known, collapsed(5 * damage if damage < 1 else 1) if of_variety else samples_of(damage)) for damage in (0, 0.1, 1))
    sign = 1 if METRICS.get(known).higher_is_better else -1
    assert sign * good > sign * bad
    if not known.startswith(NEIGHBOURS):
        assert sign * good > sign * middle > sign * bad


def test_values_are_finite_and_repeatable(known: str) -> None:
    first, second = value_of(known, samples_of(0)), value_of(known, samples_of(0))
    assert math.isfinite(first) and first == second


def test_features_are_left_alone(known: str) -> None:
    samples = samples_of(0.5)
    value_of(known, samples)
    for index, sample in enumerate(samples):
        assert same_arrays(sample.features, made_up(index, 0.5))


def same_arrays(one: Mapping[str, Features], other: Mapping[str, Features]) -> bool:
    return all(np.array_equal(one[extractor][name], array)
               for extractor, parts in other.items() for name, array in parts.items())


def test_an_image_does_not_depend_on_its_neighbours(sample_metric: str) -> None:
    entry = METRICS.get(sample_metric)
    samples = samples_of(0.3)
    forward, backward = entry.make(CONTEXT), entry.make(CONTEXT)
    assert [forward.score(sample) for sample in samples] == [backward.score(sample) for sample in samples[::-1]][::-1]


def test_every_missing_value_has_a_reason(known: str) -> None:
    """An image with nobody in it gets a number that means so, or a reason; never an error."""
    made = METRICS.get(known).make(CONTEXT)
    features = made_up(0)
    empty = {extractor: {name: array[:0] for name, array in features[extractor].items()}
             for extractor in ("pose", "hands", "faces", "attributes", "skin_tone", "face_features", "hand_evidence", "face_evidence",
                               "hand_crops_efficientnet_lite0", "face_crops_efficientnet_lite0")}
    sample = ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text="a person"), features=features | empty)
    result = made.score(sample) if METRICS.get(known).kind == "sample" else made.usable(sample)
    if isinstance(result, Unscored):
        assert result.reason and not result.reason.endswith(".")
    elif METRICS.get(known).kind == "sample":
        usual = made.score(ScoredSample(sample_id="a_0", prompt=sample.prompt, features=features))
        assert np.isfinite(result)
        assert isinstance(usual, Unscored) or (result <= usual if METRICS.get(known).higher_is_better else result >= usual), "nobody is never better"


def set_statistics(name: str, samples: list[ScoredSample]) -> tuple[dict[str, np.ndarray], int]:
    made = METRICS.get(name).make(CONTEXT)
    usable = [sample for sample in samples if made.usable(sample) is None]
    return made.statistics(usable), len(usable)


def test_a_subset_is_scored_as_if_it_were_alone(set_metric: str) -> None:
    """What leave-one-out intervals rely on, and that the order of the images does not matter."""
    made = METRICS.get(set_metric).make(CONTEXT)
    usable = [sample for sample in samples_of(0.2) if made.usable(sample) is None]
    whole, alone = made.statistics(usable), made.statistics(usable[:SUBSET])
    chosen = np.random.default_rng(1).permutation(len(usable))[:SUBSET]
    assert made.evaluate(whole, np.arange(SUBSET)) == pytest.approx(made.evaluate(alone, np.arange(SUBSET)), rel=1e-6)
    assert made.evaluate(whole, chosen) == pytest.approx(made.evaluate(whole, np.sort(chosen)), rel=1e-6)


def test_statistics_come_back_from_safetensors(set_metric: str) -> None:
    from safetensors.numpy import load, save

    statistics, num_usable = set_statistics(set_metric, samples_of(0.2))
    evaluate = METRICS.get(set_metric).make(CONTEXT).evaluate
    again = load(save({name: np.ascontiguousarray(array) for name, array in statistics.items()}))
    assert evaluate(again, np.arange(num_usable)) == evaluate(statistics, np.arange(num_usable))


def test_statistics_hold_no_features_of_what_no_file_may_hold(set_metric: str) -> None:
    """A baseline carries statistics, so that samples can change sides; embeddings of faces are not among them."""
    statistics, _ = set_statistics(set_metric, samples_of(0))
    kept = all(EXTRACTORS.get(name).kept for name in METRICS.get(set_metric).extractors)
    assert kept or all(NUM_FEATURES not in array.shape for array in statistics.values())


def test_no_image_at_all_is_too_few(set_metric: str) -> None:
    statistics, _ = set_statistics(set_metric, [])
    with pytest.raises(InsufficientSamplesError):
        METRICS.get(set_metric).make(CONTEXT).evaluate(statistics, np.arange(0))


def test_samples_of_two_sides_can_change_sides(set_metric: str) -> None:
    """Joined, the samples of both sides give what the metric makes of them as one set, whichever of them are chosen."""
    made, (whole, damaged) = METRICS.get(set_metric).make(CONTEXT), (samples_of(0)[:SUBSET], samples_of(1)[:SUBSET])
    sides = [[sample for sample in side if made.usable(sample) is None] for side in (whole, damaged)]
    both = METRICS.get(set_metric).make.join(*map(made.statistics, sides))
    if both is None:
        assert set_metric.startswith("recall") or not all(EXTRACTORS.get(name).kept for name in METRICS.get(set_metric).extractors)
        return
    together = made.statistics([*sides[0], *sides[1]])
    mixed = np.array([place for place in range(len(sides[0]) + len(sides[1])) if place % 7])
    assert made.evaluate(both, mixed) == pytest.approx(made.evaluate(together, mixed), rel=1e-3)
    own = np.arange(len(sides[0]))
    assert made.evaluate(both, own) == pytest.approx(made.evaluate(made.statistics(sides[0]), own), rel=1e-3)
    assert made.evaluate(both, own) != pytest.approx(made.evaluate(both, len(own) + np.arange(len(sides[1]))), rel=1e-3), "the sides are not told apart"
