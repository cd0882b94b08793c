"""Power: closed forms, parity, and verdicts of simulated runs that must be as frequent as was promised."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from sana_bench.cli import main
from sana_bench.compare import judge
from sana_bench.config import BudgetOverride, CompareSection, GateSection, RunConfig
from sana_bench.difference import measure_difference
from sana_bench.errors import BaselineError, ConfigError, InsufficientSamplesError, MetricError
from sana_bench.pairs import Pairs
from sana_bench.pilot import PilotRun, find_pilot, open_pilot, pilot_of, pseudo_values
from sana_bench.power import Rule, chance_of_excluding, chance_of_finding, cheapest, designs, power_at, smallest_effect
from sana_bench.power_plan import PowerRequest, larger_suites, plan_power
from sana_bench.power_plot import draw_power
from sana_bench.prompts import load_suite
from sana_bench.significance import holm, sign_flip_test
from sana_bench.spread import Pilot, Precision, Spread, read_pilot
from sana_bench.statistics import mean_interval, set_interval
from tests.bundles import SET_METRIC, make_bundle, set_metric_registered, write_result_folder

NO_BUDGET = Rule(budget=0.0)


def known(by_prompt: float, by_image: float | None, *, num_prompts: int = 24, num_images: int = 2, share: float = 1.0) -> Pilot:
    """A pilot whose spread is known for sure."""
    spread = Spread(by_prompt, by_image)
    resampled = Spread(np.full(10, by_prompt), None if by_image is None else np.full(10, by_image))
    return Pilot(spread, resampled, num_prompts, num_images, share, 1.0)


def finding(effect: float, rule: Rule):
    return partial(chance_of_finding, effect, rule=rule)


def excluding(rule: Rule):
    return partial(chance_of_excluding, rule=rule)


def draw_pairs(rng: np.random.Generator, num_prompts: int, num_images: int, tau: float, sigma: float, gain: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """Differences with the given mean, SD between prompts and SD between images of a prompt."""
    values = gain + tau * rng.normal(size=(num_prompts, 1)) + sigma * rng.normal(size=(num_prompts, num_images))
    return values.ravel(), [f"p{at:03d}" for at in range(num_prompts) for _ in range(num_images)]


# Chances, against closed forms and a second implementation.

@pytest.mark.parametrize("num_prompts", [8, 20, 100])
@pytest.mark.parametrize("size", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
def test_without_a_budget_it_is_the_power_of_students_test(num_prompts: int, size: float, alpha: float):
    """Losses only: the lower half of a two-sided test, which statsmodels has as a one-sided one at half of alpha."""
    rule = Rule(budget=0.0, confidence=1 - alpha)
    if num_prompts == 8 and alpha < 0.01:
        assert chance_of_finding(size, Precision(8, 1 / math.sqrt(8), 7), rule) == 0  # 8 prompts all move the same way by chance in 2 of 256 cases
        return
    expected = TTestPower().power(size, num_prompts, alpha / 2, alternative="larger")
    assert chance_of_finding(size, Precision(num_prompts, 1 / math.sqrt(num_prompts), num_prompts - 1), rule) == pytest.approx(expected, abs=2e-3)


def test_gates_share_the_chance_of_a_false_alarm_as_holms_first_step_has_it():
    shared, strict = Rule(budget=0.0, num_gates=10), Rule(budget=0.0, confidence=0.995)
    assert shared.alpha == pytest.approx(0.005)
    assert chance_of_finding(1.0, Precision(20, 0.3, 19), shared) == pytest.approx(chance_of_finding(1.0, Precision(20, 0.3, 19), strict), rel=1e-9)


def test_a_loss_of_exactly_the_budget_is_found_in_at_most_half_of_all_runs():
    rule = Rule(budget=1.0)
    chances = [chance_of_finding(1.0, Precision(number, 3 / math.sqrt(number), number - 1), rule) for number in (10, 100, 1000, 10_000)]
    assert chances == sorted(chances) and max(chances) <= 0.5 and chances[-1] == pytest.approx(0.5, abs=1e-6)


def test_excluding_is_the_chance_that_the_interval_stays_above_minus_the_budget():
    """(gain + budget) / estimated standard error is noncentral t, with budget / standard error as noncentrality."""
    for num_prompts, budget in ((6, 2.0), (24, 0.5), (200, 0.2)):
        error = 1 / math.sqrt(num_prompts)
        expected = stats.nct.sf(stats.t.ppf(0.975, num_prompts - 1), num_prompts - 1, budget / error)
        assert chance_of_excluding(Precision(num_prompts, error, num_prompts - 1), Rule(budget)) == pytest.approx(expected, abs=2e-3)
    assert chance_of_excluding(Precision(5, 0.01, 4), Rule(1.0)) == 0  # five prompts never make a verdict


@pytest.mark.parametrize(("num_prompts", "num_images", "rho", "expected"), [
    (25, 1, 0, 2.06), (50, 1, 0, 1.46), (50, 4, 0, 0.80), (100, 1, 0.5, 0.75), (100, 2, 0, 0.75), (200, 2, 0.5, 0.40), (400, 1, 0, 0.51)])
def test_smallest_effect_is_the_textbook_one(num_prompts: int, num_images: int, rho: float, expected: float):
    """2.80 sqrt(tau^2 / P + 2 s^2 (1 - rho) / (P K)) with tau = 1 and s = 2.5; Student's quantiles add 4 % with 25 prompts, 2 % with 50."""
    pilot = known(1.0, 2 * 2.5**2 * (1 - rho))
    textbook = 2.8016 * math.sqrt((1 + 12.5 * (1 - rho) / num_images) / num_prompts)
    assert textbook == pytest.approx(expected, abs=0.006)
    found = smallest_effect(pilot, num_prompts, num_images, NO_BUDGET, 0.8)
    assert 1.0 < found / textbook < 1 + 1.2 / num_prompts
    assert power_at(finding(found, NO_BUDGET), pilot, num_prompts, num_images) == pytest.approx(0.8, abs=1e-9)


