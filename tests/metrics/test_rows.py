"""Distances of images that have several rows of features, or none: pooled moments, pairs of different images, what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored
from sana_bench.metrics.feature_distance import Rows, feature_rows, one_row_each
from sana_bench.metrics.frechet_distance import frechet_distance, frechet_of_subset, frechet_statistics
from sana_bench.metrics.kernel import cubic_kernel, kernel_distance, kernel_distance_of_subset, kernel_statistics, mean_kernel, statistics_under
from sana_bench.metrics.mind import mind
from sana_bench.prompts import Prompt, Target

HANDS = "hand_crops_efficientnet_lite0"
ON_HANDS = [f"{family}_{HANDS}" for family in ("fd", "kid", "mind")]


def images(counts: list[int], seed: int, dimensions: int = 24, shift: float = 0.0, alike: float = 1.0) -> list[np.ndarray]:
    """Features of images with so many rows each; `alike` is the deviation of what the rows of one image share."""
    draw = np.random.default_rng(seed)
    return [(shift + alike * draw.normal(size=dimensions) + draw.normal(size=(number, dimensions))).astype(np.float32) for number in counts]


def context_of(rows: list[np.ndarray], extractor: str = HANDS, **known) -> MetricContext:
    return MetricContext(reference=[{extractor: {"features": each}} for each in rows], target=Target(), **known)


def samples_of(rows: list[np.ndarray], extractor: str = HANDS) -> list[ScoredSample]:
    return [ScoredSample(sample_id=f"s{index}", prompt=Prompt(id=f"p{index}", text="text"), features={extractor: {"features": each}})
            for index, each in enumerate(rows)]


def value(name: str, generated: list[np.ndarray], real: list[np.ndarray], indices: np.ndarray | None = None) -> float:
    metric = METRICS.get(name).make(context_of(real))
    return metric.evaluate(metric.statistics(samples_of(generated)), np.arange(len(generated)) if indices is None else indices)


def rows(images: list[np.ndarray]) -> Rows:
    return feature_rows([{"features": each} for each in images])


COUNTS, REAL_COUNTS = [2, 1, 4, 2, 3, 1, 1, 2, 5, 2], [1, 2, 0, 2, 3, 1, 2, 1, 2, 1, 4]
GENERATED, REAL = images(COUNTS, 0, shift=0.2), images(REAL_COUNTS, 1)


def test_rows_know_their_image_and_one_row_an_image_is_a_plain_matrix() -> None:
    found = rows([GENERATED[2], GENERATED[0][:0], GENERATED[1]])
    assert found.owner_R.tolist() == [0, 0, 0, 0, 2] and found.num_images == 2
    assert np.array_equal(found.features_RD, np.concatenate([GENERATED[2], GENERATED[1]]))
    plain = np.concatenate(GENERATED)
    single = feature_rows([{"features": row} for row in plain])
    assert np.array_equal(single.features_RD, plain) and np.array_equal(single.owner_R, one_row_each(plain).owner_R)


def test_moments_and_order_are_those_of_all_rows_together() -> None:
    for indices in (np.arange(10), np.array([9, 1, 4, 2, 8, 0, 3, 5]), np.array([0, 0, 1, 2, 3, 4, 5, 6, 7])):
        together = np.concatenate([GENERATED[index] for index in indices])
        assert value(f"fd_{HANDS}", GENERATED, REAL, indices) == pytest.approx(frechet_distance(together, np.concatenate(REAL)), rel=1e-6)
        assert value(f"mind_{HANDS}", GENERATED, REAL, indices) == pytest.approx(mind(together, np.concatenate(REAL)), rel=1e-6)


def test_frechet_distance_of_rows_equals_torch_fidelity() -> None:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    generated, real = images([9] * 30, 2, dimensions=16, shift=0.1), images([9] * 20, 3, dimensions=16)
    moments = [{"mu": each.mean(0), "sigma": np.cov(each.astype(np.float64), rowvar=False)} for each in map(np.concatenate, (generated, real))]
    theirs = fid_statistics_to_metric(*moments, verbose=False)["frechet_inception_distance"]
    assert value(f"fd_{HANDS}", generated, real) == pytest.approx(theirs, rel=1e-6)


def test_more_rows_than_dimensions_keep_no_square_of_the_rows_and_give_the_same_value() -> None:
    """On the same 300 rows, both forms; and on choices of fewer rows than dimensions."""
    generated, real = (np.concatenate(images([3] * 100, seed, dimensions=64, shift=shift)).astype(np.float64) for seed, shift in ((4, 0.1), (5, 0)))
    long, square = frechet_statistics(generated, real), frechet_statistics(generated, real, only_similarities=True)
    assert "gram" in square and "gram" not in long and all(array.size <= 300 * 64 for array in long.values())
    for indices in (np.arange(300), np.arange(0, 300, 2), np.arange(20)):
        assert frechet_of_subset(long, indices) == pytest.approx(frechet_of_subset(square, indices), rel=1e-9)


def test_faces_leave_similarities_alone_however_many_there_are() -> None:
    extractor = "face_crops_efficientnet_lite0"
    generated, real = images([6] * 10, 6), images([2] * 10, 7)
    metric = METRICS.get(f"fd_{extractor}").make(context_of(real, extractor))
    assert {"gram", "folded_gram"} <= metric.statistics(samples_of(generated, extractor)).keys()
    assert f"mind_{extractor}" not in METRICS.names(), "its statistics are the features in other axes"


def pairwise(generated: list[np.ndarray], real: list[np.ndarray], indices: np.ndarray) -> float:
    """The definition: means over pairs of different images of means over pairs of their rows."""
    def between(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean([(a @ b / len(a) + 1) ** 3 for a in x.astype(np.float64) for b in y.astype(np.float64)]))

    real = [each for each in real if len(each)]
    within = [between(generated[i], generated[j]) for i in indices for j in indices if i != j]
    among = [between(x, y) for i, x in enumerate(real) for j, y in enumerate(real) if i != j]
    return float(np.mean(within) + np.mean(among) - 2 * np.mean([between(generated[i], y) for i in indices for y in real]))


@pytest.mark.parametrize("indices", [np.arange(10), np.array([7, 2, 5]), np.array([0, 0, 3, 9])])
def test_kernel_distance_equals_the_sums_written_out(indices: np.ndarray) -> None:
    assert value(f"kid_{HANDS}", GENERATED, REAL, indices) == pytest.approx(1000 * pairwise(GENERATED, REAL, indices), rel=1e-9)


def test_kernel_of_one_row_an_image_is_that_of_the_rows_in_any_blocks_and_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    from sana_bench.metrics import kernel as module

    x, y = (np.concatenate(images([1] * number, seed)).astype(np.float64) for number, seed in ((30, 8), (20, 9)))
    assert np.array_equal(mean_kernel(cubic_kernel, one_row_each(x), one_row_each(y)), cubic_kernel(x, y))
    whole, many = kernel_distance(x, y), statistics_under(cubic_kernel, rows(GENERATED), rows(REAL))
    monkeypatch.setattr(module, "BLOCK", 50)
    monkeypatch.setattr(module, "MANY", 7)
    assert kernel_statistics(x, y)["kernel"].dtype == np.float32
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-6)
    assert np.allclose(statistics_under(cubic_kernel, rows(GENERATED), rows(REAL))["kernel"], many["kernel"], rtol=1e-6)


def test_rows_that_are_alike_within_an_image_leave_no_bias_where_pooling_them_does() -> None:
    """Equal distributions, 10 images of one to five rows: mean of 400 draws against its own standard error."""
    draw = np.random.default_rng(10)
    honest, naive = [], []
    for seed in range(400):
        x, y = (images(draw.integers(1, 6, size=10).tolist(), 1000 + 2 * seed + side, dimensions=8, alike=1.5) for side in (0, 1))
        honest.append(kernel_distance_of_subset(statistics_under(cubic_kernel, rows(x), rows(y)), np.arange(10)))
        naive.append(kernel_distance(np.concatenate(x), np.concatenate(y)))
    errors = [np.std(each) / np.sqrt(len(each)) for each in (honest, naive)]
    assert abs(np.mean(honest)) < 4 * errors[0] and np.mean(naive) > 10 * errors[1]


def test_every_image_counts_the_same_in_the_kernel_distance_however_many_rows_it_has() -> None:
    doubled = [np.repeat(each, 3, axis=0) if index % 2 else each for index, each in enumerate(GENERATED)]
    assert value(f"kid_{HANDS}", doubled, REAL) == pytest.approx(value(f"kid_{HANDS}", GENERATED, REAL), rel=1e-9)


@pytest.mark.parametrize("name", ON_HANDS)
def test_order_of_images_and_of_rows_is_nothing(name: str) -> None:
    draw = np.random.default_rng(11)
    turned = [draw.permutation(GENERATED[index]) for index in draw.permutation(10)]
    real = [draw.permutation(REAL[index]) for index in draw.permutation(len(REAL))]
    assert value(name, turned, real) == pytest.approx(value(name, GENERATED, REAL), rel=1e-9)


@pytest.mark.parametrize("name", ON_HANDS)
def test_a_further_set_is_further(name: str) -> None:
    values = [value(name, images(COUNTS, 0, shift=shift), REAL) for shift in (0, 0.5, 1)]
    assert values == sorted(values) and values[2] > values[0]


@pytest.mark.parametrize("name", ON_HANDS)
def test_images_without_a_hand_take_no_part_on_either_side(name: str) -> None:
    metric = METRICS.get(name).make(context_of(REAL))
    assert metric.usable(samples_of([np.zeros((0, 24), np.float32)])[0]) == Unscored("no hand found")
    assert all(metric.usable(sample) is None for sample in samples_of(GENERATED))
    assert value(name, GENERATED, [each for each in REAL if len(each)]) == value(name, GENERATED, REAL)
    with pytest.raises(InsufficientSamplesError, match="1 reference.*with a hand found.*score.metrics"):
        METRICS.get(name).make(context_of([REAL[0], *[REAL[2]] * 20]))


def test_enlarged_reference_pictures_are_no_measure_at_native_resolution() -> None:
    extractor = "patches_efficientnet_lite0"
    sharp, soft = images([9] * 10, 12), images([9] * 10, 13, shift=1)
    entry, generated = METRICS.get(f"kid_{extractor}"), samples_of(images([9] * 6, 14), extractor)
    mixed = entry.make(context_of(sharp + soft, extractor, reference_enlarged=[0.7] * 10 + [6.4] * 10))
    alone = entry.make(context_of(sharp, extractor))
    assert mixed.evaluate(mixed.statistics(generated), np.arange(6)) == alone.evaluate(alone.statistics(generated), np.arange(6))
    nothing_to_compare_with = entry.make(context_of(soft, extractor, reference_enlarged=[6.4] * 10))
    assert nothing_to_compare_with.usable(generated[0]) == Unscored("0 reference picture(s) of the images' size or more, and 2 are needed")
