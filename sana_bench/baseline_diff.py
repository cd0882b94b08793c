"""How two results differ: metric after metric, and in the settings and the circumstances that they came from. Nothing is gated by it.

Where both sides have their scores, `compare` judges them pair by pair, as in a run. What a baseline was before is known by its values
alone, so that a difference from it has no interval.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sana_bench.baselines import NAME, find_baseline, read_baseline
from sana_bench.comparability import metric_obstacle, sampling_obstacle, suite_obstacle, why_missing
from sana_bench.compare import compare
from sana_bench.config import CompareSection
from sana_bench.errors import BaselineError
from sana_bench.records import BenchmarkResult, MetricResult, Outcome
from sana_bench.results import load_bundle

PAST = re.compile(rf"({NAME.pattern})@(\d+)")
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Side:
    """A baseline, one of its past states, or a run."""

    label: str
    result: BenchmarkResult
    guard: BenchmarkResult | None
    folder: Path | None
    """With its scores; None for a past state, of which the values alone are kept."""


@dataclass(frozen=True)
class MetricDiff:
    """One metric before and after."""

    metric: str
    suite: str
    unit: str
    before: float | None
    before_interval: tuple[float | None, float | None]
    after: float | None
    after_interval: tuple[float | None, float | None]
    difference: float | None
    """After minus before; None where they cannot be compared."""
    low: float | None
    """Of the difference, over pairs; None where there are no pairs."""
    high: float | None
    outcome: Outcome | None
    """As `compare` judges it; None where the values alone are known."""
    reason: str
    """Why this outcome, or why there is no difference."""


@dataclass(frozen=True)
class Change:
    """A setting or a circumstance that is not what it was."""

    name: str
    before: object
    after: object


@dataclass(frozen=True)
class Diff:
    before: str
    after: str
    paired: bool
    """Whether the differences are over pairs of images."""
    metrics: tuple[MetricDiff, ...]
    changes: tuple[Change, ...]


def find_side(name: str, folder: Path) -> Side:
    """`tiny` is that baseline, `tiny@1` what its first acceptance made it, and a path any result folder.

    Raises:
        BaselineError: there is no such baseline, state or folder, or it is damaged.
        StoreError: the folder's records are damaged.
    """
    past = PAST.fullmatch(name)
    if not past and not NAME.fullmatch(name):
        path = find_baseline(name, folder)
        bundle = load_bundle(path)
        return Side(name, bundle.result, bundle.guard and bundle.guard.result, path)
    baseline = read_baseline(past[1] if past else name, folder)
    states = (*baseline.past, baseline.state)
    number = int(past[2]) if past else len(states)
    if not 1 <= number <= len(states):
        raise BaselineError(f'baseline "{baseline.name}" was accepted {len(states)} time(s): {baseline.name}@1 to {baseline.name}@{len(states)}, not "{name}"')
    state = states[number - 1]
    return Side(f"{baseline.name}@{number}", state.result, state.guard, baseline.folder if number == len(states) else None)


def latest_change(name: str, folder: Path) -> tuple[Side, Side]:
    """A baseline before and after its last acceptance.

    Raises:
        BaselineError: as of `find_side`, or it was accepted only once.
    """
    if not NAME.fullmatch(name):
        raise BaselineError(f'what should "{name}" be held against? Only a baseline, by its name, has a state before: sana-bench baselines diff NAME, or diff A B')
    baseline = read_baseline(name, folder)
    if not baseline.past:
        raise BaselineError(f'baseline "{name}" was accepted once, so nothing came before; give a second baseline or a run folder to hold against it')
    return find_side(f"{name}@{len(baseline.past)}", folder), find_side(name, folder)


def diff(before: Side, after: Side, settings: CompareSection) -> Diff:
    """Every metric of either side, on the suite and on the guard suite.

    Args:
        settings: How differences over pairs are judged.
    """
    paired = before.folder is not None and after.folder is not None
    metrics = _judged(before, after, settings) if paired else _by_values(before, after)
    return Diff(before.label, after.label, paired, tuple(metrics), tuple(_changes(before.result, after.result)))


def _judged(before: Side, after: Side, settings: CompareSection) -> Iterator[MetricDiff]:
    report = compare(load_bundle(after.folder), load_bundle(before.folder), settings, before.label)
    parts = {part.suite: part for part in reversed(_parts(before, after))}
    for each in report.verdicts:
        first, second = parts[each.suite].rows(each.metric)
        yield MetricDiff(each.metric, each.suite, each.unit, each.baseline, _interval(first), each.candidate, _interval(second), each.difference, each.ci_low,
                         each.ci_high, each.outcome, each.reason)


def _by_values(before: Side, after: Side) -> Iterator[MetricDiff]:
    for part in _parts(before, after):
        old, new = part.before, part.after
        obstacle = (suite_obstacle(old, new, part.setting) or sampling_obstacle(old, new)) if old and new else ""
        for name in dict.fromkeys(row.metric for side in (new, old) if side for row in side.results):
            first, second = part.rows(name)
            reason = why_missing(first, second) or obstacle or metric_obstacle(first, second, old, new)
            yield MetricDiff(name, part.suite, (second or first).unit, first and first.value, _interval(first), second and second.value, _interval(second),
                             None if reason else second.value - first.value, None, None, None, reason)


@dataclass(frozen=True)
class _Part:
    """The suite of both sides, or the guard suite of both."""

    suite: str
    setting: str
    """That which names the suite."""
    before: BenchmarkResult | None
    after: BenchmarkResult | None

    def rows(self, metric: str) -> tuple[MetricResult | None, MetricResult | None]:
        """Before and after."""
        return tuple(next((row for row in side.results if row.metric == metric), None) if side else None for side in (self.before, self.after))


def _parts(before: Side, after: Side) -> list[_Part]:
    """Named as `compare` names them: by the later side, where it has one."""
    own, guard = (before.result, after.result, "score.suite"), (before.guard, after.guard, "score.guard_suite")
    return [_Part((new or old).suite, setting, old, new) for old, new, setting in (own, guard) if old or new]


def _interval(row: MetricResult | None) -> tuple[float | None, float | None]:
    return (row.ci_low, row.ci_high) if row else (None, None)


def _changes(before: BenchmarkResult, after: BenchmarkResult) -> Iterator[Change]:
    """Of suite, settings, code, packages, machine and data. Where a run keeps its files is nothing that its numbers rest on."""
    old, new = (dict(_flat("", _circumstances(side))) for side in (before, after))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name, NOT_RECORDED) != new.get(name, NOT_RECORDED):
            yield Change(name, old.get(name, NOT_RECORDED), new.get(name, NOT_RECORDED))


def _circumstances(result: BenchmarkResult) -> dict:
    settings = {name: value for name, value in result.config.items() if name != "run"}
    return {"suite": {"name": result.suite, "version": result.suite_version, "digest": result.suite_digest}, **settings,
            "provenance": result.provenance.model_dump(mode="json", exclude={"created"})}


def _flat(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), each)
    else:
        yield prefix, value if isinstance(value, str | int | float | bool) else json.dumps(value)
