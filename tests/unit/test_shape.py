"""Shrunk covariance and Mahalanobis distances: the definition written out, limits, held-out calibration."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.shape import fit_shapes, ledoit_wolf


def shapes_of(num_shapes: int, seed: int, num_ratios: int = 8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(num_ratios, num_ratios)) / 4
    return rng.normal(size=(num_shapes, num_ratios)) @ mixing + 0.5


def test_ledoit_wolf_equals_the_paper_written_out() -> None:
    """Section 3.2: b^2 = mean |x x' - S|^2 / n, d^2 = |S - m I|^2, S* = b^2/d^2 m I + (1 - b^2/d^2) S."""
    shapes = shapes_of(20, 1)
    centred = shapes - shapes.mean(0)
    sample = sum(np.outer(x, x) for x in centred) / 20
    target = np.trace(sample) / 8 * np.eye(8)
    b2 = sum(np.square(np.outer(x, x) - sample).sum() for x in centred) / 20**2
    share = min(b2 / np.square(sample - target).sum(), 1)
    assert 0.01 < share < 0.99
    assert ledoit_wolf(shapes) == pytest.approx(share * target + (1 - share) * sample)


def test_ledoit_wolf_trusts_many_shapes_and_is_invertible_with_few() -> None:
    many = shapes_of(20_000, 2)
    assert ledoit_wolf(many) == pytest.approx(np.cov(many.T), abs=0.01)
    assert np.linalg.eigvalsh(ledoit_wolf(shapes_of(4, 3)))[0] > 1e-4


def test_new_shapes_of_the_same_kind_lie_at_about_one() -> None:
    """With 30 shapes a fit to themselves would promise too little: held-out distances keep the promise."""
    reference = fit_shapes(shapes_of(30, 4), (), 12, "shape(s)")
    new = np.array([reference.relative_distance(shape) for shape in shapes_of(2000, 5)])
    assert np.median(new) == pytest.approx(1, abs=0.25)
    survival = np.array([reference.survival(shape) for shape in shapes_of(2000, 5)])
    assert survival.mean() == pytest.approx(0.5, abs=0.12)


def test_survival_falls_from_one_to_the_smallest_share() -> None:
    reference = fit_shapes(shapes_of(39, 6), (), 12, "shape(s)")
    direction = np.ones(8)
    values = [reference.survival(reference.mean_D + step * direction) for step in (0, 0.2, 0.5, 1, 100)]
    assert values[0] == 1 and values[-1] == 1 / 40
    assert values == sorted(values, reverse=True)


def test_distance_is_zero_at_the_mean_and_linear_along_a_line() -> None:
    reference = fit_shapes(shapes_of(50, 7), (), 12, "shape(s)")
    step = np.linspace(-1, 1, 8)
    assert reference.distance(reference.mean_D) == 0
    assert reference.distance(reference.mean_D + 3 * step) == pytest.approx(3 * reference.distance(reference.mean_D + step))


def test_too_few_shapes_are_refused() -> None:
    with pytest.raises(InsufficientSamplesError, match="11 hand.*at least 12.*data.reference"):
        fit_shapes(shapes_of(11, 8), (), 12, "hand(s)")


def test_a_new_person_lies_where_the_reference_promises_although_people_differ_more_than_pictures() -> None:
    """Folds that cut through a person would promise 1 at half of the distance at which new people stand."""
    rng = np.random.default_rng(9)

    def people(number: int) -> tuple[np.ndarray, list[str]]:
        shapes = [rng.normal(size=8) + 0.3 * rng.normal(size=(12, 8)) for _ in range(number)]
        return np.concatenate(shapes), [f"person {index}" for index in range(number) for _ in range(12)]

    shapes, names = people(6)
    new, _ = people(60)
    known, unknown = fit_shapes(shapes, names, 12, "shape(s)"), fit_shapes(shapes, (), 12, "shape(s)")
    median = {which: np.median([each.relative_distance(shape) for shape in new]) for which, each in (("known", known), ("unknown", unknown))}
    assert median["known"] == pytest.approx(1, abs=0.35) and median["unknown"] > median["known"] + 0.2
    order = rng.permutation(len(shapes))
    shuffled = fit_shapes(shapes[order], [names[index] for index in order], 12, "shape(s)")
    assert shuffled.distances_M == pytest.approx(known.distances_M)
