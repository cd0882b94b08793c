"""compare: (BenchmarkResult, baseline) -> RegressionReport. Pure; the only place where a verdict is made.

Both sides share prompts and noise, so their samples are pairs, by sample id. With the gain (difference in the metric's good
direction), its interval over prompts, and the budget, exactly one row of this table holds; the first that fits is it:

    interval of the gain      gain              outcome
    ------------------------  ----------------  ------------------------------------------------------------------
    too few prompts or none   any               inconclusive  (fewer than statistics.fewest_prompts, or than the metric's
                                                              own fewest_images; or the metric failed its self-test)
    wholly below 0            below -budget     regressed     worse, beyond the budget, and told from no change
    wholly above 0            above +budget     improved      its mirror image: swapping the sides swaps the two
    not below -budget         (any other)       unchanged     a loss beyond the budget is excluded
    reaches below -budget     (any other)       inconclusive  a loss beyond the budget is possible and not shown

The last two differ on purpose: a gain that is possible but not shown (an interval from a little below 0 to far above the
budget) is no reason to hold a change back, while such a loss is. An interval within +-budget is unchanged from either side.

The guard suite, where either side has one, is judged in the same way beside the first: a side without it has no value on its metrics.

Before that: a metric with a value on one side only, or without a single pair, is `missing`; where neither side has one nothing
was lost, and below the metric's fewest_images nothing is judged: then it is `inconclusive`. One measured in another way is
`not_comparable`. `regressed`, `missing` and `not_comparable` make the outcome of the report `regressed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.comparability import below_judging, check_suite, metric_obstacle, sampling_obstacle, scored_nowhere, why_missing
from sana_bench.config import CompareSection
from sana_bench.errors import ConfigError, InsufficientSamplesError
from sana_bench.headline import headline
from sana_bench.metrics import METRICS
from sana_bench.records import MetricResult, Outcome, RegressionReport, TagDifference, Verdict, WorstSample
from sana_bench.registry import near_names
from sana_bench.results import ResultBundle, loss_in_budgets
from sana_bench.statistics import (Interval, fewest_prompts, mean_interval, prompts_needed, set_interval,
                                   smallest_detectable_effect)
from sana_bench.tags import tag_differences

FAILING: tuple[Outcome, ...] = ("regressed", "missing", "not_comparable")
MAX_WORST_SAMPLES = 12
JUDGEMENT_VERSION = 3
"""Goes up when the same numbers give another verdict."""
ROUNDING = 1e-9
"""Relative to the numbers compared: an interval that ends on a bound must not cross it by an error of addition."""


@dataclass(frozen=True)
class Pairs:
    """Samples that both sides scored on one metric, sorted by id so that no order on disk matters."""

    sample_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    evaluate: tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], float]]
    """Baseline's and candidate's value on a choice of pairs: (M,) positions in `sample_ids` -> value."""
    values: tuple[np.ndarray, np.ndarray] | None
    """(N,) values of baseline and candidate; None for a set metric."""
    lost: str
    """How many samples one side alone has scored, in words; empty where none."""


@dataclass(frozen=True)
class Judged:
    """One suite, metric after metric."""

    verdicts: list[Verdict]
    losses: list[WorstSample]
    tags: list[TagDifference]
    obstacle: str
    """Why nothing at all can be compared; empty where something can."""


def compare(candidate: ResultBundle, baseline: ResultBundle | None, settings: CompareSection,
            baseline_name: str) -> RegressionReport:
    """Judge every metric that either side has, on the suite and on the guard suite.

    Args:
        baseline: None where none was accepted yet; all metrics are then missing.
        baseline_name: what people call it, for the headline.

    Raises:
        BaselineError: the baseline is of another suite, or of another guard suite.
        ConfigError: a budget is given for a metric that does not exist.
        MetricError: a score or a value is not finite.
    """
    check_budgets(settings, [result.metric for side in (candidate, baseline) for result in _results(side) + _results(side and side.guard)])
    if baseline:
        check_suite(candidate.result.suite_digest, baseline.result, baseline_name)
        if candidate.guard and baseline.guard:
            check_suite(candidate.guard.result.suite_digest, baseline.guard.result, baseline_name, "score.guard_suite")
    own = _compare_suite(candidate, baseline, settings, baseline is not None)
    guard = _compare_suite(candidate.guard, baseline and baseline.guard, settings, baseline is not None)
    verdicts = own.verdicts + guard.verdicts
    failed = not own.verdicts or any(verdict.outcome in FAILING for verdict in verdicts)
    return RegressionReport(
        outcome="regressed" if failed else "passed",
        headline=headline(verdicts, suite=candidate.result.suite, failed=failed, compared=baseline is not None, baseline_name=baseline_name,
                          obstacle=own.obstacle),
        verdicts=tuple(verdicts), worst_samples=_worst(own.losses), guard_worst_samples=_worst(guard.losses), tags=(*own.tags, *guard.tags),
        baseline_name=baseline_name, baseline_digest=baseline.result.digest if baseline else "",
        candidate_digest=candidate.result.digest, baseline_provenance=baseline.result.provenance if baseline else None,
        candidate_provenance=candidate.result.provenance, confidence=settings.confidence,
        num_resamples=settings.num_resamples, seed=settings.seed)


def _compare_suite(candidate: ResultBundle | None, baseline: ResultBundle | None, settings: CompareSection,
                   accepted: bool) -> Judged:
    """Judge every metric that either side has on one suite.

    Args:
        accepted: whether there is a baseline; one that was accepted may still have no result on the suite.
    """
    obstacle = "" if accepted else "there is no baseline yet"
    if candidate and baseline:
        obstacle = sampling_obstacle(baseline.result, candidate.result)
    judged = Judged([], [], [], obstacle)
    for name in dict.fromkeys(result.metric for side in (candidate, baseline) for result in _results(side)):
        verdict, losses, tags = _compare_metric(name, candidate, baseline, settings, obstacle, accepted)
        judged.verdicts.append(verdict)
        judged.losses.extend(losses)
        judged.tags.extend(tags)
    return judged


def judge(gain: Interval, budget: float, num_prompts: int, confidence: float) -> Outcome:
    """The table at the top of this file. `gain` is positive where the candidate is better."""
    if gain.low is None or gain.high is None or num_prompts < fewest_prompts(confidence):
        return "inconclusive"
    rounding = ROUNDING * max(abs(gain.low), abs(gain.high), budget)
    if gain.high < -rounding and gain.value < -budget - rounding:
        return "regressed"
    if gain.low > rounding and gain.value > budget + rounding:
        return "improved"
    return "unchanged" if gain.low >= -budget - rounding else "inconclusive"


def _compare_metric(name: str, candidate: ResultBundle | None, baseline: ResultBundle | None, settings: CompareSection,
                    obstacle: str, accepted: bool) -> tuple[Verdict, list[WorstSample], list[TagDifference]]:
    """Verdict on one metric, the samples that lost on it, and the differences by tag. `obstacle`: why nothing at all can be compared."""
    before, after = (_result(side, name) for side in (baseline, candidate))
    known, suite = after or before, (candidate or baseline).result.suite
    budget = next((override.budget for override in settings.budgets if override.metric == name), known.budget)

    def unjudged(outcome: Outcome, reason: str) -> tuple[Verdict, list[WorstSample], list[TagDifference]]:
        return Verdict(metric=name, suite=suite, outcome=outcome, baseline=before.value if before else None,
                       candidate=after.value if after else None, difference=None, ci_low=None, ci_high=None, budget=budget,
                       num_pairs=0, smallest_detectable_effect=None, num_prompts_needed=None, unit=known.unit,
                       higher_is_better=known.higher_is_better, reason=reason), [], []

    if not accepted:
        return unjudged("missing", obstacle)
    missing = why_missing(before, after)
    if missing:
        return unjudged("inconclusive" if scored_nowhere(before, after) or below_judging(before, after) else "missing", missing)
    reason = obstacle or metric_obstacle(before, after, baseline.result, candidate.result)
    if reason:
        return unjudged("inconclusive" if after.not_judged else "not_comparable", reason)
    pairs = _pair(after, baseline, candidate)
    try:
        verdict = _judge_pairs(after, pairs, suite, budget, settings)
    except InsufficientSamplesError as error:
        clauses = [f"too few samples have a value on both sides ({error})", pairs.lost]
        return unjudged("inconclusive" if below_judging(before, after) else "missing", "; ".join(filter(None, clauses)))
    tags = [] if pairs.values is None else tag_differences(suite, name, pairs.prompt_ids, pairs.values[1] - pairs.values[0],
                                                           candidate.result.prompt_tags, settings)
    return verdict, _harms(after, pairs, budget), tags


def _judge_pairs(result: MetricResult, pairs: Pairs, suite: str, budget: float, settings: CompareSection) -> Verdict:
    """Verdict on a metric that can be compared.

    Raises:
        InsufficientSamplesError: the pairs are too few for the metric to have a value.
    """
    num_prompts, everything = len(set(pairs.prompt_ids)), np.arange(len(pairs.sample_ids))
    difference = _difference(pairs, settings)
    ends = (difference.low, difference.high)
    gain = difference if result.higher_is_better or ends[0] is None else Interval(-difference.value, -ends[1], -ends[0])
    unjudged = _why_not_judged(result, len(everything))
    outcome = "inconclusive" if unjudged else judge(gain, budget, num_prompts, settings.confidence)
    needed = _needed(gain, budget, num_prompts, settings.confidence) if outcome == "inconclusive" and not unjudged else None
    effect = None
    if ends[0] is not None:
        effect = smallest_detectable_effect((ends[1] - ends[0]) / 2, num_prompts, settings.confidence)
    why = unjudged or _why(outcome, gain, budget, result.unit, num_prompts, settings.confidence)
    clauses = [why, pairs.lost]
    if outcome == "inconclusive" and not unjudged:
        clauses.insert(1, f"about {needed} prompts would tell" if needed else "no practical number of prompts would tell")
    baseline, candidate = (evaluate(everything) for evaluate in pairs.evaluate)
    return Verdict(metric=result.metric, suite=suite, outcome=outcome, baseline=baseline, candidate=candidate,
                   difference=difference.value, ci_low=ends[0], ci_high=ends[1], budget=budget, num_pairs=len(everything),
                   smallest_detectable_effect=effect, num_prompts_needed=needed, unit=result.unit,
                   higher_is_better=result.higher_is_better, reason="; ".join(filter(None, clauses)))


def _why_not_judged(result: MetricResult, num_pairs: int) -> str:
    """Why a metric's difference is shown and not judged; empty where it is judged."""
    if result.not_judged:
        return f"shown, not judged: {result.not_judged}"
    few = num_pairs < result.fewest_images
    return f"shown, not judged: below {result.fewest_images} images its bias can hide or feign a change" if few else ""


