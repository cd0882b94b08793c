"""compare: (BenchmarkResult, baseline) -> RegressionReport. Pure; the only place where a verdict is made.

Both sides share prompts and noise, so their samples are pairs, by sample id. With the gain (difference in the metric's good
direction), its interval over prompts, and the budget, exactly one row of this table holds; the first that fits is it:

    interval of the gain      gain              outcome
    ------------------------  ----------------  ------------------------------------------------------------------
    too few prompts or none   any               inconclusive  (fewer than significance.fewest_prompts, or than the metric's
                                                              own fewest_images; or the metric failed its self-test)
    wholly below 0            below -budget     regressed     worse, beyond the budget, and beyond chance: its p-value after Holm,
                                                              over all that decides together, is at most 1 - confidence
    wholly above 0            above +budget     improved      its mirror image: swapping the sides swaps the two
    not below -budget         (any other)       unchanged     a loss beyond the budget is excluded
    reaches below -budget     (any other)       inconclusive  a loss beyond the budget is possible and not shown

The last two differ on purpose: a gain that is possible but not shown (an interval from a little below 0 to far above the
budget) is no reason to hold a change back, while such a loss is. An interval within +-budget is unchanged from either side. All gates
must hold for a run to pass, so that `unchanged` needs no correction for their number, while one of many `regressed` stops it and does.

The guard suite, where either side has one, is judged in the same way beside the first: a side without it has no value on its metrics.

Before that: a metric with a value on one side only, or without a single pair, is `missing`; where neither side has one nothing
was lost, and below the metric's fewest_images nothing is judged: then it is `inconclusive`. One measured in another way is
`not_comparable`.

A gate asks this of one metric on a whole suite or a slice, with a budget of its own; and may set a floor or a ceiling to the candidate's own value:
it is `regressed` where the value's interval lies beyond, `inconclusive` where it reaches beyond, and the worse of both demands counts.

`regressed`, `missing` and `not_comparable` fail; `inconclusive` fails a gate that does not say otherwise. On a suite that no gate asks about every
metric decides, and what is inconclusive passes: a run that measures everything would never pass else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sana_bench.comparability import sampling_obstacle, suite_obstacle
from sana_bench.config import CompareSection, GateSection
from sana_bench.difference import Difference
from sana_bench.drafts import Draft, Limits, Sides, draft_of, harms, measured_on
from sana_bench.errors import ConfigError
from sana_bench.headline import headline
from sana_bench.metrics import METRICS
from sana_bench.reasons import how_many_more, why
from sana_bench.records import Outcome, RegressionReport, TagDifference, Verdict, WorstSample
from sana_bench.registry import near_names
from sana_bench.results import ResultBundle
from sana_bench.sensitivity import prompts_to_exclude, prompts_to_find, smallest_detectable_effect
from sana_bench.significance import fewest_prompts, holm
from sana_bench.statistics import Interval, share_bounds, t_quantile
from sana_bench.tags import tag_differences, with_q_values

FAILING: tuple[Outcome, ...] = ("regressed", "missing", "not_comparable")
WORST_FIRST: tuple[Outcome, ...] = (*FAILING, "inconclusive", "unchanged", "improved")
MAX_WORST_SAMPLES = 12
MOST_LOST = 0.1
"""Share of the baseline's samples that the candidate may leave without a value, on balance, and still pass: a picture too broken to be measured is no gain."""
JUDGEMENT_VERSION = 4
"""Goes up when the same numbers give another verdict."""
ROUNDING = 1e-9
"""Relative to the numbers compared: an interval that ends on a bound must not cross it by an error of addition."""


@dataclass(frozen=True)
class Judged:
    """One suite, metric after metric."""

    drafts: list[Draft]
    tags: list[TagDifference]

    def losses(self) -> list[WorstSample]:
        return [row for draft in self.drafts if draft.pairs for row in harms(draft.result, draft.pairs, draft.verdict.budget)]


