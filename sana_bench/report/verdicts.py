"""Lines of a metric table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sana_bench.records import BenchmarkResult, MetricResult, Verdict
from sana_bench.report.charts import Bar, interval_bar
from sana_bench.report.wording import OUTCOMES, OutcomeWords


@dataclass(frozen=True)
class Row:
    """One line of the metric table."""

    verdict: Verdict
    words: OutcomeWords
    result: MetricResult | None
    """The candidate's own result; None where the metric is missing there."""
    bar: Bar | None


def in_order(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The worst outcomes first."""
    order = list(OUTCOMES)
    return sorted(verdicts, key=lambda verdict: order.index(verdict.outcome))


def rows_of(verdicts: Iterable[Verdict], results: Iterable[BenchmarkResult], reach: float) -> tuple[Row, ...]:
    """One line a verdict, on an axis of so many budgets to each side.

    Args:
        results: of the candidate on every suite that a verdict is about.
    """
    known = {(result.suite, each.metric): each for result in results for each in result.results}
    return tuple(Row(verdict, OUTCOMES[verdict.outcome], known.get((verdict.suite, verdict.metric)), interval_bar(verdict, reach)) for verdict in verdicts)
