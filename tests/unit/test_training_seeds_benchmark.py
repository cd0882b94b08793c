"""The benchmark of training seeds: the spread that it expects is that of a two-way layout, and it tells a shared effect of a seed from noise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.training_seeds import expected_spread
from sana_bench.errors import InsufficientSamplesError
from sana_bench.pairs import Pairs, make_pairs
from tests.bundles import make_bundle, make_replicates, set_metric_registered


def pairs_of(values_KP: np.ndarray) -> Pairs:
    several = make_replicates([make_bundle({"hand_rate": values}) for values in values_KP.tolist()])
    return make_pairs(several.result.results[0], several, several)


def test_it_is_the_residual_mean_square_of_the_two_way_layout():
    values_KP = np.random.default_rng(0).normal(size=(4, 12))
    residuals_KP = values_KP - values_KP.mean(axis=0) - values_KP.mean(axis=1, keepdims=True) + values_KP.mean()
    assert expected_spread(pairs_of(values_KP)) == pytest.approx(np.sqrt((residuals_KP**2).sum() / (3 * 11) / 12))


def test_what_a_seed_does_to_all_prompts_and_a_prompt_to_all_seeds_is_not_expected():
    values_KP = np.random.default_rng(1).normal(size=(3, 10))
    moved_KP = values_KP + np.array([[5.0], [0.0], [-5.0]]) + np.linspace(0, 9, 10)
    assert expected_spread(pairs_of(moved_KP)) == pytest.approx(expected_spread(pairs_of(values_KP)))
    assert pairs_of(moved_KP).seed_values(1).std(ddof=1) > 4


def test_of_seeds_that_draw_prompts_independently_it_is_what_is_seen():
    """400 runs of noise alone: the mean of the squares of both agrees within 3 standard errors (that of the seen one is sqrt(2 / 3 / 400), 4 %)."""
    draw = np.random.default_rng(2)
    runs = [pairs_of(draw.normal(size=(4, 10)) + draw.normal(size=10)) for _ in range(400)]
    seen, expected = (np.mean(np.square(each)) for each in ([run.seed_values(1).std(ddof=1) for run in runs], [expected_spread(run) for run in runs]))
    assert seen / expected == pytest.approx(1, abs=0.13)


def test_of_a_set_metric_too():
    with set_metric_registered() as entry:
        draw = np.random.default_rng(3)
        several = make_replicates([make_bundle({}, sets={entry.name: draw.normal(size=20).tolist()}) for _ in range(3)])
        pairs = make_pairs(several.result.results[0], several, several)
        assert 0 < expected_spread(pairs) < 1


def test_a_seed_that_is_scored_on_one_prompt_alone_is_too_few():
    several = make_replicates([make_bundle({"hand_rate": values}) for values in ([0.1, 0.2, 0.3], [0.4, None, None])])
    with pytest.raises(InsufficientSamplesError):
        expected_spread(make_pairs(several.result.results[0], several, several))