def test_the_budget_comes_on_top_of_what_must_be_told_apart():
    """Where the budget is far larger than the error, the gain must be below -budget by 0.842 errors (80 %)."""
    pilot = known(1.0, None, num_images=1)
    assert smallest_effect(pilot, 100, 1, Rule(budget=2.0), 0.8) == pytest.approx(2.0 + 0.8416 * 0.1, abs=1e-3)


def test_power_grows_with_effect_prompts_and_images():
    pilot, rule = known(1.0, 12.5), Rule(budget=0.5, num_gates=3)
    by_effect = [power_at(finding(effect, rule), pilot, 40, 2) for effect in (0.4, 0.8, 1.2, 2.0)]
    by_prompts = [power_at(finding(1.2, rule), pilot, number, 2) for number in (5, 10, 20, 40, 80)]
    by_images = [power_at(finding(1.2, rule), pilot, 40, number) for number in (1, 2, 4, 8)]
    excluded = [power_at(excluding(rule), pilot, number, 2) for number in (10, 40, 160, 640)]
    for chances in (by_effect, by_prompts, by_images, excluded):
        assert chances == sorted(chances) and chances[-1] > chances[0] + 0.2


# What a pilot tells.

def test_variance_components_of_many_prompts_are_the_true_ones():
    values, prompts = draw_pairs(np.random.default_rng(0), 4000, 3, tau=1.0, sigma=2.0)
    pilot = read_pilot(values, prompts, 4000, 3, num_resamples=100)
    assert (pilot.spread.by_prompt, pilot.spread.by_image) == pytest.approx((1.0, 4.0), rel=0.1)
    assert pilot.variance(4) == pytest.approx(pilot.spread.by_prompt + pilot.spread.by_image / 4)
    assert (pilot.share_of_prompts, pilot.share_of_images) == (1.0, 1.0)


def test_variance_components_by_hand():
    """Six prompts with means 0, 0, 0, 3, 3, 3 and two images at +-1 of each.

    Within: 6 x 2 / 6 = 2. Between: 2 x 6 x 1.5^2 / 5 = 5.4. tau^2 = (5.4 - 2) / 2 = 1.7.
    """
    values = np.array([side + mean for mean in (0, 0, 0, 3, 3, 3) for side in (-1, 1)], dtype=float)
    pilot = read_pilot(values, [f"p{at // 2}" for at in range(12)], 6, 2)
    assert tuple(pilot.spread) == pytest.approx((1.7, 2.0))
    assert pilot.variance(2) == pytest.approx(2.7)  # the variance of the prompt means: 6 x 1.5^2 / 5