def _difference(pairs: Pairs, settings: CompareSection) -> Interval:
    """Candidate minus baseline, over the pairs."""
    if pairs.values is not None:
        return mean_interval(pairs.values[1] - pairs.values[0], pairs.prompt_ids, confidence=settings.confidence,
                             num_resamples=settings.num_resamples, seed=settings.seed)
    before, after = pairs.evaluate
    return set_interval(lambda indices: after(indices) - before(indices), pairs.prompt_ids, confidence=settings.confidence)


def _needed(gain: Interval, budget: float, num_prompts: int, confidence: float) -> int | None:
    """Prompts that would settle it if the gain stays what it is, by excluding no change or a loss beyond the budget."""
    if gain.low is None or gain.high is None:
        return fewest_prompts(confidence) if num_prompts < fewest_prompts(confidence) else None
    if gain.value < -budget:
        return prompts_needed(gain.high - gain.value, num_prompts, -gain.value, confidence)
    return prompts_needed(gain.value - gain.low, num_prompts, gain.value + budget, confidence)


def _why(outcome: Outcome, gain: Interval, budget: float, unit: str, num_prompts: int, confidence: float) -> str:
    """Why this outcome, in one clause."""
    size, limit = (f"{number:.3g} {unit}".strip() for number in (abs(gain.value), budget))
    if outcome == "regressed":
        return f"worse by {size}, beyond the budget of {limit}, and the interval excludes no change"
    if outcome == "improved":
        return f"better by {size}, beyond the budget of {limit}, and the interval excludes no change"
    if num_prompts < fewest_prompts(confidence):
        return f"{num_prompts} prompt(s) cannot tell a change from chance; {fewest_prompts(confidence)} are the least"
    if gain.low is None or gain.high is None:
        return "too few samples to know how uncertain the difference is"
    if outcome == "unchanged":
        return (f"any change stays within the budget of {limit}" if gain.high <= budget * (1 + ROUNDING) else
                f"a loss beyond the budget of {limit} is excluded; a gain beyond it is possible but not shown")
    if gain.value < -budget:
        return f"worse by {size}, beyond the budget of {limit}, but the interval does not exclude no change"
    return f"a loss beyond the budget of {limit} is not excluded"


