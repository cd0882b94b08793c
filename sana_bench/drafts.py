"""Verdicts before it is known how many are decided together: everything about one metric on one suite, or on a slice of it, but the outcome.

What cannot be judged has its outcome already: `missing`, `not_comparable`, or shown and not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sana_bench.comparability import below_judging, metric_obstacle, scored_nowhere, why_missing
from sana_bench.config import CompareSection, GateSection
from sana_bench.difference import Difference, GroupValue, measure_difference, measure_value, of_groups, value_of_group
from sana_bench.errors import ConfigError, InsufficientSamplesError
from sana_bench.metrics import METRICS
from sana_bench.pairs import Pairs, make_pairs
from sana_bench.reasons import why_not_judged
from sana_bench.records import BenchmarkResult, MetricResult, Outcome, Verdict, WorstSample
from sana_bench.registry import near_names
from sana_bench.results import UNTRAINED, ResultBundle, loss_in_budgets
from sana_bench.significance import fewest_prompts
from sana_bench.statistics import Interval

@dataclass(frozen=True)
class Sides:
    """One suite of both results."""

    candidate: ResultBundle | None
    baseline: ResultBundle | None
    accepted: bool
    """Whether there is a baseline at all; one that was accepted may still have no result on the suite."""
    obstacle: str
    """Why nothing at all can be compared; empty where something can."""

    @property
    def suite(self) -> str:
        return (self.candidate or self.baseline).result.suite

    def results(self, name: str) -> tuple[MetricResult | None, MetricResult | None]:
        """Of the baseline and of the candidate, on one metric."""
        return tuple(next((each for each in (side.result.results if side else ()) if each.metric == name), None)
                     for side in (self.baseline, self.candidate))


Known = dict[tuple[str, str, str], Difference]
"""Differences that are measured already, by suite, metric and tag."""


class Limits(NamedTuple):
    """The candidate's own value."""

    usual: Interval
    """By which a floor holds."""
    strict: Interval
    """By which one is broken: at the confidence that leaves all gates together one false alarm in so many runs."""
    too_few: str = ""
    """Why so few samples may decide nothing; empty where they may."""


@dataclass(frozen=True)
class Draft:
    verdict: Verdict
    """With the outcome `inconclusive` where it is not settled."""
    result: MetricResult | None
    difference: Difference | None
    """What is to be judged; None where the comparison is settled."""
    limits: Limits | None
    """The candidate's own value, of a gate with a floor or a ceiling."""
    gate: GateSection | None
    pairs: Pairs | None
    lost: str


def draft_of(name: str, sides: Sides, settings: CompareSection, gate: GateSection | None = None, num_gates: int = 1,
             known: Known | None = None, decides: bool = True) -> Draft:
    """One metric on one suite, or what one gate of so many asks of it.

    Args:
        known: what is measured already, and where more is added.
        decides: whether a verdict rests on it; what is only shown is tested less closely.

    Raises:
        ConfigError: a gate asks for a metric that may not decide, or for a tag or group that the suite does not have.
    """
    before, after = sides.results(name)
    either, budget = after or before, budget_of(name, before, after, settings, gate)
    asked = {"metric": name, "suite": sides.suite, "budget": budget, "num_pairs": 0, "smallest_detectable_effect": None, "num_prompts_needed": None,
             "unit": either.unit if either else "", "higher_is_better": either.higher_is_better if either else True,
             "num_training_seeds": _num_seeds(sides.candidate),
             **({"tag": gate.tag, "group": gate.group, "gate": gate.label, "floor": gate.floor, "ceiling": gate.ceiling} if gate else {})}

    def settled(outcome: Outcome, reason: str, limits: Limits | None = None) -> Draft:
        verdict = Verdict(outcome=outcome, reason=reason, baseline=before.value if before else None, candidate=after.value if after else None,
                          difference=None, ci_low=None, ci_high=None, **asked)
        return Draft(verdict, either, None, limits, gate, None, "")

    if gate and either is None:
        return settled("missing", f"neither side was measured on it: name it in score.metrics or score.extra_metrics{_known(name)}")
    if gate:
        check_gate(gate, either, (sides.candidate or sides.baseline).result)
    limits = _own_value(after, sides.candidate, settings, gate, num_gates)
    if gate and not gate.compares:
        return settled("inconclusive" if limits else "missing", "" if limits else "the candidate has no value on it", limits)
    obstacle = _obstacle(before, after, sides, gate)
    if obstacle:
        return settled(*obstacle, limits)
    if gate and gate.group:
        return _group_draft(after, gate, sides, asked, limits, settings)
    pairs = make_pairs(after, sides.baseline, sides.candidate)
    pairs = pairs.of_prompts(_prompts_with(gate.tag, sides.candidate.result)) if gate and gate.tag else pairs
    try:
        difference = _difference(after, pairs, (sides.suite, name, gate.tag if gate else ""), settings, {} if known is None else known, decides)
        return _pairs_draft(after, pairs, difference, asked, limits, gate)
    except InsufficientSamplesError as error:
        clauses = [f"too few samples have a value on both sides ({error})", pairs.lost]
        return settled("inconclusive" if below_judging(before, after) else "missing", "; ".join(filter(None, clauses)), limits)