def test_components_of_unequal_numbers_of_images_are_unbiased():
    """Prompts with 1, 2 or 4 scored images; tau^2 = 1, sigma^2 = 4; mean of 400 pilots, standard error about 0.04."""
    rng, found = np.random.default_rng(1), []
    counts = np.resize([1, 2, 4], 60)
    prompts = [f"p{at}" for at, count in enumerate(counts) for _ in range(count)]
    for _ in range(400):
        values = np.repeat(rng.normal(size=60), counts) + 2 * rng.normal(size=counts.sum())
        found.append(read_pilot(values, prompts, 60, 4, num_resamples=2).spread)
    assert np.mean(found, axis=0) == pytest.approx([1.0, 4.0], abs=0.15)


def test_one_image_a_prompt_cannot_tell_them_apart():
    values, prompts = draw_pairs(np.random.default_rng(2), 24, 1, 1.0, 2.0)
    pilot = read_pilot(values, prompts, 24, 1)
    assert not pilot.told_apart and pilot.variance(1) == pytest.approx(values.var(ddof=1))
    assert [each.num_images_per_prompt for each in designs(finding(2.0, NO_BUDGET), pilot, 0.8)] == [1]


@pytest.mark.parametrize("num_prompts", [0, 5])
def test_fewer_than_six_prompts_are_no_pilot(num_prompts: int):
    values, prompts = draw_pairs(np.random.default_rng(3), num_prompts, 2, 1.0, 1.0)
    with pytest.raises(InsufficientSamplesError, match=f"{num_prompts} prompt"):
        read_pilot(values, prompts, 24, 2)


def test_a_pilot_without_any_spread_tells_nothing():
    with pytest.raises(MetricError, match="all of the pilot's 12 values are 0"):
        read_pilot(np.zeros(12), [f"p{at}" for at in range(12)], 12, 1)
    with pytest.raises(MetricError, match="not finite"):
        read_pilot(np.array([math.nan] * 12), [f"p{at}" for at in range(12)], 12, 1)


def test_the_order_of_pairs_changes_nothing_and_the_seed_decides_the_range():
    values, prompts = draw_pairs(np.random.default_rng(4), 24, 2, 1.0, 1.0)
    order = np.random.default_rng(5).permutation(48)
    one, other = read_pilot(values, prompts, 24, 2), read_pilot(values[order], [prompts[at] for at in order], 24, 2)
    assert other.spread == pytest.approx(one.spread) and other.variance_limits(3) == pytest.approx(one.variance_limits(3))
    assert read_pilot(values, prompts, 24, 2, seed=1).variance_limits(3) != one.variance_limits(3)


@pytest.mark.parametrize(("num_prompts", "num_images", "least"), [(8, 1, 0.91), (24, 2, 0.88), (60, 1, 0.91)])
def test_the_range_covers_the_truth_about_as_often_as_the_docstring_says(num_prompts: int, num_images: int, least: float):
    rng, covered, truth = np.random.default_rng(6), 0, 1.0 + 2.0 / num_images
    for _ in range(300):
        pilot = read_pilot(*draw_pairs(rng, num_prompts, num_images, 1.0, math.sqrt(2)), num_prompts, num_images, num_resamples=800)
        low, high = pilot.variance_limits(num_images)
        covered += low <= truth <= high
        assert low <= pilot.variance(num_images) <= high
    assert covered / 300 >= least


def test_prompts_without_a_value_must_be_drawn_too():
    """Of a metric that one prompt in three has, three times the prompts are drawn."""
    whole, third = (designs(finding(1.0, NO_BUDGET), known(1.0, None, num_images=1, share=share), 0.8)[0].num_prompts for share in (1.0, 1 / 3))
    assert third == 3 * whole


# What to draw.

def test_each_design_reaches_the_power_and_one_prompt_less_does_not():
    pilot, chance = known(1.0, 12.5), finding(1.5, Rule(0.5, num_gates=4))
    frontier = designs(chance, pilot, 0.8)
    assert [each.num_images_per_prompt for each in frontier][:3] == [1, 2, 3]
    for each in frontier:
        assert power_at(chance, pilot, each.num_prompts, each.num_images_per_prompt) >= 0.8
        assert power_at(chance, pilot, each.num_prompts - 1, each.num_images_per_prompt) < 0.8
        assert each.low == each.num_prompts == each.high  # the spread is known for sure
    assert [each.num_prompts for each in frontier] == sorted({each.num_prompts for each in frontier}, reverse=True)


