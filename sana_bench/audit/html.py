"""audit.html: one file, under the same rules as report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sana_bench.audit import charts
from sana_bench.audit.faults import KINDS
from sana_bench.audit.pictures import Exhibit
from sana_bench.audit.record import AuditReport
from sana_bench.report.html import TEMPLATES, render_document
from sana_bench.report.wording import clipped

OWN = Path(__file__).parent / "templates"
MOST_LINES = 50
"""Lines of the metadata, and groups of duplicates, that the page shows; all stand in audit.json."""


def render_audit(report: AuditReport, exhibits: Sequence[Exhibit]) -> str:
    """The whole page as one document without any outside reference and without a script."""
    return render_document("audit.html.j2", (OWN, TEMPLATES), ("report.css", "audit.css"), report=report, exhibits=exhibits, charts=charts, kinds=KINDS,
                           most_lines=MOST_LINES, clipped=clipped)
