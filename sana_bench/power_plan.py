"""What a pilot says of the next run: for each metric, the prompts and images that find a loss, and those that exclude one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sana_bench.baselines import find_baseline
from sana_bench.config import RunConfig
from sana_bench.drafts import budget_of
from sana_bench.errors import BaselineError, ConfigError, MetricError
from sana_bench.features.open_clip_models import declare
from sana_bench.pilot import PilotRun, find_pilot, pilot_of
from sana_bench.power import Design, Rule, chance_of_excluding, chance_of_finding, cheapest, designs, power_at, smallest_effect
from sana_bench.prompts import PromptSuite, load_suite, shipped_suites
from sana_bench.records import MetricResult
from sana_bench.registry import near_names
from sana_bench.sensitivity import MAX_PROMPTS
from sana_bench.significance import fewest_prompts
from sana_bench.spread import Pilot, Precision

EFFECT_IN_BUDGETS = 2.0
"""The loss that is looked for where none is named, in budgets. It must be beyond one: a loss of exactly the budget is found in at most half of
all runs, however many prompts are drawn."""


@dataclass(frozen=True)
class PowerRequest:
    """What is asked for."""

    metrics: tuple[str, ...] = ()
    """Empty: all that may decide."""
    effect: float | None = None
    """True loss to find, in the unit of the one metric that is named; None: EFFECT_IN_BUDGETS budgets."""
    power: float = 0.8
    correlation: float | None = None
    """Of both sides' values, where the pilot is one side alone; None: 0."""
    num_gates: int | None = None
    """None: the recipe's gates, or all metrics that may decide."""

    def check(self) -> None:
        """Raises ConfigError."""
        if self.effect is not None and (len(self.metrics) != 1 or not 0 < self.effect < math.inf):
            raise ConfigError("--effect is a loss of one metric in its unit, above 0 whatever the metric's good direction: name the metric with --metric")
        if not 0.5 <= self.power < 1:
            raise ConfigError(f"--power must be a share of runs from 0.5 to below 1, not {self.power:g}")
        if self.correlation is not None and not 0 <= self.correlation < 1:
            raise ConfigError(f"--correlation must be from 0 to below 1, not {self.correlation:g}")
        if self.num_gates is not None and self.num_gates < 1:
            raise ConfigError(f"--num-gates must be at least 1, not {self.num_gates}")


@dataclass(frozen=True)
class MetricPlan:
    """What one metric needs."""

    result: MetricResult
    pilot: Pilot
    rule: Rule
    effect: float
    smallest_effect: float | None
    """That the suite finds with the power asked for, at the pilot's number of images a prompt; None where it finds none."""
    find: list[Design]
    exclude: list[Design]
    """Of a loss beyond the budget where nothing changed; empty with a budget of 0."""

    def chance_to_find(self, precision: Precision) -> float:
        return chance_of_finding(self.effect, precision, self.rule)

    def chance_to_exclude(self, precision: Precision) -> float:
        return chance_of_excluding(precision, self.rule)


@dataclass(frozen=True)
class PowerPlan:
    run: PilotRun
    suite: str
    num_prompts: int
    """Of the suite to draw."""
    power: float
    num_gates: int
    metrics: list[MetricPlan]
    left_out: dict[str, str]
    """By metric, why the pilot tells nothing of it."""
    notes: list[str]
    larger_suites: dict[str, int]
    """Shipped suites of the same kind with more prompts, smallest first."""

    def chance_now(self, metric: MetricPlan) -> float:
        """To find the loss with the suite, at the pilot's number of images a prompt."""
        return power_at(metric.chance_to_find, metric.pilot, self.num_prompts, self.run.num_images_per_prompt, metric.rule.fewest_images)

    def cheapest(self, frontier: Sequence[Design]) -> Design:
        """The design of the fewest images: among those that the suite has the prompts for, where there is one."""
        return cheapest(frontier, self.num_prompts) or cheapest(frontier) or frontier[0]

    def advice(self, frontier: Sequence[Design]) -> str:
        """What to draw, in a clause."""
        best = self.cheapest(frontier)
        if best.num_prompts is None:
            return f"more than {MAX_PROMPTS} prompts: no practical number does"
        if not best.fits(self.num_prompts):
            return f"{best}; {self.suite} has only {self.num_prompts}: " + (self._larger(best) or "no shipped suite of the kind has as many")
        fewer = cheapest(frontier)
        larger = self._larger(fewer) if fewer.num_images < best.num_images else ""
        return f"{best}; {self.suite} has {self.num_prompts}" + (f". Fewer images: {fewer}, {larger}" if larger else "")

    def _larger(self, wanted: Design) -> str:
        suites = " or ".join(f"{name} ({number})" for name, number in self.larger_suites.items() if wanted.fits(number))
        return f"use {suites}" if suites else ""