def _obstacle(before: MetricResult | None, after: MetricResult | None, sides: Sides, gate: GateSection | None) -> tuple[Outcome, str] | None:
    """What the outcome is where nothing can be compared, and why; None where something can."""
    if not sides.accepted:
        return "missing", sides.obstacle
    missing = why_missing(before, after) or _without_a_value(after, sides)
    if missing:
        return "inconclusive" if scored_nowhere(before, after) or below_judging(before, after) else "missing", missing
    reason = sides.obstacle or metric_obstacle(before, after, sides.baseline.result, sides.candidate.result)
    if reason:
        return "inconclusive" if after.not_judged else "not_comparable", reason
    if gate and gate.relative_budget is not None and before.ci_low is not None and before.ci_low <= 0 <= before.ci_high:
        return "inconclusive", f"a share of the baseline's {before.value:.3g} is no budget: its interval holds 0. Give an absolute one"
    return None


def _difference(result: MetricResult, pairs: Pairs, key: tuple[str, str, str], settings: CompareSection, known: Known, decides: bool) -> Difference:
    """The difference, measured once."""
    if key not in known:
        may_decide = not result.not_judged and len(pairs.sample_ids) >= result.fewest_images
        known[key] = measure_difference(pairs, settings, decides=decides and may_decide)
    return known[key]


def _pairs_draft(result: MetricResult, pairs: Pairs, difference: Difference, asked: dict, limits: Limits | None, gate: GateSection | None) -> Draft:
    everything = np.arange(len(pairs.sample_ids))
    unjudged = why_not_judged(result, difference, len(everything))
    values = [pairs.value(side, everything) for side in range(2)]
    if gate and gate.relative_budget is not None:
        asked = {**asked, "budget": gate.relative_budget * abs(values[0])}
    worst = tuple(sorted(harms(result, pairs, asked["budget"]), key=lambda row: (-row.harm, row.sample_id))[:3]) if gate else ()
    verdict = Verdict(outcome="inconclusive", reason=unjudged, baseline=values[0], candidate=values[1], worst=worst, **{**asked, **_numbers(difference, len(everything))})
    return Draft(verdict, result, None if unjudged else difference, limits, gate, pairs, pairs.lost)


def _group_draft(result: MetricResult, gate: GateSection, sides: Sides, asked: dict, limits: Limits | None, settings: CompareSection) -> Draft:
    """Whom an image shows differs from side to side, so that groups are no pairs."""
    groups = [_group_values(gate, side, settings) for side in (sides.baseline, sides.candidate)]
    small = next((f"the {name} shows too few of them" for name, side in zip(("baseline", "candidate"), groups, strict=True) if not side), "")
    if small:
        verdict = Verdict(outcome="inconclusive", reason=f"{gate.group}: {small}", baseline=None, candidate=None, difference=None, ci_low=None, ci_high=None, **asked)
        return Draft(verdict, result, None, limits, gate, None, "")
    difference, values = of_groups(groups, settings)
    if gate.relative_budget is not None:
        asked = {**asked, "budget": gate.relative_budget * abs(values[0])}
    numbers = _numbers(difference, min(each.score.num_images for side in groups for each in side))
    verdict = Verdict(outcome="inconclusive", reason="", baseline=values[0], candidate=values[1], **{**asked, **numbers})
    return Draft(verdict, result, difference, limits, gate, None, "")


def _numbers(difference: Difference, num_pairs: int) -> dict:
    return {"difference": difference.interval.value, "ci_low": difference.interval.low, "ci_high": difference.interval.high, "num_pairs": num_pairs,
            "num_prompts": difference.num_prompts, "test": difference.test, "p_value": difference.p_value}


def budget_of(name: str, before: MetricResult | None, after: MetricResult | None, settings: CompareSection, gate: GateSection | None) -> float:
    if gate and gate.budget is not None:
        return gate.budget
    if gate and gate.relative_budget is not None and before and before.value is not None:
        return gate.relative_budget * abs(before.value)
    known = after or before
    own = known.budget if known else METRICS.get(name).budget
    return next((override.budget for override in settings.budgets if override.metric == name), own)


