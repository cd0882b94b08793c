"""The history in words: a table for the terminal, a document for programs. Names come from records, so nothing in them steers a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from sana_bench.console import MISSING, Table, interval, number, printable
from sana_bench.history.changes import ALPHA, MIN_SIDE, Change
from sana_bench.history.query import Answer
from sana_bench.history.rows import HistoryRow
from sana_bench.history.series import History, Segment, Series

SHORT = 7
HEADER = ("metric", "better", "runs", "last", "interval", "unit", "since previous", "commit", "when", "changes beyond chance")
POINT = ("commit", "dirty", "run", "training_seed", "source", "result_digest", "value", "ci_low", "ci_high", "num_scored", "outcome")


def commit_of(row: HistoryRow) -> str:
    """Short hash, with `+` for changes that were not committed; the run where the commit is not known."""
    return row.commit[:SHORT] + ("+" if row.dirty else "") if row.commit else row.run.rpartition("/")[2] or row.run


def day(row: HistoryRow) -> str:
    return row.created.strftime("%Y-%m-%d %H:%M")


def signed(difference: float) -> str:
    return f"{difference:+.3g}" if difference else "0"


def since_previous(segment: Segment) -> float | None:
    """Last value minus the one before on the same line."""
    return segment.last.value - segment.previous.value if segment.previous else None


def change_words(change: Change) -> str:
    budgets = f", {change.budgets:.1f} budgets" if change.budgets is not None else ""
    return f"{change.direction} by {abs(change.difference):.3g} since {commit_of(change.after)}{budgets} (p {change.p_adjusted:.2g})"


def summary(history: History) -> str:
    """What was found, in one sentence."""
    changes = sum(len(segment.changes) for series in history.series for segment in series.segments)
    told = f"{changes} change{'s' if changes != 1 else ''} beyond chance" if changes else "no change beyond chance"
    return (f"{history.num_results} result{'s' if history.num_results != 1 else ''}, {len(history.series)} series of a metric on a suite: {told}. "
            f"A change lasts at least {MIN_SIDE} runs; a history without any shows one with a chance of at most {ALPHA:.0%}.")


def history_text(history: History) -> list[str | Table]:
    """A table for each recipe and suite."""
    parts: list[str | Table] = []
    for (name, suite), group in groupby(history.series, key=lambda series: (series.name, series.suite)):
        several = list(group)
        parts += [printable(f"{name} on {suite}"), Table(HEADER, [tuple(map(printable, row)) for series in several for row in _rows(series)]),
                  *(printable(line) for series in several for line in _apart(series)), ""]
    return [*parts, summary(history)]


def _rows(series: Series) -> Iterator[tuple[str, ...]]:
    """One line of text a line of values, the newest first."""
    if not series.segments:
        yield (series.metric, "", "0", MISSING, MISSING, "", MISSING, "", "", f"no value in {series.num_missing} results")
    for at, segment in reversed(list(enumerate(series.segments, start=1))):
        last, moved = segment.last, since_previous(segment)
        yield (series.metric + (f" ({at})" if len(series.segments) > 1 else ""), "higher" if last.higher_is_better else "lower", str(len(segment.runs)),
               number(last.value), interval(last.ci_low, last.ci_high), last.unit, MISSING if moved is None else signed(moved), commit_of(last), day(last),
               "; ".join(map(change_words, segment.changes)) or segment.too_few or "none")


def _apart(series: Series) -> Iterator[str]:
    for at, segment in enumerate(series.segments[1:], start=2):
        yield f"{series.metric} ({at}) is another line than ({at - 1}): {segment.apart}"


def history_document(history: History) -> dict:
    """Everything of `history_text` and every value, JSON-like."""
    return {"num_results": history.num_results, "alpha": ALPHA, "left_out": list(history.problems), "series": [
        {"recipe": series.name, "suite": series.suite, "metric": series.metric, "num_missing": series.num_missing,
         "lines": [_line_document(segment) for segment in series.segments]} for series in history.series]}


def _line_document(segment: Segment) -> dict:
    last = segment.last
    return {"unit": last.unit, "higher_is_better": last.higher_is_better, "version": last.version, "extractor_digest": last.extractor_digest,
            "apart": segment.apart, "since_previous": since_previous(segment), "too_few": segment.too_few,
            "values": [{"created": row.created.isoformat(), **{name: getattr(row, name) for name in POINT}} for row in segment.rows],
            "changes": [{"before": change.before.commit, "after": change.after.commit, "after_run": change.after.run,
                         "after_created": change.after.created.isoformat(), "mean_before": change.mean_before, "mean_after": change.mean_after,
                         "difference": change.difference, "direction": change.direction, "budgets": change.budgets, "p_adjusted": change.p_adjusted}
                        for change in segment.changes]}


def answer_table(answer: Answer) -> Table:
    return Table(tuple(map(printable, answer.columns)), [tuple(_cell(value) for value in row) for row in answer.rows])


def answer_document(answer: Answer) -> Sequence[dict]:
    """A dict a row. Columns of one name keep apart by a number."""
    names = [name if name not in answer.columns[:at] else f"{name}_{at + 1}" for at, name in enumerate(answer.columns)]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def _cell(value: object) -> str:
    return MISSING if value is None else f"{value:.6g}" if isinstance(value, float) else printable(str(value))