def choose_pilot(config: RunConfig, suite: str, recipe: str = "") -> Path:
    """The pilot where none is named: `find_pilot` on the suite or else on the recipe's own, or the accepted baseline of the recipe.

    Args:
        recipe: only a run of this recipe; empty: of any.

    Raises:
        BaselineError: there is none.
    """
    reports, own = Path(config.run.reports).expanduser(), load_suite(config.score.suite).name
    folder = (find_pilot(reports, suite, recipe) or find_pilot(reports, own, recipe)
              or find_baseline(config.compare.baseline or config.name, Path(config.run.baselines)))
    if folder is None:
        raise BaselineError(f"no run of {recipe or 'any recipe'} on {' or '.join(dict.fromkeys([suite, own]))} is in {reports}, and no baseline was accepted: "
                            f"nothing tells how much scores vary. Draw a small pilot (sana-bench train-and-eval), or name a run folder (--pilot RUN_DIR)")
    return folder


def plan_power(request: PowerRequest, run: PilotRun, config: RunConfig, suite: PromptSuite | None = None) -> PowerPlan:
    """Read the spread of the pilot and plan every metric that is asked for.

    Args:
        config: whose gates, budgets and confidence the next run has.
        suite: to draw; None: the pilot's.

    Raises:
        ConfigError: something asked for is out of range, or the pilot does not have a metric.
        MetricError: the pilot tells nothing of any of the metrics.
    """
    request.check()
    declare(config.score.clip_model)
    results = {result.metric: result for result in run.after.result.results}
    for name in request.metrics:
        if name not in results:
            raise ConfigError(f'the pilot {run.folder} was not measured on "{name}".{near_names(name, list(results))} It was on: {", ".join(results)}')
    num_prompts = len(suite.prompt) if suite else run.num_prompts
    num_gates = request.num_gates or len(config.gate) or run.num_judged
    plans, left_out = [], {}
    for name in request.metrics or [name for name, result in results.items() if not result.not_judged]:
        try:
            plans.append(_plan_metric(request, run, config, results[name], num_prompts, num_gates))
        except MetricError as error:
            left_out[name] = str(error)
    if not plans:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise MetricError(f"the pilot {run.folder} tells nothing of what was asked for ({reasons}). Name another one (--pilot RUN_DIR)")
    return PowerPlan(run, suite.name if suite else run.after.result.suite, num_prompts, request.power, num_gates, plans, left_out,
                     _notes(request, run, config, suite, plans), larger_suites(num_prompts, suite))


