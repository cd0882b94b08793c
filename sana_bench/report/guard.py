"""The guard suite's part of the page: what the fine-tune was not meant to change."""

from __future__ import annotations

from dataclasses import dataclass

from sana_bench.prompts import PromptSuite
from sana_bench.records import BenchmarkResult, RegressionReport, Verdict
from sana_bench.report.pairs import WorstPair, make_pairs, open_album, worst_pairs
from sana_bench.report.tags import TagTable, tag_table
from sana_bench.report.verdicts import Row, rows_of
from sana_bench.results import ResultBundle
from sana_bench.store import read_record


@dataclass(frozen=True)
class Guard:
    """Everything that is said of the guard suite."""

    suite: str
    result: BenchmarkResult | None
    """The candidate's; None where the baseline alone has one."""
    rows: tuple[Row, ...]
    tags: TagTable | None
    worst: list[WorstPair]


def make_guard(report: RegressionReport, verdicts: list[Verdict], reach: float, candidate: ResultBundle | None,
               baseline: ResultBundle | None) -> Guard | None:
    """None where neither side has a guard suite.

    Args:
        verdicts: those of the report that are on the guard suite.
    """
    side = candidate or baseline
    if side is None:
        return None
    if candidate is None:
        return Guard(side.result.suite, None, rows_of(verdicts, (), reach), None, [])
    path = candidate.folder / "suite.json"
    suite = read_record(path, PromptSuite) if path.exists() else None
    pairs = make_pairs(report, candidate, baseline, suite)
    return Guard(side.result.suite, candidate.result, rows_of(verdicts, [candidate.result], reach), tag_table(report, candidate),
                 worst_pairs(report.guard_worst_samples, pairs, open_album(candidate, baseline), small=True))
