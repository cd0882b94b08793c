"""The same charts as a picture, drawn by matplotlib."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.console import printable
from sana_bench.history.series import History, Segment, Series
from sana_bench.history.text import commit_of
from sana_bench.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
COMMITS_NAMED = 8
TONES = {"better": "tab:green", "worse": "tab:red"}


def write_plot(path: Path, history: History) -> None:
    """Small multiples as PNG, one a metric: values by time, intervals as a band, changes as vertical lines. Texts are taken as they are: no formulas."""
    from matplotlib.figure import Figure

    shown = [series for series in history.series if series.segments]
    rows = max(1, math.ceil(len(shown) / COLUMNS))
    figure = Figure(figsize=(6 * COLUMNS, 2.6 * rows), layout="constrained")
    for at, series in enumerate(shown):
        _draw(figure.add_subplot(rows, COLUMNS, at + 1), series)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks is drawn as boxes
        figure.savefig(buffer, format="png", dpi=80)
    write_bytes(path, buffer.getvalue())


def _draw(axes: Axes, series: Series) -> None:
    ordered = sorted((row for segment in series.segments for row in segment.rows), key=lambda row: (row.created, row.result_digest))
    places = {(row.created, row.result_digest): at for at, row in enumerate(ordered)}
    for segment in series.segments:
        _draw_line(axes, segment, [places[row.created, row.result_digest] for row in segment.rows], segment is series.segments[-1])
        for change in segment.changes:
            between = sum(places[row.created, row.result_digest] for row in (change.before, change.after)) / 2
            axes.axvline(between, color=TONES[change.direction], linestyle="--")
            axes.annotate(change.direction, (between, 1), (2, -8), xycoords=("data", "axes fraction"), textcoords="offset points",
                          color=TONES[change.direction], fontsize=7)
    last = series.segments[-1].last
    axes.set_title(printable(f"{series.metric} ({series.name} on {series.suite})"), fontsize=9, parse_math=False)
    axes.set_ylabel(f"{printable(last.unit)}\n{'higher' if last.higher_is_better else 'lower'} is better", fontsize=7, parse_math=False)
    step = math.ceil(len(ordered) / COMMITS_NAMED)
    named = range(len(ordered) - 1, -1, -step)
    axes.set_xticks(named, [printable(commit_of(ordered[at])) for at in named], fontsize=7, parse_math=False)
    axes.tick_params(axis="y", labelsize=7)


def _draw_line(axes: Axes, segment: Segment, places: list[int], newest: bool) -> None:
    low, high = ([math.nan if value is None else value for value in (getattr(row, end) for row in segment.rows)] for end in ("ci_low", "ci_high"))
    color = "tab:blue" if newest else "tab:gray"
    axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)
    axes.vlines(places, low, high, color=color, alpha=0.25)
    axes.plot(places, [row.value for row in segment.rows], color=color, marker=".", linestyle="-" if newest else ":")