def test_the_cheapest_design_respects_what_the_suite_has():
    pilot, chance = known(1.0, 12.5), finding(1.5, NO_BUDGET)
    frontier = designs(chance, pilot, 0.8)
    free = cheapest(frontier)
    assert free.num_images == min(each.num_images for each in frontier) and free.num_images_per_prompt == 1
    bound = cheapest(frontier, 24)
    assert bound.num_prompts <= 24 and bound.num_images_per_prompt > 1
    assert cheapest(frontier, 5) is None  # tau^2 / P stays, however many images a prompt has


def test_no_number_of_prompts_finds_a_loss_within_the_budget():
    frontier = designs(finding(1.0, Rule(1.0)), known(1.0, 1.0), 0.8)
    assert [each.num_prompts for each in frontier] == [None] and cheapest(frontier) is None and not frontier[0].fits(10**9)


def test_a_metric_that_needs_many_images_needs_them_here_too():
    found = designs(finding(5.0, NO_BUDGET), known(1.0, 1.0), 0.8, fewest_images=100)
    assert (found[0].num_prompts, found[1].num_prompts) == (100, 50)
    assert smallest_effect(known(1.0, 1.0), 99, 1, Rule(0.1, fewest_images=100), 0.8) is None


def test_larger_suites_are_of_the_same_kind():
    assert larger_suites(100, load_suite("tiny_humans")) == {"human_core": len(load_suite("human_core").prompt)}
    assert larger_suites(10, load_suite("general_guard")) == {"general_guard": len(load_suite("general_guard").prompt)}


# Verdicts of simulated runs.

TAU, SIGMA, RUNS = 0.6, 1.0, 300


def verdict_of(pairs: list[tuple[np.ndarray, np.ndarray, list[str]]], budget: float) -> str:
    """What `compare` says of the first of some metrics that are decided together: (baseline's values, candidate's, prompts) of each."""
    settings = CompareSection(num_resamples=400)
    found = [measure_difference(Pairs((), tuple(prompts), (before[None], after[None]), None, "any", False, ""), settings) for before, after, prompts in pairs]
    return judge(found[0].interval, budget, found[0].num_prompts, settings.confidence, holm([each.p_value for each in found])[0])


def outcomes_of(num_prompts: int, num_images: int, gain: float, budget: float, metrics: int = 1) -> list[str]:
    """Of RUNS runs with that true gain on the first of so many metrics; the others do not change."""
    rng, outcomes = np.random.default_rng(num_prompts), []
    for _ in range(RUNS):
        differences = [draw_pairs(rng, num_prompts, num_images, TAU, SIGMA, gain if first else 0.0) for first in [True] + [False] * (metrics - 1)]
        outcomes.append(verdict_of([(np.zeros(len(values)), values, prompts) for values, prompts in differences], budget))
    return outcomes


@pytest.mark.parametrize(("num_prompts", "num_images", "effect", "metrics"), [
    (30, 1, 0.6, 1), (30, 2, 0.6, 1), (16, 4, 0.7, 1), (60, 1, 0.2, 1), (30, 2, 0.7, 6), (12, 1, 1.4, 3)])
def test_a_loss_is_found_as_often_as_was_promised(num_prompts: int, num_images: int, effect: float, metrics: int):
    """Within 10 points; the share of 300 runs has a standard error of 3 at most. Where a metric regresses alone, Holm's first step judges it."""
    promised = power_at(finding(effect, Rule(0.2, num_gates=metrics)), known(TAU**2, SIGMA**2), num_prompts, num_images)
    assert 0.2 < promised < 0.95
    found = outcomes_of(num_prompts, num_images, -effect, 0.2, metrics).count("regressed") / RUNS
    assert found == pytest.approx(promised, abs=0.1)


@pytest.mark.parametrize(("num_prompts", "num_images", "budget"), [(40, 2, 0.4), (90, 1, 0.3), (8, 4, 0.8)])
def test_a_loss_is_excluded_as_often_as_was_promised(num_prompts: int, num_images: int, budget: float):
    promised = power_at(excluding(Rule(budget)), known(TAU**2, SIGMA**2), num_prompts, num_images)
    assert 0.5 < promised < 0.95
    outcomes = outcomes_of(num_prompts, num_images, 0.0, budget)
    assert (outcomes.count("unchanged") + outcomes.count("improved")) / RUNS == pytest.approx(promised, abs=0.1)