def compare(candidate: ResultBundle, baseline: ResultBundle | None, settings: CompareSection, baseline_name: str,
            gates: Sequence[GateSection] = ()) -> RegressionReport:
    """Judge every metric that either side has, and every gate.

    Args:
        baseline: None where none was accepted yet; all metrics are then missing.
        baseline_name: what people call it, for the headline.
        gates: What must hold; with none, nothing that is measured may regress.

    Raises:
        ConfigError: a budget is given for a metric that does not exist, or a gate asks for what cannot be had.
        MetricError: a score or a value is not finite.
    """
    check_budgets(settings, measured_on([each for side in (candidate, baseline) if side for each in (side, side.guard)]))
    guards = (_guard_of(candidate), _guard_of(baseline))
    sides = [_sides(candidate, baseline, baseline is not None, "score.suite"),
             *([_sides(*guards, baseline is not None, "score.guard_suite")] if any(guards) else [])]
    about, known = {_suite_of(gate, sides).suite for gate in gates}, {}
    asked = [draft_of(gate.metric, _suite_of(gate, sides), settings, gate, len(gates), known) for gate in gates]
    judged = [_judge_suite(each, settings, known, decides=each.suite not in about) for each in sides]
    drafts = [draft for suite in judged for draft in suite.drafts]
    deciding = _settle([*asked, *(draft for draft in drafts if draft.verdict.suite not in about)], settings)
    gated, others = deciding[:len(asked)], deciding[len(asked):]
    shown = _settle([draft for draft in drafts if draft.verdict.suite in about], settings)
    verdicts = sorted((*shown, *others), key=lambda verdict: [each.suite for each in sides].index(verdict.suite))
    failed = not deciding or not all(verdict.passed for verdict in deciding)
    return RegressionReport(
        outcome="regressed" if failed else "passed",
        headline=headline(deciding, suite=candidate.result.suite, failed=failed, compared=baseline is not None, baseline_name=baseline_name,
                          obstacle=sides[0].obstacle),
        verdicts=tuple(verdicts), gates=tuple(gated), worst_samples=_worst(judged[0].losses()),
        guard_worst_samples=_worst(judged[1].losses()) if len(judged) > 1 else (), tags=tuple(row for suite in judged for row in suite.tags),
        baseline_name=baseline_name, baseline_digest=baseline.result.digest if baseline else "",
        candidate_digest=candidate.result.digest, baseline_provenance=baseline.result.provenance if baseline else None,
        candidate_provenance=candidate.result.provenance, confidence=settings.confidence,
        num_resamples=settings.num_resamples, seed=settings.seed)


def _guard_of(side: ResultBundle | None) -> ResultBundle | None:
    """The guard suite as all fine-tunes of a side drew it."""
    return side and side.guard and replace(side.guard, replicates=tuple(each.guard for each in side.replicates))


def _sides(candidate: ResultBundle | None, baseline: ResultBundle | None, accepted: bool, setting: str) -> Sides:
    """Of one suite. `setting`: that which names it."""
    obstacle = "" if accepted else "there is no baseline yet"
    if candidate and baseline:
        obstacle = suite_obstacle(baseline.result, candidate.result, setting) or sampling_obstacle(baseline.result, candidate.result)
    return Sides(candidate, baseline, accepted, obstacle)


def _suite_of(gate: GateSection, sides: Sequence[Sides]) -> Sides:
    found = next((each for each in sides if gate.suite in ("", each.suite)), None)
    if found is None:
        raise ConfigError(f'gate "{gate.label}": neither side was measured on a suite "{gate.suite}"; there is {" and ".join(each.suite for each in sides)}')
    return found


