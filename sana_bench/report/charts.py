"""Geometry of the charts. Templates draw it as SVG; colours come from the style sheet, so that dark mode reads as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

from sana_bench.metrics.perceived import NOT_ASKED
from sana_bench.prompts import Target
from sana_bench.records import TrainingSummary, Verdict
from sana_bench.report.wording import OUTCOMES, OutcomeWords, number, percent
from sana_bench.results import ResultBundle

MIN_REACH, MAX_REACH = 1.5, 4.0
"""A forest plot shows at least and at most so many budgets to each side; what lies beyond gets an arrow."""

LOSS_POINTS = 300
"""A loss curve is thinned to about so many points."""


@dataclass(frozen=True)
class Bar:
    """An interval on an axis from -1 (worse) to 1 (better); a budget's worth of harm is at `budget`."""

    low: float
    high: float
    point: float
    budget: float
    beyond_low: bool
    beyond_high: bool
    words: str


@dataclass(frozen=True)
class ForestRow:
    metric: str
    outcome: OutcomeWords
    bar: Bar


@dataclass(frozen=True)
class LossCurve:
    """Polylines in a box of 100 x 100, y downwards."""

    raw: str
    smooth: str
    low: float
    high: float
    steps: int
    stride: int
    """Every so many steps one is drawn."""
    window: int
    final: float


@dataclass(frozen=True)
class Share:
    """One class of one attribute; shares in [0, 1], None where there is nothing to show."""

    name: str
    baseline: float | None
    candidate: float | None
    target: float | None
    words: str


@dataclass(frozen=True)
class Attribute:
    """A perceived attribute, over the images whose prompts leave it open."""

    name: str
    shares: tuple[Share, ...]
    note: str


def interval_bar(verdict: Verdict, reach: float) -> Bar | None:
    """The difference in units of the budget, turned so that better is to the right; None where there is no interval."""
    if None in (verdict.difference, verdict.ci_low, verdict.ci_high) or verdict.budget <= 0:
        return None
    sign = 1 if verdict.higher_is_better else -1
    ends = sorted(sign * value / verdict.budget for value in (verdict.ci_low, verdict.ci_high))
    point = sign * verdict.difference / verdict.budget

    def place(value: float) -> float:
        return max(-1.0, min(1.0, value / reach))

    return Bar(place(ends[0]), place(ends[1]), place(point), -1 / reach, ends[0] < -reach, ends[1] > reach,
               f"{_side(point)}, interval from {_side(ends[0])} to {_side(ends[1])}")


def _side(budgets: float) -> str:
    return f"{abs(budgets):.1f} budgets {'better' if budgets >= 0 else 'worse'}"


def common_reach(verdicts: Sequence[Verdict]) -> float:
    """Budgets that the axis of all rows shows to each side."""
    ends = [abs(end) / verdict.budget for verdict in verdicts if verdict.budget > 0
            for end in (verdict.ci_low, verdict.ci_high) if end is not None]
    return min(MAX_REACH, max([MIN_REACH, *(1.1 * end for end in ends)]))


def forest(verdicts: Sequence[Verdict], reach: float) -> list[ForestRow]:
    bars = ((verdict, interval_bar(verdict, reach)) for verdict in verdicts)
    return [ForestRow(verdict.metric, OUTCOMES[verdict.outcome], bar) for verdict, bar in bars if bar]


def loss_curve(summary: TrainingSummary | None) -> LossCurve | None:
    """The loss of each step and its running mean; None where nothing was trained."""
    if summary is None or len(summary.losses) < 2:
        return None
    losses = summary.losses
    window = max(1, len(losses) // 20)
    sums = [0.0, *accumulate(losses)]
    means = [(sums[end] - sums[max(0, end - window)]) / min(end, window) for end in range(1, len(sums))]
    low, high, last = min(losses), max(losses), len(losses) - 1
    stride = math.ceil(len(losses) / LOSS_POINTS)
    shown = [*range(0, last, stride), last]

    def line(values: Sequence[float]) -> str:
        return " ".join(f"{100 * step / last:.2f},{100 * (high - values[step]) / (high - low or 1):.2f}" for step in shown)

    return LossCurve(line(losses), line(means), low, high, len(losses), stride, window, means[-1])


def perceived_attributes(candidate: ResultBundle, baseline: ResultBundle | None) -> list[Attribute]:
    """Shares of the perceived classes in open prompts: aggregate only, with what stayed undetermined."""
    measured = {each.metric for each in candidate.result.results}
    return [_attribute(name, candidate, baseline) for name in Target.model_fields if f"{name}_diversity" in measured]


def _attribute(name: str, candidate: ResultBundle, baseline: ResultBundle | None) -> Attribute:
    metric = f"{name}_diversity"
    classes = get_args(get_args(Target.model_fields[name].annotation)[0])
    ours, theirs = _shares(candidate, metric, len(classes)), _shares(baseline, metric, len(classes))
    held = candidate.statistics.get(metric)
    targets = [float(share) for share in held.arrays["target"]] if held else [None] * len(classes)
    rows = [*zip((each.replace("_", " ") for each in classes), theirs[0], ours[0], targets, strict=True),
            ("undetermined", theirs[1], ours[1], None)]
    shares = tuple(Share(label, before, after, target, f"{label}: baseline {percent(before)}, candidate {percent(after)}, "
                                                       f"target {percent(target)}") for label, before, after, target in rows)
    note = f"candidate: {ours[2]}" + (f"; baseline: {theirs[2]}" if baseline else "")
    return Attribute(name.replace("_", " "), shares, note)


def _shares(bundle: ResultBundle | None, metric: str, num_classes: int) -> tuple[list[float | None], float | None, str]:
    """(share of each class among determined images, undetermined share of images that were looked at, counts in words)."""
    nothing: list[float | None] = [None] * num_classes
    result = next((each for each in bundle.result.results if each.metric == metric), None) if bundle else None
    if result is None:
        return nothing, None, "not measured"
    undetermined = sum(count for reason, count in result.unscored_reasons.items() if reason not in NOT_ASKED)
    looked_at = result.num_scored + undetermined
    words = f"{result.num_scored} of {looked_at} images of open prompts determined"
    if looked_at == 0 or metric not in bundle.statistics:
        return nothing, undetermined / looked_at if looked_at else None, words
    labels = bundle.statistics[metric].arrays["labels"]
    return [float((labels == index).mean()) for index in range(num_classes)], undetermined / looked_at, words


def difference_words(harm: float | None, difference: float | None) -> str:
    """`▼ −0.12`: a symbol for the direction beside the number; nothing for a pair that lacks a side."""
    if difference is None:
        return ""
    symbol = "" if harm is None or abs(harm) < 1 else "▼ " if harm > 0 else "▲ "
    return symbol + ("+" if difference > 0 else "") + number(difference)
