"""Why an outcome is what it is, in words. No verdict is made here; see compare.py."""

from __future__ import annotations

from sana_bench.difference import Difference
from sana_bench.records import MetricResult, Outcome
from sana_bench.significance import fewest_prompts
from sana_bench.statistics import Interval


def why_not_judged(result: MetricResult, difference: Difference, num_pairs: int) -> str:
    """Why a metric's difference is shown and not judged; empty where it is judged."""
    if result.not_judged:
        return f"shown, not judged: {result.not_judged}"
    if num_pairs >= result.fewest_images:
        return ""
    differ = ""
    if difference.p_value is not None and difference.test == "label permutation":
        differ = f"; that the sides differ at all has p = {difference.p_value:.2g}, and which of them is better other metrics must say"
    return f"shown, not judged: below {result.fewest_images} images its bias can hide or feign a change{differ}"


def why(outcome: Outcome, gain: Interval, budget: float, unit: str, num_prompts: int, confidence: float, p_value: float | None, p_adjusted: float | None) -> str:
    """Why this outcome of a judged difference, in one clause.

    Args:
        gain: positive where the candidate is better.
    """
    size, limit = (f"{number:.3g} {unit}".strip() for number in (abs(gain.value), budget))
    if outcome in ("regressed", "improved"):
        return f"{'worse' if outcome == 'regressed' else 'better'} by {size}, beyond the budget of {limit}, and beyond chance"
    if num_prompts < fewest_prompts(confidence):
        return f"{num_prompts} prompt(s) cannot tell a change from chance; {fewest_prompts(confidence)} are the least"
    if gain.low is None or gain.high is None:
        return "too few samples to know how uncertain the difference is"
    if outcome == "unchanged":
        return (f"any change stays within the budget of {limit}" if gain.high <= budget else
                f"a loss beyond the budget of {limit} is excluded; a gain beyond it is possible but not shown")
    if gain.value >= -budget:
        return f"a loss beyond the budget of {limit} is not excluded"
    if p_value is not None and p_adjusted is not None and p_value <= 1 - confidence < p_adjusted:
        return (f"worse by {size}, beyond the budget of {limit}, and beyond chance by itself (p = {p_value:.2g}), but not among so many metrics "
                f"that are decided together (adjusted {p_adjusted:.2g})")
    return f"worse by {size}, beyond the budget of {limit}, but chance is not excluded"


def how_many_more(needed: int | None, found: Difference) -> str:
    """What would settle an inconclusive verdict."""
    if needed is not None:
        return f"about {needed} prompts would tell, {needed - found.num_prompts} more than there are"
    if found.error is None:
        return "more prompts may tell, and nothing tells how many"
    return "no practical number of prompts would tell" + ("; more training seeds may" if found.seed_error else "")