def _plan_metric(request: PowerRequest, run: PilotRun, config: RunConfig, result: MetricResult, num_prompts: int, num_gates: int) -> MetricPlan:
    """Raises MetricError where the pilot tells nothing of the metric."""
    if result.not_judged:
        raise MetricError(f"it decides nothing: {result.not_judged}")
    gate = next((gate for gate in config.gate if gate.metric == result.metric and gate.compares and gate.suite in ("", run.after.result.suite)
                 and not gate.tag and not gate.group), None)
    before = next((each for each in (run.before or run.after).result.results if each.metric == result.metric), result)
    budget = budget_of(result.metric, before, result, config.compare, gate)
    effect = request.effect or EFFECT_IN_BUDGETS * budget
    if effect == 0:
        raise MetricError("its budget is 0, so every loss counts: say with --effect which one is to be found")
    pilot = pilot_of(run, result.metric, request.correlation or 0.0, num_resamples=config.compare.num_resamples, seed=config.compare.seed)
    rule = Rule(budget, config.compare.confidence, num_gates, result.fewest_images)
    found = smallest_effect(pilot, num_prompts, run.num_images_per_prompt, rule, request.power)
    plan = MetricPlan(result, pilot, rule, effect, found, [], [])
    return replace(plan, find=designs(plan.chance_to_find, pilot, request.power, rule.fewest_images),
                   exclude=designs(plan.chance_to_exclude, pilot, request.power, rule.fewest_images) if budget else [])


def larger_suites(num_prompts: int, suite: PromptSuite | None) -> dict[str, int]:
    """Shipped suites of the same kind (of people, or of anything else) with more prompts, smallest first."""
    people = suite is None or _shows_people(suite)
    found = {each.name: len(each.prompt) for each in map(load_suite, shipped_suites()) if _shows_people(each) == people}
    return dict(sorted(((name, number) for name, number in found.items() if number > num_prompts), key=lambda item: item[1]))


def _shows_people(suite: PromptSuite) -> bool:
    return any(prompt.expects.persons for prompt in suite.prompt)


def _notes(request: PowerRequest, run: PilotRun, config: RunConfig, suite: PromptSuite | None, plans: Sequence[MetricPlan]) -> list[str]:
    """What the numbers rest on, a sentence each."""
    own, rule = run.after.result.suite, plans[0].rule
    share = f", over {rule.num_gates} verdicts" if rule.num_gates > 1 else ""
    notes = [f"a loss is found where it is beyond the budget and told from no change (p at most {rule.alpha:.2g}: {1 - rule.confidence:.2g}{share}), which "
             f"takes {fewest_prompts(rule.confidence, rule.num_gates)} prompts with a value at least; one of exactly the budget is found in half of all runs at most",
             "ranges are what the pilot leaves possible at 95 %: its own spread is uncertain, most of all with few prompts"]
    if run.before is None:
        notes.append(f"the pilot shows one side alone: that both sides' values of a prompt correlate by {request.correlation or 0:g} is an assumption "
                     f"(--correlation)" + ("" if request.correlation else "; they share their noise, so that fewer prompts may do"))
    if not any(plan.pilot.told_apart for plan in plans):
        notes.append(f"the pilot has {run.num_images_per_prompt} image(s) of each prompt, which does not tell the spread within prompts from that between "
                     f"them: prompts are given for as many. Draw a pilot with generate.num_images_per_prompt=2 to plan others")
    if suite and suite.name != own:
        notes.append(f"the spread was seen on {own} and is taken to be the same on {suite.name}")
    partly = [plan.result.metric for plan in plans if plan.pilot.share_of_prompts < 1]
    if partly:
        notes.append(f"not all prompts have a value on {', '.join(partly)}: their numbers are of all prompts to draw, at the pilot's share")
    too_few = [f"{plan.result.metric} ({plan.rule.fewest_images})" for plan in plans
               if plan.pilot.pairs(run.num_prompts, run.num_images_per_prompt) < plan.rule.fewest_images]
    if too_few:
        notes.append(f"whatever their spread, some are judged from so many pairs on: {', '.join(too_few)}")
    sliced = [gate.label for gate in config.gate if gate.tag or gate.group]
    if sliced:
        notes.append(f"gates of a tag or a group see fewer prompts than are counted here: {', '.join(sliced)}")
    if config.train.num_seeds == 1:
        notes.append("all this is of one fine-tune: how much another training seed would change is not in it (train.num_seeds)")
    if config.compare.num_looks > 1:
        notes.append(f"looking {config.compare.num_looks} times (compare.num_looks) costs some power that is not in these numbers")
    return notes
