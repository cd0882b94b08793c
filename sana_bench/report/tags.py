"""Results per tag of the prompts, as a table of tags and metrics: the difference where there is one, else the candidate's own mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sana_bench.records import RegressionReport, TagDifference, TagScore
from sana_bench.report.wording import interval, limits, number, probability, signed
from sana_bench.results import ResultBundle, loss_in_budgets


FALSE_DISCOVERIES = 0.05
"""Share of the marked cells that chance alone may have marked."""


@dataclass(frozen=True)
class TagCell:
    """One metric on one tag."""

    value: str
    interval: str
    enough: bool
    """Whether so many prompts could make a verdict."""
    harm: float | None
    """Budgets lost; None where nothing was compared."""
    words: str
    """What it is made of."""
    changed: bool
    """Whether it is beyond chance after so many looks."""


@dataclass(frozen=True)
class TagRow:
    tag: str
    num_prompts: int
    cells: tuple[TagCell | None, ...]
    """A metric each; None where nothing is scored."""


@dataclass(frozen=True)
class TagTable:
    metrics: tuple[str, ...]
    rows: tuple[TagRow, ...]
    """Those of most prompts first."""

    @property
    def compared(self) -> bool:
        return any(cell and cell.harm is not None for row in self.rows for cell in row.cells)

    @property
    def has_few(self) -> bool:
        return any(cell and not cell.enough for row in self.rows for cell in row.cells)


def tag_table(report: RegressionReport, candidate: ResultBundle) -> TagTable | None:
    """Of the candidate's suite; None where nothing is known by tag."""
    result = candidate.result
    if not result.tags:
        return None
    scores = {(each.tag, each.metric): each for each in result.tags}
    differences = {(each.tag, each.metric): each for each in report.tags if each.suite == result.suite}
    budgets = {verdict.metric: verdict.budget for verdict in report.verdicts if verdict.suite == result.suite}
    tagged = {each.metric for each in result.tags}
    metrics = [each for each in result.results if each.metric in tagged]
    sizes = Counter(tag for tags in result.prompt_tags.values() for tag in tags)

    def cell(tag: str, metric) -> TagCell | None:
        score, difference = scores.get((tag, metric.metric)), differences.get((tag, metric.metric))
        harm = loss_in_budgets(metric, difference.difference, budgets.get(metric.metric, 0.0)) if difference else None
        return _cell(score, difference, harm) if score else None

    return TagTable(tuple(each.metric for each in metrics), tuple(
        TagRow(tag, size, tuple(cell(tag, metric) for metric in metrics)) for tag, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))))


def _cell(score: TagScore, difference: TagDifference | None, harm: float | None) -> TagCell:
    alone = f"candidate {number(score.value)} ({limits(score.low, score.high)}), {score.num_images} images of {score.num_prompts} prompts"
    if difference is None:
        return TagCell(number(score.value), limits(score.low, score.high), score.enough, None, alone, False)
    return TagCell(signed(difference.difference), interval(difference.low, difference.high), difference.enough, harm,
                   f"{difference.num_pairs} pairs of {difference.num_prompts} prompts{_chance(difference)}; {alone}",
                   difference.q_value is not None and difference.q_value <= FALSE_DISCOVERIES)


def _chance(difference: TagDifference) -> str:
    return "" if difference.q_value is None else f", p = {probability(difference.p_value)}, q = {probability(difference.q_value)}"
