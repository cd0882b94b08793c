"""Tables of who is in the images, as they present, and of how good the images are for each group: in aggregate only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sana_bench.records import BenchmarkResult, Composition, GroupScore, Measure, PromptComposition

MEASURES = {
    "entropy": "entropy in nats",
    "normalised_entropy": "entropy over that of equal shares",
    "hill_0": "classes present (Hill 0)",
    "hill_1": "effective classes (Hill 1)",
    "hill_2": "effective common classes (Hill 2)",
    "kl_to_target": "divergence from the target in nats",
    "mean_deviation_from_target": "mean deviation from the target",
}
"""In words, in the order in which they are shown."""


@dataclass(frozen=True)
class ClassRow:
    """One class of an attribute; shares in [0, 1], None where there is nothing to show."""

    name: str
    num_images: int
    share: float | None
    corrected: float | None
    corrected_interval: tuple[float | None, float | None] | None
    target: float | None


@dataclass(frozen=True)
class MeasureRow:
    name: str
    baseline: float | None
    candidate: Measure
    corrected: Measure | None
    """The candidate's, of the corrected shares."""


@dataclass(frozen=True)
class CompositionTable:
    """One attribute over the candidate's images whose prompt leaves it open."""

    name: str
    rows: tuple[ClassRow, ...]
    num_undetermined: int
    undetermined: float | None
    """Share of the images that were looked at."""
    reasons: str
    measures: tuple[MeasureRow, ...]
    prompts: tuple[PromptComposition, ...]


@dataclass(frozen=True)
class GroupTable:
    """One metric over the groups of one attribute."""

    metric: str
    attribute: str
    groups: tuple[GroupScore, ...]
    gap: float | None
    """Largest minus smallest mean of the groups that are large enough; None where fewer than two are."""


def composition_tables(candidate: BenchmarkResult, baseline: BenchmarkResult | None) -> tuple[CompositionTable, ...]:
    """One table an attribute; none for a result that was made before there were compositions."""
    before = {each.attribute: each.measures for each in baseline.compositions} if baseline else {}
    return tuple(_composition_table(each, before.get(each.attribute, {})) for each in candidate.compositions)


def _composition_table(composition: Composition, before: dict[str, Measure]) -> CompositionTable:
    def column(shares: Sequence | None) -> Sequence:
        return shares if shares is not None else [None] * len(composition.classes)

    rows = tuple(ClassRow(name.replace("_", " "), *numbers) for name, *numbers in zip(
        composition.classes, composition.counts, column(composition.shares), column(composition.corrected_shares),
        column(composition.corrected_intervals), column(composition.target), strict=True))
    looked_at = sum(composition.counts) + composition.num_undetermined
    return CompositionTable(
        composition.attribute.replace("_", " "), rows, composition.num_undetermined,
        composition.num_undetermined / looked_at if looked_at else None,
        ", ".join(f"{count} × {reason}" for reason, count in sorted(composition.undetermined_reasons.items())),
        tuple(MeasureRow(words, before[name].value if name in before else None, composition.measures[name],
                         composition.corrected_measures.get(name)) for name, words in MEASURES.items() if name in composition.measures),
        composition.prompts)


def group_tables(result: BenchmarkResult) -> tuple[GroupTable, ...]:
    """One table a metric and attribute, metric after metric."""
    def key(score: GroupScore) -> tuple[str, str]:
        return score.metric, score.attribute

    tables = []
    for (metric, attribute), rows in groupby(sorted(result.groups, key=key), key):  # sorting keeps the order of the groups
        groups = tuple(rows)
        means = [group.value for group in groups if group.enough and group.value is not None]
        tables.append(GroupTable(metric, attribute.replace("_", " "), groups, max(means) - min(means) if len(means) > 1 else None))
    return tuple(tables)