def _results(side: ResultBundle | None) -> tuple[MetricResult, ...]:
    return side.result.results if side else ()


def _result(side: ResultBundle | None, name: str) -> MetricResult | None:
    return next((result for result in _results(side) if result.metric == name), None)


def check_budgets(settings: CompareSection, measured: Sequence[str] = ()) -> None:
    """Raises ConfigError where a budget is for no metric, neither a registered nor a `measured` one."""
    known = sorted({*measured, *METRICS.names()})
    for name in (override.metric for override in settings.budgets):
        if name not in known and name not in METRICS:
            raise ConfigError(f'compare.budgets: no metric "{name}".{near_names(name, known)} Known: {", ".join(known)}')


def _pair(result: MetricResult, baseline: ResultBundle, candidate: ResultBundle) -> Pairs:
    places = [_places(result, side) for side in (baseline, candidate)]
    shared = sorted(places[0].keys() & places[1].keys())
    prompts = {sample.sample_id: sample.prompt_id for sample in candidate.result.samples}
    alone = (("baseline", places[0].keys() - places[1].keys()), ("candidate", places[1].keys() - places[0].keys()))
    lost = "; ".join(f"{len(names)} sample(s) scored only on the {side}" for side, names in alone if names)
    before, after = (np.array([place[name] for name in shared]) for place in places)
    if result.kind == "sample":
        evaluate, values = (lambda at: float(before[at].mean()), lambda at: float(after[at].mean())), (before, after)
    else:
        value_of = METRICS.get(result.metric).make.evaluate
        old, new = (side.statistics[result.metric].arrays for side in (baseline, candidate))
        evaluate, values = (lambda at: value_of(old, before[at]), lambda at: value_of(new, after[at])), None
    return Pairs(tuple(shared), tuple(prompts[name] for name in shared), evaluate, values, lost)


