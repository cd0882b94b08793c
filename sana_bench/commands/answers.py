"""Verdicts and results as tables and lines, which several commands answer with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sana_bench.console import Reply, Table, interval, number

if TYPE_CHECKING:
    from sana_bench.pipeline import RunOutcome
    from sana_bench.records import Checkpoint, MetricResult, ShareOfSamples, Verdict


def verdict_table(verdicts: tuple[Verdict, ...]) -> Table:
    """One line a metric, with the suite where there are two."""
    suites = list(dict.fromkeys(each.suite for each in verdicts))
    return Table((*(("suite",) if len(suites) > 1 else ()), "metric", "outcome", "baseline", "candidate", "difference", "interval", "budget", "unit"),
                 [(*((each.suite,) if len(suites) > 1 else ()), each.metric, each.outcome, number(each.baseline), number(each.candidate), number(each.difference),
                   interval(each.ci_low, each.ci_high), number(each.budget), each.unit) for each in verdicts])


def gate_table(gates: tuple[Verdict, ...]) -> Table:
    """One line a gate."""
    return Table(("gate", "passed", "outcome", "baseline", "candidate", "difference", "interval", "budget", "floor", "ceiling", "p after Holm"),
                 [(each.gate, "yes" if each.passed else "NO", each.outcome, number(each.baseline), number(each.candidate), number(each.difference),
                   interval(each.ci_low, each.ci_high), number(each.budget), number(each.floor), number(each.ceiling), number(each.p_adjusted)) for each in gates])


def result_table(results: tuple[MetricResult, ...]) -> Table:
    return Table(("metric", "value", "interval", "unit", "scored", "unscored"),
                 [(each.metric, number(each.value), interval(each.ci_low, each.ci_high), each.unit, str(each.num_scored),
                   str(each.num_unscored)) for each in results])


def result_notes(results: tuple[MetricResult, ...]) -> list[str]:
    """A line for every metric that has something to say beside its value, or no value."""
    said = {each.metric: each.note or (_why_none(each) if each.value is None else "") for each in results}
    return [f"{metric}: {words}" for metric, words in said.items() if words]


def _why_none(result: MetricResult) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in result.unscored_reasons.items())


def training_answer(checkpoint: Checkpoint) -> list[str | Table]:
    """What was trained, how long it took, and what it saw how often."""
    from sana_bench.data.shares import repetition_note
    from sana_bench.progress import format_seconds

    lines: list[str | Table] = [f"checkpoint {checkpoint.digest}: {checkpoint.trainer} on {checkpoint.base}"]
    summary = checkpoint.summary
    if summary:
        timed = ""
        if summary.seconds_inside and summary.seconds_outside is not None:
            outside = summary.seconds_outside / (summary.seconds_outside + summary.seconds_inside)
            timed = f"; of the steps' time {outside:.1%} outside forward, backward and optimizer"
        lines.append(f"{summary.steps} steps on {summary.num_images} images, {summary.trainable_parameters:,} parameters trained, "
                     f"{format_seconds(checkpoint.cost.seconds)} in all{timed}")
        lines += [*shares_table(summary.shares), *filter(None, [repetition_note(summary.shares)])]
    return lines


def shares_table(shares: Sequence[ShareOfSamples]) -> list[Table]:
    """How often training sees what; none where all images are seen alike."""
    rows = [(each.name, f"{each.before:.1%}", f"{each.after:.1%}") for each in shares]
    return [Table(("samples", "share of images", "share of samples"), rows)] if rows else []


def outcome_reply(outcome: RunOutcome, code: int) -> Reply:
    """The answer of the commands that end in a verdict."""
    from sana_bench.progress import format_seconds
    from sana_bench.report.training import training_note

    report = outcome.report
    stages = {name: {"seconds": stage.seconds, "peak_memory_bytes": stage.peak_memory_bytes, "reused": stage.reused}
              for name, stage in outcome.stages.items()}
    costs = ", ".join(f"{name} {'reused' if stage.reused else format_seconds(stage.seconds)}"
                      for name, stage in outcome.stages.items())
    document = {"outcome": outcome.outcome, "headline": report.headline, "run_dir": str(outcome.run_dir.resolve()),
                "report": str((outcome.run_dir / "report.html").resolve()),
                "result": json.loads((outcome.run_dir / "result.json").read_text()), "stages": stages,
                "verdicts": [each.model_dump(mode="json") for each in report.verdicts], "gates": [each.model_dump(mode="json") for each in report.gates]}
    gates = [gate_table(report.gates), *(f"{each.gate}: {each.reason}" for each in report.gates if not each.passed)] if report.gates else []
    return Reply(document, [verdict_table(report.verdicts), *gates, f"{outcome.outcome}: {report.headline}", *filter(None, [training_note(report)]),
                            f"stages: {costs}",
                            f"report: {outcome.run_dir / 'report.html'}"], code)