@pytest.mark.parametrize(("num_prompts", "num_images"), [(32, 2), (50, 1), (90, 1)])
def test_shares_are_excluded_as_often_as_a_pilot_of_them_promises(num_prompts: int, num_images: int):
    """0 or 1 for each image, seven in eight 1, one pair in eight drawn anew: what is promised from the pilot itself, on average."""
    rng, promised, passed = np.random.default_rng(10), [], []
    for _ in range(RUNS):
        before = (rng.random(num_prompts * num_images) < 7 / 8).astype(float)
        after = np.where(rng.random(len(before)) < 1 / 8, rng.random(len(before)) < 7 / 8, before).astype(float)
        prompts = [f"p{at // num_images}" for at in range(len(before))]
        passed.append(verdict_of([(before, after, prompts)], 0.1) in ("unchanged", "improved"))
        if np.ptp(after - before):
            pilot = read_pilot(after - before, prompts, num_prompts, num_images, shares=True, num_resamples=2)
            assert pilot.bounded
            promised.append(power_at(excluding(Rule(0.1)), pilot, num_prompts, num_images))
    assert np.mean(passed) == pytest.approx(np.mean(promised), abs=0.1)
    assert 0.1 < np.mean(passed) < 0.99


# Result folders and the command.

CONFIG = RunConfig(name="tiny", gate=(GateSection(metric="hand_rate"),)).model_dump(mode="json")


def write_run(folder: Path, *, num_prompts: int = 24, images: int = 2, gain: float = 0.0, created: str = "2026-11-24T06:00:00Z", paired: bool = True,
              suite: str = "tiny_humans", name: str = "tiny", seed: int = 0, **changes) -> Path:
    """A run folder with `hand_rate`, budget 0.1, whose differences have SD 0.2 between prompts and 0.3 between images of a prompt."""
    rng = np.random.default_rng(seed)
    pairs, _ = draw_pairs(rng, num_prompts, images, 0.2, 0.3, gain)
    before = 0.5 + rng.normal(size=len(pairs))
    fields = {"suite": suite, "name": name, "config": {**CONFIG, "name": name}, **changes}
    candidate = make_bundle({"hand_rate": (before + pairs).tolist(), "face_rate": (before + 0.01 * pairs).tolist()}, images=images, digest="after", **fields)
    provenance = candidate.result.provenance.model_copy(update={"created": created})
    write_result_folder(replace(candidate, result=candidate.result.model_copy(update={"provenance": provenance})), folder)
    if paired:
        baseline = make_bundle({"hand_rate": before.tolist(), "face_rate": before.tolist()}, images=images, digest="before", **fields)
        write_result_folder(baseline, folder / "baseline")
    return folder


def plan_of(folder: Path, request: PowerRequest = PowerRequest(), config: RunConfig | None = None, suite: str = ""):
    run = open_pilot(folder)
    return plan_power(request, run, config or RunConfig.model_validate(CONFIG), load_suite(suite) if suite else None)


def test_a_plan_of_a_pilot_says_what_its_numbers_say(tmp_path: Path):
    plan = plan_of(write_run(tmp_path / "run"), PowerRequest(("hand_rate",), effect=0.25))
    (metric,) = plan.metrics
    run = open_pilot(tmp_path / "run")
    by_id = [{score.sample_id: score.value for score in side.scores if score.metric == "hand_rate"} for side in (run.after, run.before)]
    values = np.array([by_id[0][name] - by_id[1][name] for name in by_id[0]])
    expected = read_pilot(values, [name[:3] for name in by_id[0]], 24, 2)
    assert metric.pilot.spread == pytest.approx(expected.spread)
    assert metric.find == designs(finding(0.25, Rule(0.1)), metric.pilot, 0.8)
    assert metric.exclude == designs(excluding(Rule(0.1)), metric.pilot, 0.8)
    assert plan.num_gates == 1 and plan.suite == "tiny_humans" and plan.num_prompts == 24


