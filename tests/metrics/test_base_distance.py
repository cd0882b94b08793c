"""Distances to the base model's own images: zero for the base itself, closed forms, direction, and what they are blind to."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored
from sana_bench.metrics.base_distance import NO_BASE_IMAGE, cosine_distance, paired_kernel
from sana_bench.metrics.kernel import kernel_distance
from sana_bench.prompts import Prompt, Target

EXTRACTOR = "efficientnet_lite0"
NUM, DIMENSIONS = 40, 16


def samples_of(features_ND: np.ndarray) -> list[ScoredSample]:
    return [ScoredSample(sample_id=f"p{index}_000", prompt=Prompt(id=f"p{index}", text="a lake"), features={EXTRACTOR: {"features": features_D}})
            for index, features_D in enumerate(features_ND)]


def made(name: str, base_ND: np.ndarray):
    base = {sample.sample_id: sample.features for sample in samples_of(base_ND)}
    return METRICS.get(f"{name}_{EXTRACTOR}").make(MetricContext(reference=[], target=Target(), base=base))


def kernel_to_base(images_ND: np.ndarray, base_ND: np.ndarray) -> float:
    metric = made("kid_to_base", base_ND)
    return metric.evaluate(metric.statistics(samples_of(images_ND)), np.arange(len(images_ND)))


@pytest.fixture
def base_ND() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 2, (NUM, DIMENSIONS))


@pytest.mark.parametrize(("one", "other", "distance"), [
    ([1, 0], [1, 0], 0), ([1, 0], [7, 0], 0), ([1, 0], [0, 1], 1), ([1, 0], [-2, 0], 2),
    ([1, 0], [1, 1], 1 - np.sqrt(0.5))])  # 45 degrees
def test_cosine_distance_in_closed_form(one, other, distance):
    assert cosine_distance(np.array(one), np.array(other)) == pytest.approx(distance, abs=1e-15)


def test_cosine_distance_equals_scipys(base_ND):
    from scipy.spatial.distance import cosine

    for one_D, other_D in zip(base_ND, base_ND[::-1], strict=True):
        assert cosine_distance(one_D, other_D) == pytest.approx(cosine(one_D, other_D), rel=1e-12, abs=1e-15)


def test_the_base_is_at_no_distance_from_itself(base_ND):
    drift = made("drift", base_ND)
    assert [drift.score(sample) for sample in samples_of(base_ND)] == [0.0] * NUM
    assert kernel_to_base(base_ND, base_ND) == pytest.approx(0, abs=1e-9)


def test_both_grow_with_the_change(base_ND):
    other_ND = np.random.default_rng(1).uniform(0, 6, (NUM, DIMENSIONS))
    drift = made("drift", base_ND)
    mixed = [(1 - share) * base_ND + share * other_ND for share in (0.1, 0.4, 1.0)]
    means = [np.mean([drift.score(sample) for sample in samples_of(images_ND)]) for images_ND in mixed]
    assert 0 < means[0] < means[1] < means[2]
    kernels = [kernel_to_base(images_ND, base_ND) for images_ND in mixed]
    assert 0 < kernels[0] < kernels[1] < kernels[2]


def test_images_that_change_places_drift_and_are_no_distance_as_a_set(base_ND):
    drift = made("drift", base_ND)
    turned_ND = np.roll(base_ND, 1, axis=0)
    assert np.mean([drift.score(sample) for sample in samples_of(turned_ND)]) > 0.1
    unrelated = kernel_to_base(base_ND + 1, base_ND)
    assert abs(kernel_to_base(turned_ND, base_ND)) < 0.05 * unrelated


def test_the_paired_kernel_distance_is_the_u_statistic_without_the_pairs_themselves(base_ND):
    """Against the sum written out; and on independent sets it estimates what the unpaired statistic does."""
    images_ND = np.random.default_rng(2).uniform(0, 2.5, (NUM, DIMENSIONS))

    def kernel(one_D, other_D):
        return (one_D @ other_D / DIMENSIONS + 1) ** 3

    total = sum(kernel(images_ND[i], images_ND[j]) + kernel(base_ND[i], base_ND[j]) - kernel(images_ND[i], base_ND[j]) - kernel(images_ND[j], base_ND[i])
                for i in range(NUM) for j in range(NUM) if i != j)
    assert kernel_to_base(images_ND, base_ND) == pytest.approx(1000 * total / (NUM * (NUM - 1)), rel=1e-9)
    assert kernel_to_base(images_ND, base_ND) == pytest.approx(1000 * kernel_distance(images_ND, base_ND), rel=0.05)
    kernel_NN = paired_kernel(images_ND, base_ND, images_ND, base_ND)
    assert np.allclose(kernel_NN, kernel_NN.T)


def test_what_the_base_did_not_draw_is_unscored_with_a_reason(base_ND):
    stranger = ScoredSample(sample_id="other_000", prompt=Prompt(id="other", text="a lake"), features=samples_of(base_ND)[0].features)
    assert made("drift", base_ND).score(stranger) == NO_BASE_IMAGE == made("kid_to_base", base_ND).usable(stranger)
    assert isinstance(NO_BASE_IMAGE, Unscored) and made("kid_to_base", base_ND).usable(samples_of(base_ND)[0]) is None
