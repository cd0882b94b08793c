"""The benchmark's simulation in small: what it must show, and a control of each that it could show the contrary.

Seeds are fixed, so that nothing here is a matter of luck; bounds leave what chance moves in so many repetitions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibration import Planted, Study, any_outcome, any_uncorrected, coverage, outcomes, simulate, unchanged_at_budget
from benchmarks.calibration_data import Population, made_up, shipped

NUM, PROMPTS = 150, 24
MOST_OF_5_PERCENT = binom.ppf(0.999, NUM, 0.05) / NUM
"""What a true rate of 5 % exceeds in one of a thousand such tests."""
ONE_RATE = 3 * (0.8 * 0.2 / NUM) ** 0.5
"""Three standard errors of a rate of 80 %."""


@pytest.fixture(scope="module")
def scores() -> Population:
    return replace(shipped(), sets=())


@pytest.fixture(scope="module")
def normal() -> Population:
    return made_up("normal", "normal", num_rows=4000)


def test_shipped_scores_are_those_of_the_metrics_that_decide_on_prompts_of_both_sides(scores):
    assert scores.values_2MR.shape == (2, len(scores.metrics), 24) and len(scores.metrics) >= 10
    assert all(metric.kind == "sample" and not metric.not_judged for metric in scores.metrics)
    assert {metric.kind for metric in shipped().sets} == {"set"}


def test_without_a_change_few_runs_have_a_false_alarm_and_without_holm_many_would(scores):
    nothing = scores.without_change()
    assert np.allclose([nothing.differences(metric).mean() for metric in range(len(scores.metrics))], 0, atol=1e-12)
    runs = simulate(Study(nothing.with_budgets(np.zeros(len(scores.metrics))), PROMPTS), NUM)
    assert any_outcome(runs, "regressed").value + any_outcome(runs, "improved").value <= MOST_OF_5_PERCENT
    assert any_uncorrected(runs).limits()[0] > 0.05


@pytest.mark.parametrize("metric", ["clip_score_tiny_clip", "face_rate"])
def test_a_planted_loss_is_found_as_often_as_runs_before_it_promise(scores, metric):
    """Within ten points and what chance moves. Nothing planted, nothing found."""
    nothing = scores.without_change()
    planted = Planted(nothing, [each.metric for each in nothing.metrics].index(metric), PROMPTS)
    pilots = simulate(Study(nothing, PROMPTS), 40)
    effect = planted.effect(0.8)
    found = outcomes(simulate(Study(nothing.harmed(planted.metric, effect), PROMPTS), NUM), planted.metric, "regressed")
    assert planted.promised(planted.printed_errors(pilots), effect) == pytest.approx(found.value, abs=0.1 + ONE_RATE)
    assert 0.5 < found.value < 1 and outcomes(pilots, planted.metric, "regressed").value <= 0.05


def test_a_harmed_population_has_lost_exactly_so_much(scores):
    names = [metric.metric for metric in scores.metrics]
    for name, sign in (("clip_score_tiny_clip", -1), ("face_rate", -1), ("face_shape_deviation", 1)):
        place = names.index(name)
        harmed = scores.without_change().harmed(place, 0.25)
        assert harmed.differences(place).mean() == pytest.approx(sign * 0.25, abs=1e-3)
        assert all(np.allclose(harmed.differences(other).mean(), 0, atol=1e-12) for other in range(len(names)) if other != place)


def test_intervals_cover_and_those_that_take_images_for_prompts_do_not(normal):
    at_budget, truths = unchanged_at_budget(normal)
    right, wrong = (simulate(Study(at_budget, PROMPTS, 4, jitter=False, by_image=by_image), 80) for by_image in (False, True))
    assert np.mean([rate.value for rate in coverage(right, truths)]) >= 0.93
    assert np.mean([rate.value for rate in coverage(wrong, truths)]) < 0.9


def test_a_loss_of_exactly_the_budget_is_hardly_ever_called_unchanged_and_one_far_within_it_is(normal):
    at_budget, _ = unchanged_at_budget(normal)
    wide = at_budget.with_budgets(np.full(len(normal.metrics), 3.0))
    shares = [np.mean([outcomes(runs, metric, "unchanged").value for metric in range(len(normal.metrics))])
              for runs in (simulate(Study(each, PROMPTS, jitter=False), 80) for each in (at_budget, wide))]
    assert shares[0] <= 0.05 and shares[1] > 0.9


def test_a_repetition_does_not_depend_on_who_makes_it(scores):
    study = Study(scores, 8)
    assert simulate(study, 4) == simulate(study, 4, workers=3) and simulate(study, 2) == simulate(study, 4)[:2]