def test_the_advice_is_a_suite_that_has_the_prompts(tmp_path: Path):
    plan = plan_of(write_run(tmp_path / "run"), PowerRequest(("hand_rate",), effect=0.125))
    (metric,) = plan.metrics
    assert cheapest(metric.find, 24) is None and cheapest(metric.find).num_prompts <= 242
    assert plan.advice(metric.find).endswith("tiny_humans has only 24: use human_core (242)")
    there = plan_of(tmp_path / "run", PowerRequest(("hand_rate",), effect=0.125), suite="human_core")
    assert there.advice(there.metrics[0].find).endswith("human_core has 242")
    assert "taken to be the same on human_core" in " ".join(there.notes)


def test_every_metric_that_may_decide_is_planned_for_twice_its_budget(tmp_path: Path):
    plan = plan_of(write_run(tmp_path / "run"), config=RunConfig(name="other"))
    assert [(each.result.metric, each.effect, each.rule.num_gates) for each in plan.metrics] == [("hand_rate", 0.2, 2), ("face_rate", 0.2, 2)]
    assert plan_of(tmp_path / "run", PowerRequest(num_gates=5)).num_gates == 5


def test_one_side_alone_rests_on_an_assumption_that_is_said(tmp_path: Path):
    write_run(tmp_path / "run", paired=False)
    free, tied = (plan_of(tmp_path / "run", PowerRequest(("hand_rate",), effect=1.0, correlation=rho)) for rho in (None, 0.75))
    ratio = tied.metrics[0].pilot.variance(2) / free.metrics[0].pilot.variance(2)
    assert ratio == pytest.approx(0.25)  # 2 (1 - rho) of the variance of one side: 0.5 instead of 2
    assert "one side alone" in " ".join(free.notes) and "by 0 is an assumption" in " ".join(free.notes) and "by 0.75 " in " ".join(tied.notes)


def test_a_set_metric_has_the_spread_of_its_jackknife():
    """SD of the pseudo-values / sqrt(P) is the jackknife's standard error; on a mean they are the values themselves."""
    rng = np.random.default_rng(8)
    values, prompts = rng.normal(size=36), [f"p{at % 12:02d}" for at in range(36)]
    pseudo = pseudo_values(lambda at: float(values[at].var()), prompts)
    interval = set_interval(lambda at: float(values[at].var()), prompts)
    by_prompt = pseudo[:12]
    half = stats.t.ppf(0.975, 11) * by_prompt.std(ddof=1) / math.sqrt(12)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=1e-9)
    means = pseudo_values(lambda at: float(values[at].mean()), [str(at) for at in range(36)])
    assert means == pytest.approx(values)


def test_a_set_metric_is_planned_at_the_pilots_number_of_images(tmp_path: Path):
    rng = np.random.default_rng(9)
    with set_metric_registered():
        for name, where in (("after", tmp_path / "run"), ("before", tmp_path / "run" / "baseline")):
            write_result_folder(make_bundle({}, sets={SET_METRIC: rng.normal(size=48).tolist()}, images=2, digest=name), where)
        pilot = pilot_of(open_pilot(tmp_path / "run"), SET_METRIC, 0.0, num_resamples=50, seed=0)
    assert not pilot.told_apart and pilot.variance(2) > 0 and pilot.pairs(24, 2) == 48


def test_the_newest_run_that_shows_a_difference_is_the_pilot(tmp_path: Path):
    old = write_run(tmp_path / "old", created="2026-11-01T00:00:00Z")
    assert find_pilot(tmp_path, "tiny_humans") == old
    new = write_run(tmp_path / "new", created="2026-11-02T00:00:00Z")
    write_run(tmp_path / "newest_alone", created="2026-11-03T00:00:00Z", paired=False)
    write_run(tmp_path / "elsewhere", created="2026-11-04T00:00:00Z", suite="human_core")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    (tmp_path / "broken" / "statistics.safetensors").write_text("")
    assert find_pilot(tmp_path, "tiny_humans") == new
    assert find_pilot(tmp_path, "tiny_humans", "another_recipe") is None and find_pilot(tmp_path, "general_guard") is None


def test_sides_that_are_no_pairs_are_refused(tmp_path: Path):
    write_run(tmp_path / "run")
    other = make_bundle({"hand_rate": [0.5] * 48}, images=2, seed=900, suite="tiny_humans")
    write_result_folder(other, tmp_path / "run" / "baseline")
    with pytest.raises(BaselineError, match="no pairs: sample p00_0 was drawn from seed 900"):
        open_pilot(tmp_path / "run")