def _judge_suite(sides: Sides, settings: CompareSection, known: dict[tuple[str, str, str], Difference], decides: bool) -> Judged:
    """Every metric that either side has on one suite, and by tag. Arguments as of `draft_of`."""
    drafts = [draft_of(name, sides, settings, known=known, decides=decides) for name in measured_on((sides.candidate, sides.baseline))]
    tags = []
    for draft in drafts:
        if draft.pairs and draft.pairs.values is not None:
            before, after = draft.pairs.means()
            tags += tag_differences(sides.suite, draft.verdict.metric, draft.pairs.prompt_ids, after - before, sides.candidate.result.prompt_tags,
                                    settings, share_bounds(before, after))
    return Judged(drafts, with_q_values(tags))


def _settle(drafts: Sequence[Draft], settings: CompareSection) -> list[Verdict]:
    """The verdicts of what decides together."""
    judged = [draft for draft in drafts if draft.difference is not None]
    adjusted = iter(holm([1.0 if draft.difference.p_value is None else draft.difference.p_value for draft in judged]))
    return [_passed(_limited(_verdict(draft, next(adjusted), len(judged), settings) if draft.difference else draft.verdict, draft), draft.gate)
            for draft in drafts]


def _verdict(draft: Draft, p_adjusted: float, num_decided: int, settings: CompareSection) -> Verdict:
    """On a metric that is judged, one of so many."""
    found, own, confidence = draft.difference, draft.verdict, settings.confidence
    alpha, difference = (1 - confidence) / num_decided, found.interval
    gain = difference if own.higher_is_better or difference.low is None else Interval(-difference.value, -difference.high, -difference.low)
    outcome = judge(gain, own.budget, found.num_prompts, confidence, p_adjusted)
    lost = draft.pairs is not None and draft.pairs.lost_share > MOST_LOST and outcome in ("unchanged", "improved")
    if lost:
        outcome = "inconclusive"
    needed = _needed(draft, gain, alpha, confidence) if outcome == "inconclusive" and not lost else None
    effect = _detectable(found, own.budget, num_decided, confidence)
    clauses = ["what is lost may be what got worse" if lost else
               why(outcome, gain, own.budget, own.unit, found.num_prompts, confidence, found.p_value, p_adjusted), draft.lost]
    if outcome == "inconclusive" and not lost:
        clauses.insert(1, how_many_more(needed, found))
    if own.num_training_seeds == 1:
        clauses.append("of one fine-tune")
    return own.model_copy(update={"outcome": outcome, "p_adjusted": p_adjusted if found.p_value is not None else None, "smallest_detectable_effect": effect,
                                  "num_prompts_needed": needed, "reason": "; ".join(filter(None, clauses))})


def _detectable(found: Difference, budget: float, num_decided: int, confidence: float) -> float | None:
    """The true loss that is found in most runs of this size; None where so few prompts cannot show any among so many metrics."""
    if found.error is None or found.test in ("sign flips", "label permutation") and found.num_prompts < fewest_prompts(confidence, num_decided):
        return None
    return smallest_detectable_effect(found.error, found.degrees_of_freedom, alpha=(1 - confidence) / num_decided, budget=budget,
                                      counted_prompts=found.num_prompts if found.counted else 0)


def judge(gain: Interval, budget: float, num_prompts: int, confidence: float, p_adjusted: float) -> Outcome:
    """The table at the top of this file. `gain` is positive where the candidate is better."""
    if gain.low is None or gain.high is None or num_prompts < fewest_prompts(confidence):
        return "inconclusive"
    rounding, told = ROUNDING * max(abs(gain.low), abs(gain.high), budget), p_adjusted <= (1 - confidence) * (1 + ROUNDING)
    if told and gain.high < -rounding and gain.value < -budget - rounding:
        return "regressed"
    if told and gain.low > rounding and gain.value > budget + rounding:
        return "improved"
    return "unchanged" if gain.low >= -budget - rounding else "inconclusive"


def _needed(draft: Draft, gain: Interval, alpha: float, confidence: float) -> int | None:
    """Prompts that would settle it if the gain stays what it is, by excluding no change or a loss beyond the budget. More than there are."""
    found, budget = draft.difference, draft.verdict.budget
    num_prompts = found.num_prompts
    if gain.low is None or gain.high is None or num_prompts < fewest_prompts(confidence):
        return fewest_prompts(confidence) if num_prompts < fewest_prompts(confidence) else None
    needed = _at_this_spread(found, gain, budget, alpha, confidence)
    return needed and max(needed, num_prompts + 1)


