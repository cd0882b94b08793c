"""Training noise: whether a verdict rests on one fine-tune, and how far those of other training seeds lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from sana_bench.records import RegressionReport
from sana_bench.report.wording import number
from sana_bench.results import ResultBundle

HINT = ("Every fine-tune draws the same prompts from the same noise, so the values of a row differ by training alone. Of so few seeds an SD is itself rough. "
        "Pictures, pairs, tags and perceived groups are those of the first seed.")


@dataclass(frozen=True)
class SeedRow:
    """One metric by training seed."""

    metric: str
    """With its suite where that is not the first one."""
    unit: str
    values: tuple[float, ...]
    """In the order of the seeds."""
    mean: float
    spread: float
    """Standard deviation between seeds (n - 1), in the metric's unit."""
    in_budgets: float | None
    """The same in units of the metric's budget; None where that is zero."""


@dataclass(frozen=True)
class TrainingSeeds:
    """Everything that is said of training seeds."""

    note: str
    """For the top of a report."""
    seeds: tuple[int, ...]
    rows: tuple[SeedRow, ...]
    """The widest spread first; none with a single seed."""
    hint: str = HINT


def training_seeds(report: RegressionReport, candidate: ResultBundle) -> TrainingSeeds | None:
    """None where nothing was trained."""
    fine_tunes = (candidate, *candidate.replicates)
    note = training_note(report)
    if not note:
        return None
    rows = [*_rows(fine_tunes, candidate), *_rows([each.guard for each in fine_tunes if each.guard], candidate)]
    rows.sort(key=lambda row: row.in_budgets or 0.0, reverse=True)
    if rows and rows[0].in_budgets:
        size = f"{number(rows[0].spread)} {rows[0].unit}".strip()
        note += f" Widest in budgets: {rows[0].metric}, SD {size}, {number(rows[0].in_budgets)} budgets."
    return TrainingSeeds(note, tuple(each.training_seed for each in fine_tunes), tuple(rows))


def training_note(report: RegressionReport) -> str:
    """Whether the verdicts are on the recipe or on one fine-tune of it; nothing where nothing was trained."""
    number = max((verdict.num_training_seeds for verdict in report.deciding), default=0)
    if number == 0:
        return ""
    if number == 1:
        return ("One fine-tune: another training seed may come out otherwise, and how far is in no interval here. "
                "Replicates tell (--set train.num_seeds=3).")
    return f"{number} fine-tunes that differ in their training seed alone: verdicts are on the recipe, and intervals hold the spread between them."


def _rows(fine_tunes: Sequence[ResultBundle], candidate: ResultBundle) -> list[SeedRow]:
    """Metrics of one suite that have a value from every seed; none with a single seed."""
    rows = []
    for results in zip(*(each.result.results for each in fine_tunes), strict=True) if len(fine_tunes) > 1 else ():
        first, values = results[0], tuple(each.value for each in results if each.value is not None)
        suite = fine_tunes[0].result.suite
        if len(values) == len(results):
            rows.append(SeedRow(first.metric if suite == candidate.result.suite else f"{first.metric} of {suite}", first.unit, values, fmean(values),
                                stdev(values), stdev(values) / first.budget if first.budget else None))
    return rows