def _own_value(after: MetricResult | None, candidate: ResultBundle | None, settings: CompareSection, gate: GateSection | None,
               num_gates: int) -> Limits | None:
    """The candidate's own value on what the gate asks about; None where the gate has no limits, or the candidate no value."""
    if gate is None or (gate.floor is None and gate.ceiling is None) or after is None or after.value is None:
        return None
    strict = settings.model_copy(update={"confidence": 1 - (1 - settings.confidence) / num_gates})
    if gate.group:
        seeds = _group_values(gate, candidate, settings)
        return Limits(*(value_of_group(seeds, each.confidence) for each in (settings, strict))) if seeds else None
    own = make_pairs(after, candidate, candidate)
    own = own.of_prompts(_prompts_with(gate.tag, candidate.result)) if gate.tag else own
    try:
        return Limits(measure_value(own, settings), measure_value(own, strict), _too_few(after, own, settings))
    except InsufficientSamplesError:
        return None


def _too_few(result: MetricResult, own: Pairs, settings: CompareSection) -> str:
    num_images, num_prompts, fewest = len(own.sample_ids), len(set(own.prompt_ids)), fewest_prompts(settings.confidence)
    if num_images < result.fewest_images:
        return f"below {result.fewest_images} images its value is mostly bias, and there are {num_images}"
    return f"{num_prompts} prompt(s) tell too little of others; {fewest} are the least" if num_prompts < fewest else ""


def check_gate(gate: GateSection, known: MetricResult, result: BenchmarkResult) -> None:
    """Raises ConfigError where a gate asks for what cannot be had of this result."""
    if known.not_judged:
        raise ConfigError(f'gate "{gate.label}": {gate.metric} may decide nothing, so it cannot be gated: {known.not_judged}')
    tags = {tag for tags in result.prompt_tags.values() for tag in tags}
    if gate.tag and gate.tag not in tags:
        raise ConfigError(f'gate "{gate.label}": no prompt of {result.suite} has the tag "{gate.tag}".{near_names(gate.tag, sorted(tags))} '
                          f"Tags: {', '.join(sorted(tags)) or 'none'}")
    groups = {f"{each.attribute}={each.group}" for each in result.groups if each.metric == gate.metric}
    if gate.group and gate.group not in groups:
        raise ConfigError(f'gate "{gate.label}": {gate.metric} has no value by "{gate.group}".{near_names(gate.group, sorted(groups))} '
                          f"Groups: {', '.join(sorted(groups)) or 'none'}")


def harms(result: MetricResult, pairs: Pairs, budget: float) -> list[WorstSample]:
    """Pairs that lost on a sample metric that judges."""
    if pairs.values is None or result.not_judged:
        return []
    rows = zip(pairs.sample_ids, pairs.prompt_ids, *map(np.ndarray.tolist, pairs.means()), strict=True)
    found = [WorstSample(sample_id=name, prompt_id=prompt, metric=result.metric, baseline=before, candidate=after, difference=after - before,
                         harm=loss_in_budgets(result, after - before, budget)) for name, prompt, before, after in rows]
    return [each for each in found if each.harm > 0]


def _without_a_value(result: MetricResult, sides: Sides) -> str:
    """Which fine-tune has no value on a metric: one that broke everything must not be left to the others. Nothing where all have one."""
    for side, bundle in (("baseline", sides.baseline), ("candidate", sides.candidate)):
        for seed in bundle.replicates:
            if all(each.value is None for each in seed.result.results if each.metric == result.metric):
                return f"the {side} has no value on it from training seed {seed.training_seed}"
    return ""


def _num_seeds(candidate: ResultBundle | None) -> int:
    """0 where nothing was trained."""
    if candidate is None:
        return 1
    train = candidate.result.config.get("train")
    untrained = isinstance(train, dict) and train.get("trainer") == UNTRAINED
    return 0 if untrained else 1 + len(candidate.replicates)


def _prompts_with(tag: str, result: BenchmarkResult) -> set[str]:
    return {prompt for prompt, tags in result.prompt_tags.items() if tag in tags}


def _group_values(gate: GateSection, side: ResultBundle, settings: CompareSection) -> list[GroupValue]:
    """Of every training seed of a side; none at all where one of them shows too few of the group."""
    found = []
    for result in (each.result for each in (side, *side.replicates)):
        score = next((each for each in result.groups if each.metric == gate.metric and f"{each.attribute}={each.group}" == gate.group), None)
        if score is None or not score.enough or score.low is None:
            return []
        recorded = result.config.get("compare")
        scored_at = recorded.get("confidence", settings.confidence) if isinstance(recorded, dict) else settings.confidence
        found.append(GroupValue(score, scored_at))
    return found


def _known(name: str) -> str:
    return "" if name in METRICS else f" (no metric has that name.{near_names(name, METRICS.names())})"


def measured_on(sides: Sequence[ResultBundle | None]) -> list[str]:
    """Metrics that either side has, in their order."""
    return list(dict.fromkeys(result.metric for side in sides if side for result in side.result.results))