def _at_this_spread(found: Difference, gain: Interval, budget: float, alpha: float, confidence: float) -> int | None:
    num_prompts = found.num_prompts
    shrinking = (max(found.error**2 - found.seed_error**2, 0)) ** 0.5
    if gain.value < -budget:
        return prompts_to_find(shrinking, num_prompts, gain.value, alpha=alpha, confidence=confidence, fixed_error=found.seed_error, bounded=found.bounded)
    if not found.bounded and not found.seed_error:  # skewed data reach further to one side
        shrinking = (gain.value - gain.low) / t_quantile((1 + confidence) / 2, num_prompts - 1)
    return prompts_to_exclude(shrinking, num_prompts, gain.value + budget, confidence, found.seed_error, found.bounded)


def _limited(verdict: Verdict, draft: Draft) -> Verdict:
    """The worse of what the comparison and the floor or ceiling say."""
    if draft.limits is None:
        return verdict
    outcome, reason = _held(draft.limits, verdict)
    if not draft.gate.compares:
        own = draft.limits.usual
        return verdict.model_copy(update={"outcome": outcome, "reason": reason, "baseline": None, "candidate": own.value})
    worse = min((verdict.outcome, outcome), key=WORST_FIRST.index)
    return verdict.model_copy(update={"outcome": worse, "reason": f"{verdict.reason}; {reason}"})


def _held(limits: Limits, verdict: Verdict) -> tuple[Outcome, str]:
    """Whether a floor or a ceiling is held, and why so."""
    own = limits.usual
    if limits.too_few:
        return "inconclusive", limits.too_few
    if own.low is None or own.high is None or limits.strict.low is None:
        return "inconclusive", "too few samples to know how uncertain the candidate's value is"
    found = f"{own.value:.3g} ({own.low:.3g} to {own.high:.3g})"
    below, above = verdict.floor, verdict.ceiling
    if below is not None and limits.strict.high < below or above is not None and limits.strict.low > above:
        return "regressed", f"the candidate's {found} is beyond the {_limit(below, above)}"
    if below is not None and own.low < below or above is not None and own.high > above:
        return "inconclusive", f"the candidate's {found} does not exclude a value beyond the {_limit(below, above)}"
    return "unchanged", f"the candidate's {found} holds the {_limit(below, above)}"


def _limit(floor: float | None, ceiling: float | None) -> str:
    return " and the ".join(filter(None, [f"floor of {floor:.3g}" if floor is not None else "", f"ceiling of {ceiling:.3g}" if ceiling is not None else ""]))


def _passed(verdict: Verdict, gate: GateSection | None) -> Verdict:
    failed = verdict.outcome in FAILING or (verdict.outcome == "inconclusive" and gate is not None and gate.on_inconclusive == "fail")
    return verdict.model_copy(update={"passed": not failed})


def check_budgets(settings: CompareSection, measured: Sequence[str] = ()) -> None:
    """Raises ConfigError where a budget is for no metric, neither a registered nor a `measured` one."""
    known = sorted({*measured, *METRICS.names()})
    for name in (override.metric for override in settings.budgets):
        if name not in known and name not in METRICS:
            raise ConfigError(f'compare.budgets: no metric "{name}".{near_names(name, known)} Known: {", ".join(known)}')


def _worst(harmed: list[WorstSample]) -> tuple[WorstSample, ...]:
    """The most harmed samples, each once, with the metric that it lost most on."""
    first = {}
    for row in sorted(harmed, key=lambda row: (-row.harm, row.sample_id, row.metric)):
        first.setdefault(row.sample_id, row)
    return tuple(first.values())[:MAX_WORST_SAMPLES]
