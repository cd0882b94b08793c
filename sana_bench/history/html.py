"""history.html: one file, under the same rules as report.html."""

from __future__ import annotations

from pathlib import Path

from sana_bench.history import charts
from sana_bench.history.series import History
from sana_bench.history.text import change_words, commit_of, day, since_previous, summary
from sana_bench.report.html import TEMPLATES, render_document

OWN = Path(__file__).parent / "templates"


def render_history(history: History) -> str:
    """The whole page as one document without any outside reference and without a script."""
    changes = sorted(((series, change) for series in history.series for segment in series.segments for change in segment.changes),
                     key=lambda found: found[1].after.created, reverse=True)
    return render_document("history.html.j2", (OWN, TEMPLATES), ("report.css", "history.css"), history=history, groups=charts.make_groups(history),
                           changes=changes, charts=charts, summary=summary(history), commit_of=commit_of, day=day, change_words=change_words,
                           since_previous=since_previous)