@pytest.mark.parametrize(("request_", "part"), [
    (PowerRequest(("hand_rat",)), 'Did you mean "hand_rate"'), (PowerRequest(effect=0.1), "name the metric with --metric"),
    (PowerRequest(("hand_rate",), effect=-0.1), "above 0"),
    (PowerRequest(("hand_rate",), effect=math.nan), "above 0"), (PowerRequest(("hand_rate",), effect=math.inf), "above 0"),
    (PowerRequest(power=1.0), "--power"), (PowerRequest(correlation=1.0), "--correlation"),
    (PowerRequest(num_gates=0), "--num-gates")])
def test_what_cannot_be_asked_is_one_error(request_: PowerRequest, part: str, tmp_path: Path):
    write_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=part):
        plan_of(tmp_path / "run", request_)


def test_what_tells_nothing_is_left_out_with_its_reason_and_alone_is_an_error(tmp_path: Path):
    write_run(tmp_path / "small", num_prompts=5)
    with pytest.raises(MetricError, match=r"hand_rate: 5 prompt\(s\) .*; face_rate: 5 prompt"):
        plan_of(tmp_path / "small")
    run = write_run(tmp_path / "run")
    strict = RunConfig(name="tiny", compare=CompareSection(budgets=(BudgetOverride(metric="face_rate", budget=0.0),)))
    plan = plan_of(run, config=strict)
    assert list(plan.left_out) == ["face_rate"] and "--effect" in plan.left_out["face_rate"]
    only = plan_of(run, PowerRequest(("face_rate",), effect=0.01), config=strict)
    assert only.metrics[0].exclude == [] and only.metrics[0].find[0].num_prompts is not None


