"""Whether what a gate asks exists, so that a misspelt gate is an error and not a verdict. Before a run is drawn, and before one is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sana_bench.config import GateSection
from sana_bench.errors import ConfigError
from sana_bench.guard import Part
from sana_bench.metrics import METRICS
from sana_bench.metrics.parity import grouped_metrics
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.records import BenchmarkResult
from sana_bench.registry import near_names
from sana_bench.results import ResultBundle
from sana_bench.score import chosen_metrics
from sana_bench.selftest.results import why_not_judged
from sana_bench.tags import tags_of


@dataclass(frozen=True)
class Judgeable:
    """What gates may ask of one suite."""

    suite: str
    not_judged: Mapping[str, str]
    """By metric that is measured on it: why it may decide nothing; empty where it may."""
    tags: frozenset[str]
    by_group: Mapping[str, tuple[str, ...]]
    """Metrics that have a value by group, with the attributes of these groups."""
    setting: str = ""
    """To which a metric is added that would not be measured; empty where all is measured already: such a metric is then `missing`."""


def judgeable_parts(parts: Iterable[Part]) -> list[Judgeable]:
    """Of a run that is still to be drawn."""
    return [_to_be_measured(part) for part in parts]


def _to_be_measured(part: Part) -> Judgeable:
    chosen = chosen_metrics(part.config)
    read = {name for entry in chosen for name in entry.extractors}
    attributes = tuple(attribute for attribute, perceived in ATTRIBUTES.items() if perceived.extractor in read)
    grouped = {entry.name for entry in grouped_metrics().values()} if attributes else set()
    return Judgeable(part.suite.name, {entry.name: why_not_judged(entry) for entry in chosen},
                     frozenset(tag for tags in tags_of(part.suite).values() for tag in tags),
                     {entry.name: attributes for entry in chosen if entry.name in grouped}, "score.guard_metrics" if part.prefix else "score.extra_metrics")


def judgeable_results(results: Iterable[BenchmarkResult]) -> list[Judgeable]:
    """Of finished results, candidate and baseline; those of one suite are taken together, and the first to measure a metric says whether it decides."""
    by_suite: dict[str, list[BenchmarkResult]] = {}
    for result in results:
        by_suite.setdefault(result.suite, []).append(result)
    return [Judgeable(suite, {each.metric: each.not_judged for side in reversed(sides) for each in side.results},
                      frozenset(tag for side in sides for tags in side.prompt_tags.values() for tag in tags),
                      _by_group(sides)) for suite, sides in by_suite.items()]


def _by_group(sides: Sequence[BenchmarkResult]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for each in (group for side in sides for group in side.groups):
        found.setdefault(each.metric, {})[each.attribute] = None
    return {metric: tuple(attributes) for metric, attributes in found.items()}


def judgeable_sides(candidate: ResultBundle, baseline: ResultBundle | None) -> list[Judgeable]:
    """Of what is about to be compared, the guard suites among it."""
    return judgeable_results(bundle.result for side in (candidate, baseline) if side for bundle in (side, side.guard) if bundle)


def check_gates(gates: Sequence[GateSection], judgeable: Sequence[Judgeable]) -> None:
    """Refuse gates that ask what does not exist or may not decide.

    Args:
        judgeable: of the run's suite, then of its guard suite where there is one.

    Raises:
        ConfigError: an unknown suite, metric, tag or group, a metric that is not going to be measured, or one that failed its self-test; the
            problems of all gates in one message.
    """
    problems = [f'  gate "{gate.label}": {problem}' for gate in gates for problem in _problems(gate, judgeable)]
    if problems:
        raise ConfigError("\n".join([f"{len(problems)} problem(s) with what gates ask:", *problems]))


def _problems(gate: GateSection, judgeable: Sequence[Judgeable]) -> Iterator[str]:
    known = {each.suite: each for each in judgeable}
    suite = known.get(gate.suite) if gate.suite else judgeable[0]
    if suite is None:
        yield f'the run has no suite "{gate.suite}".{near_names(gate.suite, list(known))} It has: {", ".join(known)}'
        return
    problem = _metric_problem(gate.metric, suite)
    if problem:
        yield problem
    if gate.tag and gate.tag not in suite.tags:
        yield f'no prompt of {suite.suite} has the tag "{gate.tag}".{near_names(gate.tag, sorted(suite.tags))} Known: {", ".join(sorted(suite.tags)) or "none"}'
    if gate.group:
        yield from _group_problems(gate, suite)


def _group_problems(gate: GateSection, suite: Judgeable) -> Iterator[str]:
    attribute, _, group = gate.group.partition("=")
    if attribute not in suite.by_group.get(gate.metric, ()):
        having = [metric for metric, attributes in suite.by_group.items() if attribute in attributes]
        yield f"{gate.metric} has no value by {attribute} on {suite.suite}. It is known of: {', '.join(having) or 'no metric'}"
    if group not in ATTRIBUTES[attribute].classes:
        classes = list(ATTRIBUTES[attribute].classes)
        yield f'there is no group "{group}" of {attribute}.{near_names(group, classes)} Known: {", ".join(classes)}'


def _metric_problem(metric: str, suite: Judgeable) -> str:
    """Empty where the metric may be gated."""
    why_not = suite.not_judged.get(metric)
    if why_not is not None:
        return f"{metric} may not be gated: {why_not}" if why_not else ""
    may_be = f"Measured on {suite.suite} and fit for a gate are: {', '.join(name for name, why in suite.not_judged.items() if not why) or 'none'}"
    if metric not in METRICS:
        return f'there is no metric "{metric}".{near_names(metric, sorted({*suite.not_judged, *METRICS.names()}))} {may_be}'
    return f"{metric} would not be measured on {suite.suite}: add it to {suite.setting}. {may_be}" if suite.setting else ""
