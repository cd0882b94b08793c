"""report: RegressionReport and the records beside it -> report.html, report.md and junit.xml. It renders; it never decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sana_bench.records import RegressionReport
from sana_bench.report.html import render_html
from sana_bench.report.junit import render_junit
from sana_bench.report.markdown import render_markdown
from sana_bench.report.page import make_page
from sana_bench.results import load_bundle
from sana_bench.store import write_bytes


def write_report(run_folder: Path, report: RegressionReport, candidate_folder: Path, baseline_folder: Path | None,
                 reused: Mapping[str, bool] | None = None) -> Path:
    """Write `report.html` (one file, no request leaves it), `report.md` and `junit.xml` into the run folder, from records only.

    Beside the result files, the candidate folder may hold `suite.json` (PromptSuite: prompt texts and tags) and
    `checkpoint.json` (Checkpoint: the loss curve); the report says where they are missing.

    Args:
        run_folder: Receives the files.
        report: The verdict.
        candidate_folder: Result folder of the candidate.
        baseline_folder: Result folder of the baseline, or None where there is none.
        reused: Stages by name: True where the store already had its artifact.

    Returns:
        Path of report.html.

    Raises:
        StoreError: a record cannot be read, or the run folder cannot be written.
        ReportError: a picture cannot be decoded.
    """
    baseline = load_bundle(baseline_folder) if baseline_folder else None
    page = make_page(report, load_bundle(candidate_folder), baseline, reused)
    write_bytes(run_folder / "report.md", render_markdown(page).encode())
    write_bytes(run_folder / "junit.xml", render_junit(report, page.result.name, Path("report.html")))
    write_bytes(run_folder / "report.html", render_html(page).encode())
    return run_folder / "report.html"
