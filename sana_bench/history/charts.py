"""Geometry of the charts: a box of WIDTH x HEIGHT, y downwards. Templates draw it as SVG; colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sana_bench.history.changes import Change
from sana_bench.history.rows import HistoryRow
from sana_bench.history.series import History, Segment, Series
from sana_bench.history.text import change_words, commit_of, day
from sana_bench.report.wording import limits, number

WIDTH, HEIGHT = 460, 170
LEFT, RIGHT, TOP, BOTTOM = 62, 452, 12, 138
MANY = 60
"""Beyond so many runs points are drawn small."""

Axis = Mapping[tuple[datetime, str], int]
"""Place of each result among all of its recipe and suite: all their charts have the same axis, a step a result."""


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Stroke:
    """One line with its intervals."""

    line: str
    bands: tuple[str, ...]
    """Polygons; only of neighbours that both have an interval."""
    whiskers: tuple[tuple[float, float, float], ...]
    """(x, y of the upper end, y of the lower end) of an interval without such a neighbour."""
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Mark:
    """A change, between two points."""

    x: float
    change: Change
    words: str


@dataclass(frozen=True)
class Chart:
    series: Series
    strokes: tuple[Stroke, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, float], ...]
    """(y, value)"""
    radius: float
    first: str
    """Commit and time of the oldest value; `last` of the newest."""
    last: str
    words: str


@dataclass(frozen=True)
class Group:
    """All charts of a recipe on a suite."""

    name: str
    suite: str
    charts: tuple[Chart, ...]


def make_groups(history: History) -> list[Group]:
    groups = []
    for (name, suite), several in groupby(history.series, key=lambda series: (series.name, series.suite)):
        found = list(several)
        places = sorted({(row.created, row.result_digest) for series in found for segment in series.segments for row in segment.rows})
        axis = {place: at for at, place in enumerate(places)}
        groups.append(Group(name, suite, tuple(make_chart(series, axis) for series in found if series.segments)))
    return [group for group in groups if group.charts]


def make_chart(series: Series, axis: Axis) -> Chart:
    """The chart of one metric with at least one line."""
    low, high = _reach([row for segment in series.segments for row in segment.rows])

    def x(row: HistoryRow) -> float:
        return round(LEFT + (RIGHT - LEFT) * (axis[row.created, row.result_digest] + 0.5) / len(axis), 1)

    def y(value: float) -> float:
        return round(TOP + (BOTTOM - TOP) * (high - value) / (high - low), 1)

    ordered = sorted((row for segment in series.segments for row in segment.rows), key=lambda row: row.created)
    marks = tuple(Mark((x(change.before) + x(change.after)) / 2, change, change_words(change)) for segment in series.segments for change in segment.changes)
    last = series.segments[-1].last
    least, most = min(row.value for row in ordered), max(row.value for row in ordered)
    words = (f"{series.metric}: {len(ordered)} values from {day(ordered[0])} to {day(ordered[-1])}, between {number(least)} and {number(most)}; "
             f"last {number(last.value)}; {'; '.join(mark.words for mark in marks) or 'no change beyond chance'}")
    return Chart(series, tuple(_stroke(segment, x, y) for segment in series.segments), marks,
                 tuple((y(value), value) for value in (high, (low + high) / 2, low)), 3.4 if len(axis) <= MANY else 1.8,
                 *(f"{commit_of(row)} · {day(row)}" for row in (ordered[0], last)), words)


def _reach(rows: Sequence[HistoryRow]) -> tuple[float, float]:
    """Lowest and highest number on the value axis."""
    numbers = [value for row in rows for value in (row.value, row.ci_low, row.ci_high) if value is not None]
    low, high = min(numbers), max(numbers)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _stroke(segment: Segment, x, y) -> Stroke:
    points = tuple(Point(x(row), y(row.value), _point_words(row)) for row in segment.rows)
    bands, whiskers = [], []
    for group in _with_interval(segment.rows):
        if len(group) == 1:
            whiskers.append((x(group[0]), y(group[0].ci_high), y(group[0].ci_low)))
        else:
            edge = [(x(row), y(row.ci_high)) for row in group] + [(x(row), y(row.ci_low)) for row in reversed(group)]
            bands.append(_path(edge))
    return Stroke(_path([(point.x, point.y) for point in points]), tuple(bands), tuple(whiskers), points)


def _with_interval(rows: Sequence[HistoryRow]) -> Iterator[list[HistoryRow]]:
    """Stretches of neighbours that have an interval."""
    for known, group in groupby(rows, key=lambda row: row.ci_low is not None and row.ci_high is not None):
        if known:
            yield list(group)


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _point_words(row: HistoryRow) -> str:
    verdict = f", {row.outcome.replace('_', ' ')}" if row.outcome else ""
    seed = f", training seed {row.training_seed}" if row.training_seed else ""
    return f"{commit_of(row)}, {day(row)}{seed}: {number(row.value)} ({limits(row.ci_low, row.ci_high)}), {row.num_scored} scored{verdict}"
