"""Rows -> series -> lines. A line joins only values that were measured in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sana_bench.history.changes import Change, Line, find_changes
from sana_bench.history.rows import HistoryRow, by_run

MEASURED_ALIKE = {"suite_digest": "suite", "design_digest": "set of prompts or noise", "sampling_digest": "sampling", "version": "metric version",
                  "kind": "kind", "extractor": "extractor", "extractor_digest": "extractor digest", "unit": "unit", "higher_is_better": "direction"}
"""Fields in which all values of a line agree, and what they are called; what `compare` holds against a pair of results holds here."""
COMPARED_WITH = {"reference_digest": "reference images", "compared_base_digest": "compared base"}
"""The same, of metrics that need them: fields by name -> what they are called."""
NEEDS = {"reference_digest": "needs_reference", "compared_base_digest": "needs_base"}
"""What a metric's entry calls it."""


@dataclass(frozen=True)
class Segment:
    """One line: values of one metric, measured in the same way, by time."""

    rows: tuple[HistoryRow, ...]
    """At least one, each with a value."""
    apart: str
    """What makes it another line than the one before; empty for the first."""
    changes: tuple[Change, ...] = ()
    too_few: str = ""
    """Why no change was looked for; empty where it was."""

    @property
    def runs(self) -> list[tuple[HistoryRow, ...]]:
        return by_run(self.rows)

    @property
    def last(self) -> HistoryRow:
        """Of the newest run, the first of its fine-tunes."""
        return self.runs[-1][0]

    @property
    def previous(self) -> HistoryRow | None:
        """The same of the run before."""
        return self.runs[-2][0] if len(self.runs) > 1 else None


@dataclass(frozen=True)
class Series:
    """One metric of one suite and recipe."""

    name: str
    suite: str
    metric: str
    segments: tuple[Segment, ...]
    """By their newest value, so that the last one holds the newest of all; none where there never was a value."""
    num_missing: int = 0
    """Results without a value."""


@dataclass(frozen=True)
class History:
    rows: tuple[HistoryRow, ...]
    series: tuple[Series, ...]
    problems: tuple[str, ...] = field(default=())

    @property
    def num_results(self) -> int:
        """Results that are not copies of one another."""
        return len({(row.result_digest, row.created, row.suite) for row in self.rows})


def make_history(rows: Sequence[HistoryRow], problems: Sequence[str] = ()) -> History:
    """Lines of all metrics, with the changes that are beyond chance over all of them together."""
    grouped: dict[tuple[str, str, str], list[HistoryRow]] = {}
    for row in _without_copies(rows):
        grouped.setdefault((row.name, row.suite, row.metric), []).append(row)
    lines = {key: _segments(group) for key, group in sorted(grouped.items())}
    judged = iter(find_changes([Line.of(segment.rows) for segments in lines.values() for segment in segments]))
    series = []
    for (name, suite, metric), segments in lines.items():
        told = [(segment, next(judged)) for segment in segments]
        series.append(Series(name, suite, metric, tuple(Segment(segment.rows, segment.apart, found.changes, found.too_few) for segment, found in told),
                             sum(row.value is None for row in grouped[name, suite, metric])))
    return History(tuple(rows), tuple(series), tuple(problems))


def _without_copies(rows: Sequence[HistoryRow]) -> list[HistoryRow]:
    """By time. A baseline is a copy of a run, and a run compared again has the same result: such values are one measurement."""
    ordered = sorted(rows, key=lambda row: (row.created, row.result_digest, row.source != "run", row.run))
    return list({(row.created, row.result_digest, row.suite, row.metric): row for row in reversed(ordered)}.values())[::-1]


def _segments(rows: Sequence[HistoryRow]) -> list[Segment]:
    """Lines of one series, by their newest value."""
    valued = [row for row in rows if row.value is not None]
    fields = [*MEASURED_ALIKE, *_that_matter(valued)]
    by_way: dict[tuple, list[HistoryRow]] = {}
    for row in valued:
        by_way.setdefault(tuple(getattr(row, name) for name in fields), []).append(row)
    groups = sorted(by_way.values(), key=lambda group: (group[-1].created, group[-1].result_digest))
    return [Segment(tuple(group), _apart(groups[at - 1][-1], group[0], fields) if at else "") for at, group in enumerate(groups)]


def _that_matter(rows: Sequence[HistoryRow]) -> list[str]:
    """Which of `COMPARED_WITH` these values depend on. The registry loads every extractor's library, so it is asked only where digests differ."""
    differing = [name for name in COMPARED_WITH if len({getattr(row, name) for row in rows}) > 1]
    needs = _needs_of(rows[0].metric) if differing else None
    return [name for name in differing if needs(name)]


def _needs_of(metric: str) -> Callable[[str], bool]:
    """Of a metric that this version does not know, all is taken to be needed."""
    from sana_bench.metrics import METRICS

    entry = METRICS.get(metric) if metric in METRICS else None
    return lambda name: entry is None or getattr(entry, NEEDS[name])


def _apart(before: HistoryRow, after: HistoryRow, fields: Sequence[str]) -> str:
    """`metric version 1 -> 2; extractor digest aa -> bb`."""
    words = {**MEASURED_ALIKE, **COMPARED_WITH}
    return "; ".join(f"{words[name]} {getattr(before, name)} -> {getattr(after, name)}" for name in fields if getattr(before, name) != getattr(after, name))
