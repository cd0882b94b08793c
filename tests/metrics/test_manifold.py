"""Precision, recall, density, coverage: parity with prdc and torch-fidelity, by hand, direction, subsets."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.metrics.manifold import K, Coverage, Density, Precision, Recall

FAMILIES = {"precision": Precision, "density": Density, "coverage": Coverage, "recall": Recall}


def normal(number: int, seed: int, spread: float = 1.0, shift: float = 0.0, dimensions: int = 12) -> np.ndarray:
    return shift + spread * np.random.default_rng(seed).normal(size=(number, dimensions))


def value(family: type, generated: np.ndarray, real: np.ndarray, chosen: np.ndarray | None = None) -> float:
    return family.distance(family.reduce(generated, real), np.arange(len(generated)) if chosen is None else chosen)


@pytest.mark.parametrize(("num_generated", "num_real"), [(60, 60), (40, 90), (90, 40)])
@pytest.mark.parametrize("seed", range(3))
def test_all_four_equal_prdc(num_generated: int, num_real: int, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    from prdc import compute_prdc

    generated, real = normal(num_generated, seed, spread=0.9, shift=0.1), normal(num_real, 100 + seed)
    theirs = compute_prdc(real.astype(np.float64), generated.astype(np.float64), nearest_k=K)
    for name, family in FAMILIES.items():
        assert value(family, generated, real) == pytest.approx(theirs[name], rel=1e-6), name


def test_precision_and_recall_equal_torch_fidelity() -> None:
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    generated, real = normal(70, 5, spread=0.8), normal(70, 6)
    theirs = prc_features_to_metric(torch.from_numpy(generated), torch.from_numpy(real), prc_neighborhood=K, prc_batch_size=1000, verbose=False)
    assert value(Precision, generated, real) == pytest.approx(theirs["precision"], rel=1e-6)
    assert value(Recall, generated, real) == pytest.approx(theirs["recall"], rel=1e-6)


def test_by_hand_on_a_line() -> None:
    """Real images at 0 to 9, whose fifth neighbours are 5 away at the ends and 3 in the middle. Generated ones at 4.5 and at 100."""
    real = np.arange(10, dtype=float)[:, None]
    generated = np.array([[4.5], [100.0]])
    inside = np.abs(real - 4.5)[:, 0] < np.array([5, 4, 3, 3, 3, 3, 3, 3, 4, 5])
    assert value(Precision, generated, real) == 0.5
    assert value(Density, generated, real) == pytest.approx(inside.sum() / 5 / 2)
    assert value(Coverage, generated, real) == pytest.approx(inside.mean())


def test_lost_variety_lowers_recall_and_coverage_and_not_precision() -> None:
    real, full = normal(150, 7), normal(150, 8)
    collapsed = np.concatenate([full[:15] + 0.01 * normal(15, index) for index in range(10)])
    for family, falls in ((Precision, False), (Coverage, True), (Recall, True)):
        before, after = value(family, full, real), value(family, collapsed, real)
        assert (after < before - 0.2) is falls, family


def test_images_far_away_lower_all_four() -> None:
    real, near, far = normal(80, 9), normal(80, 10), normal(80, 11, shift=3)
    for family in FAMILIES.values():
        assert value(family, far, real) < value(family, near, real)


@pytest.mark.parametrize("family", FAMILIES.values())
def test_a_subset_is_scored_as_if_it_were_alone(family: type) -> None:
    generated, real, chosen = normal(40, 12), normal(50, 13), np.array([2, 30, 7, 19, 4, 33, 21, 8, 11, 39])
    assert value(family, generated, real, chosen) == pytest.approx(value(family, generated[chosen], real))
