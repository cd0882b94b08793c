"""What a run says in a CI system: the verdict first, and cut at whole rows where the place is too small.

Rendered from the records of a run folder alone; text from them is escaped, and clipped where it is longer than anybody reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sana_bench.errors import ConfigError
from sana_bench.prompts import PromptSuite
from sana_bench.records import BenchmarkResult, RegressionReport, Verdict, WorstSample
from sana_bench.report.markdown import escape_markdown, gate_table, metric_table, worst_table
from sana_bench.report.verdicts import in_order, rows_of
from sana_bench.report.wording import NOT_COMPARED, OUTCOMES, clipped
from sana_bench.results import REPORT_RECORD, RESULT_FILE
from sana_bench.store import read_record

SUMMARY_BYTES, COMMENT_BYTES = 1_000_000, 60_000
"""Below GitHub's limits of 1024k bytes a step summary and 65,536 characters a comment."""
FEWEST_BYTES = 8192
MARKER = "<!-- sana-bench -->"
"""First line of the comment, by which the next run finds it."""
_NOTE_BYTES = 200


@dataclass(frozen=True)
class RunRecords:
    """What a run folder says."""

    report: RegressionReport
    result: BenchmarkResult
    prompts: dict[str, str]
    """Text by prompt id, where the folder has its suite."""


def read_run(run_dir: Path) -> RunRecords:
    """Read the records of a run folder, with every long text in the verdicts clipped.

    Raises:
        StoreError: a record is missing or damaged.
    """
    report, result = read_record(run_dir / REPORT_RECORD, RegressionReport), read_record(run_dir / RESULT_FILE, BenchmarkResult)
    suite = read_record(run_dir / "suite.json", PromptSuite) if (run_dir / "suite.json").exists() else None
    short = report.model_copy(update={"headline": clipped(report.headline), "baseline_name": clipped(report.baseline_name),
                                      "verdicts": _clip_verdicts(report.verdicts), "gates": _clip_verdicts(report.gates),
                                      "worst_samples": _clip_losses(report.worst_samples)})
    return RunRecords(short, result, {prompt.id: clipped(prompt.text) for prompt in suite.prompt} if suite else {})


def render_summary(run: RunRecords, limit: int = SUMMARY_BYTES) -> str:
    """Headline, gates, all metrics and the worst pairs, in at most `limit` bytes of UTF-8."""
    report = run.report
    suites = list(dict.fromkeys([run.result.suite, *(verdict.suite for verdict in report.verdicts)]))
    tables = [gate_table(report.gates, report.confidence)]
    for suite in suites:
        heading = [f"### {'Metrics' if suite == run.result.suite else f'Guard: {escape_markdown(clipped(suite))}'}", ""]
        tables.append([*heading, *_metrics(run, in_order(verdict for verdict in report.verdicts if verdict.suite == suite))])
    failed = [loss for gate in report.gates if not gate.passed for loss in gate.worst]
    worst = {(each.sample_id, each.metric): each for each in (failed or report.worst_samples)}
    tables.append(worst_table(list(worst.values()), run.prompts))
    return fit([_heading(run), *tables, ["Pictures, keypoints, tags, perceived groups and provenance are in report.html of the run.", ""]], limit)


def render_comment(run: RunRecords, limit: int = COMMENT_BYTES, link: str = "") -> str:
    """The verdict table alone: of the gates, or of all metrics where there are none, the worst first.

    Args:
        limit: Bytes of UTF-8; a text of so many bytes has no more characters.
        link: Where the whole report is.
    """
    report = run.report
    deciding = (gate_table(sorted(report.gates, key=lambda gate: gate.passed), report.confidence) if report.gates
                else _metrics(run, in_order(report.verdicts)))
    where = [f"[Report, JUnit and log]({link})", ""] if link else []
    return fit([[MARKER, *_heading(run), *where], deciding], limit)


def _heading(run: RunRecords) -> list[str]:
    report, result, text = run.report, run.result, escape_markdown
    judged = report.baseline_provenance is not None or bool(report.gates)
    words = OUTCOMES[report.outcome] if judged else NOT_COMPARED
    baseline = f"baseline {text(report.baseline_name)}" if report.baseline_provenance else "no baseline"
    suite = f"suite {text(clipped(result.suite))} {result.suite_version}"
    return [f"## {words.symbol} {text(report.headline)}", "",
            f"**{words.label}** · {text(clipped(result.name))} · {suite} · {len(result.samples)} images · {baseline}", ""]


def _metrics(run: RunRecords, verdicts: Sequence[Verdict]) -> list[str]:
    return metric_table(rows_of(verdicts, (), 1.0), run.report.confidence)


def fit(parts: Sequence[Sequence[str]], limit: int) -> str:
    """Lines of all parts, as far as they fit; what is cut is a number of whole lines, and the last line says how many.

    Args:
        parts: Paragraphs and tables, in the order of their weight; each ends with an empty line.
        limit: Bytes of UTF-8.

    Raises:
        ConfigError: a limit in which nothing can be said.
    """
    if limit < FEWEST_BYTES:
        raise ConfigError(f"a limit of {limit} bytes is too small to say anything: give at least {FEWEST_BYTES}")
    lines = [line for part in parts for line in part]
    if len("\n".join(lines).encode()) <= limit:
        return "\n".join(lines)
    kept: list[str] = []
    for part in parts:
        fitting = _fitting(part, limit - _NOTE_BYTES - _size(kept))
        if fitting > _head(part):
            kept += part[:fitting]
        if fitting < len(part):
            break
    return "\n".join([*kept, "", f"**Cut here**: {len(lines) - len(kept):,} more lines do not fit. They are in report.html of the run.", ""])


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _fitting(part: Sequence[str], room: int) -> int:
    """How many lines fit from the first on."""
    ends = itertools.accumulate(len(line.encode()) + 1 for line in part)
    return sum(end <= room for end in ends)


def _head(part: Sequence[str]) -> int:
    """Lines up to the rule under a table's head: without a row after them they are no table."""
    return next((at + 1 for at, line in enumerate(part) if line.startswith("|---")), 0)


def _clip_verdicts(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    names = ("metric", "gate", "unit", "reason", "tag", "group")
    return tuple(each.model_copy(update={name: clipped(getattr(each, name)) for name in names} | {"worst": _clip_losses(each.worst)})
                 for each in verdicts)


def _clip_losses(losses: Iterable[WorstSample]) -> tuple[WorstSample, ...]:
    return tuple(each.model_copy(update={"sample_id": clipped(each.sample_id), "metric": clipped(each.metric)}) for each in losses)