def test_the_command_answers_in_json_text_and_a_picture(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = write_run(tmp_path / "reports" / "run")
    words = ["power", "--pilot", str(run), "--metric", "hand_rate", "--effect", "0.25"]
    assert main([*words, "--json", "--plot", str(tmp_path / "power.svg")]) == 0
    document = json.loads(capfd.readouterr().out)
    (metric,) = document["metrics"]
    assert (metric["metric"], metric["effect"], metric["budget"], document["num_gates"]) == ("hand_rate", 0.25, 0.1, 1)
    designs_ = [(each["num_images_per_prompt"], each["num_prompts"]) for each in metric["find"]]
    planned = plan_of(run, PowerRequest(("hand_rate",), effect=0.25)).metrics[0].find
    assert designs_ == [(each.num_images_per_prompt, each.num_prompts) for each in planned]
    assert main([*words, "--plot", str(tmp_path / "again.svg")]) == 0
    out = capfd.readouterr().out
    assert f"to find a loss of 0.25 share: {designs_[0][1]} prompts x 1" in out and "note: " in out
    picture = (tmp_path / "power.svg").read_text()
    assert picture == (tmp_path / "again.svg").read_text()
    assert all(words in picture for words in ("prompts drawn", "chance that the loss is found (share of runs)", "1 image a prompt", "4 images a prompt",
                                              "tiny_humans: 24 prompts", "hand_rate: a loss of 0.25 share"))
    assert main([*words, "--plot", str(tmp_path / "power.png")]) == 0
    assert (tmp_path / "power.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_finds_its_pilot_in_the_reports_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "reports" / "run")
    assert main(["power", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["pilot"]["folder"], document["num_gates"]) == (str(tmp_path / "reports" / "run"), 1)
    assert main(["power", "--set", "compare.confidence=0.9", "--set", "gate=[]", "--json"]) == 0  # a recipe without gates: all metrics decide together
    again = json.loads(capfd.readouterr().out)
    assert again["num_gates"] == 2 and again["metrics"][0]["alpha"] == pytest.approx(0.05)


@pytest.mark.parametrize(("words", "part"), [
    (["--suite", "human_core", "--config", "sana_1600m_2k_lora"], "no run of sana_1600m_2k_lora on human_core"), (["--plot", "power.jpg"], "ends in .svg or .png"),
    (["--pilot", "nowhere"], "nowhere is no result folder"), (["--suite", "human_cor"], 'Did you mean "human_core"')])
def test_a_wrong_request_is_one_error(words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert main(["power", "--set", f"run.baselines={tmp_path}", *words]) == 2
    out, err = capfd.readouterr()
    assert out == "" and part in err and err.count("error:") == 1


def test_the_recipes_own_suite_stands_in_for_one_without_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "reports" / "run")
    assert main(["power", "--suite", "human_core", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["pilot"]["suite"], document["suite"], document["num_prompts"]) == ("tiny_humans", "human_core", 242)
    assert any("taken to be the same on human_core" in note for note in document["notes"])


def test_a_gate_has_its_own_budget_and_one_of_a_slice_is_named(tmp_path: Path):
    gates = (GateSection(metric="hand_rate", budget=0.2), GateSection(metric="hand_rate", tag="portrait", budget=0.3))
    plan = plan_of(write_run(tmp_path / "run"), PowerRequest(("hand_rate",)), RunConfig(name="tiny", gate=gates))
    assert (plan.metrics[0].rule.budget, plan.metrics[0].effect, plan.num_gates) == (0.2, 0.4, 2)
    assert "hand_rate[tag=portrait]" in " ".join(plan.notes)


def test_the_spread_between_training_seeds_stays_however_many_prompts_are_drawn():
    """Standard errors add in squares; with few seeds few degrees of freedom are left, as in the verdict."""
    values, prompts = draw_pairs(np.random.default_rng(11), 24, 1, 1.0, 0.0)
    alone, seeded = (read_pilot(values, prompts, 24, 1, seeds=seeds) for seeds in ((), ((0.09, 2.0),)))
    assert seeded.precision(10_000, 1).error ** 2 == pytest.approx(alone.precision(10_000, 1).error ** 2 + 0.09)
    assert seeded.precision(10_000, 1).degrees_of_freedom == pytest.approx(2, abs=0.1)
    assert designs(finding(1.0, NO_BUDGET), alone, 0.8)[0].num_prompts < 30
    assert designs(finding(1.0, NO_BUDGET), seeded, 0.8)[0].num_prompts is None


def test_several_fine_tunes_of_the_pilot_are_in_its_precision():
    rng = np.random.default_rng(12)
    sides = [make_bundle({"hand_rate": (shift + rng.normal(size=24)).tolist()}, digest=f"d{shift}") for shift in (0.0, 1.0, 2.0, 0.0)]
    after = replace(sides[0], replicates=tuple(sides[1:3]))
    pilot = pilot_of(PilotRun(Path("nowhere"), after, sides[3], 1), "hand_rate", 0.0, num_resamples=10, seed=0)
    means = [np.mean([score.value for score in side.scores]) for side in sides[:3]]
    assert pilot.seeds == ((pytest.approx(np.var(means, ddof=1) / 3), 2),)


def test_text_of_records_is_no_markup_in_the_picture(tmp_path: Path):
    run = write_run(tmp_path / "run")
    plan = plan_of(run, PowerRequest(("hand_rate",), effect=0.25))
    hostile = plan.metrics[0].result.model_copy(update={"unit": "<script>alert(1)</script> $x^2$ &amp;"})
    draw_power(replace(plan, metrics=[replace(plan.metrics[0], result=hostile)], suite="<b>"), tmp_path / "power.svg")
    picture = (tmp_path / "power.svg").read_text()
    assert "<script" not in picture and "&lt;script&gt;alert(1)&lt;/script&gt; $x^2$ &amp;amp;" in picture and "&lt;b&gt;: 24 prompts" in picture


def test_the_loss_of_what_is_counted_is_promised_with_its_own_spread():
    """Of sides that hardly differ the spread is small, and a loss of a third of the prompts would make most of what it is judged by."""
    values = np.zeros(30)
    values[[3, 17]] = -1, 1
    plain, counted = (read_pilot(values, [f"p{at}" for at in range(30)], 30, 1, shares=True, counted=each) for each in (False, True))
    rule = Rule(0.05, num_gates=5)
    chances = [power_at(finding(0.3, rule), pilot, 30, 1) for pilot in (plain, counted)]
    assert chances[0] > chances[1] + 0.1
    assert smallest_effect(plain, 30, 1, rule, 0.8) < smallest_effect(counted, 30, 1, rule, 0.8)
    rows = (np.random.default_rng(12).random((RUNS, 30)) < 0.3).astype(float)
    found = np.mean([judge(mean_interval(np.minimum(values, -row), range(30), bounds=(-1, 1), num_resamples=200), 0.05, 30, 0.95,
                           5 * sign_flip_test(np.minimum(values, -row), range(30))) == "regressed" for row in rows])
    assert chances[1] <= found + 0.05 < chances[0] + 0.05, "no more is promised than is found"