def _places(result: MetricResult, side: ResultBundle) -> dict[str, float] | dict[str, int]:
    """By sample id: its value on a sample metric, or its position in the statistics of a set metric."""
    if result.kind == "set":
        return {name: position for position, name in enumerate(side.statistics[result.metric].sample_ids)}
    return {score.sample_id: score.value for score in side.scores
            if score.metric == result.metric and score.value is not None}


def _harms(result: MetricResult, pairs: Pairs, budget: float) -> list[WorstSample]:
    """Pairs that lost on a sample metric that judges."""
    if pairs.values is None or result.not_judged:
        return []

    def harm(before: float, after: float) -> float:
        return loss_in_budgets(result, after - before, budget)

    return [WorstSample(sample_id=name, prompt_id=prompt, metric=result.metric, baseline=before, candidate=after,
                        difference=after - before, harm=harm(before, after))
            for name, prompt, before, after in zip(pairs.sample_ids, pairs.prompt_ids, *map(np.ndarray.tolist, pairs.values),
                                                   strict=True)
            if harm(before, after) > 0]


def _worst(harms: list[WorstSample]) -> tuple[WorstSample, ...]:
    """The most harmed samples, each once, with the metric that it lost most on."""
    first = {}
    for row in sorted(harms, key=lambda row: (-row.harm, row.sample_id, row.metric)):
        first.setdefault(row.sample_id, row)
    return tuple(first.values())[:MAX_WORST_SAMPLES]
