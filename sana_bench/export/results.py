"""A run's numbers in the hub's two formats: `.eval_results/*.yaml`, which is current, and the `model-index` of the card, which is legacy.

Source: huggingface.co/docs/hub/eval-results, and modelcard.md of the hub's documentation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sana_bench.records import BenchmarkResult, MetricResult, RegressionReport, Verdict
from sana_bench.report.wording import OUTCOMES, clipped, limits, number, percent, signed

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

TASK = "text-to-image"


@dataclass(frozen=True)
class Exported:
    """What a card says about a run."""

    report: RegressionReport
    results: tuple[BenchmarkResult, ...]
    """Of the run's own suite, then of its guard suite where there is one."""
    dataset: str
    """Hub id of the data set that holds the run's own suite; empty where there is none."""

    @property
    def own(self) -> BenchmarkResult:
        return self.results[0]


def dataset_id(exported: Exported, result: BenchmarkResult) -> str:
    """`sana-bench/<suite>` where no data set of the hub is named: a name of ours, under which the hub has nothing."""
    return exported.dataset if exported.dataset and result is exported.own else f"sana-bench/{clipped(result.suite)}"


def legacy_results(exported: Exported) -> list[EvalResult]:
    """Every metric with a value, as the entries of a model-index."""
    from huggingface_hub import EvalResult

    return [EvalResult(task_type=TASK, task_name="Text to image", dataset_type=dataset_id(exported, result),
                       dataset_name=f"{clipped(result.suite)}, version {result.suite_version}, a prompt suite of sana-bench",
                       dataset_args={"version": result.suite_version, "digest": clipped(result.suite_digest), "images": len(result.samples)},
                       metric_type=clipped(each.metric), metric_value=each.value, metric_name=_name(each), metric_args=_arguments(each, verdict))
            for result, each, verdict in _measured(exported)]


def current_results(exported: Exported) -> list[EvalResultEntry]:
    """Every metric with a value, as entries of `.eval_results/sana-bench.yaml`; a task is a metric."""
    from huggingface_hub import EvalResultEntry

    return [EvalResultEntry(dataset_id=dataset_id(exported, result), task_id=clipped(each.metric), value=each.value,
                            date=clipped(result.provenance.created), notes=_notes(exported, result, each, verdict))
            for result, each, verdict in _measured(exported)]


def _measured(exported: Exported) -> Iterator[tuple[BenchmarkResult, MetricResult, Verdict | None]]:
    verdicts = {(verdict.suite, verdict.metric): verdict for verdict in exported.report.verdicts}
    for result in exported.results:
        yield from ((result, each, verdicts.get((result.suite, each.metric))) for each in result.results
                    if each.value is not None and math.isfinite(each.value))


def _name(each: MetricResult) -> str:
    unit = f", {clipped(each.unit)}" if each.unit else ""
    return f"{clipped(each.metric)}{unit} ({'higher' if each.higher_is_better else 'lower'} is better)"


def _arguments(each: MetricResult, verdict: Verdict | None) -> dict[str, str | int | float]:
    """What tells this number from another of the same name."""
    known = {"version": each.version, "extractor": clipped(each.extractor), "extractor_digest": clipped(each.extractor_digest),
             "interval_low": each.ci_low, "interval_high": each.ci_high, "images": each.num_scored, "verdict": verdict.outcome if verdict else None}
    return {name: value for name, value in known.items() if value is not None and (not isinstance(value, float) or math.isfinite(value))}


def _notes(exported: Exported, result: BenchmarkResult, each: MetricResult, verdict: Verdict | None) -> str:
    said = [f"sana-bench {clipped(result.provenance.sana_bench)}", f"{each.num_scored} images" if each.kind == "sample" else f"set of {each.num_scored} images"]
    if each.ci_low is not None and each.ci_high is not None:
        said.append(f"{percent(exported.report.confidence)} interval {limits(each.ci_low, each.ci_high)}")
    if verdict and verdict.difference is not None:
        said.append(f"{signed(verdict.difference)} against baseline {clipped(exported.report.baseline_name)} ({number(verdict.baseline)}): "
                    f"{OUTCOMES[verdict.outcome].label}")
    if each.not_judged:
        said.append(f"shown, not judged: {clipped(each.not_judged)}")
    return "; ".join(said)
