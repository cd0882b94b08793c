"""The pilot of a power analysis: a run folder with the baseline that it was held against, or one result alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.comparability import metric_obstacle, sampling_obstacle, why_missing
from sana_bench.errors import BaselineError, MetricError, StoreError
from sana_bench.pairs import make_pairs
from sana_bench.records import BenchmarkResult
from sana_bench.results import BASELINE_FOLDER, GUARD_FOLDER, RESULT_FILE, STATISTICS_FILE, ResultBundle, load_bundle
from sana_bench.spread import Pilot, read_pilot
from sana_bench.statistics import are_counts, share_bounds
from sana_bench.store import read_record


@dataclass(frozen=True)
class PilotRun:
    """The images of a pilot on one suite."""

    folder: Path
    after: ResultBundle
    before: ResultBundle | None
    """What it was held against; None where one side alone is known."""
    num_judged: int
    """Metrics of all suites of the run that may decide."""

    @property
    def num_prompts(self) -> int:
        return len({sample.prompt_id for sample in self.after.result.samples})

    @property
    def num_images_per_prompt(self) -> int:
        return max(1, round(len(self.after.result.samples) / self.num_prompts))


def find_pilot(reports: Path, suite: str, recipe: str = "") -> Path | None:
    """The newest run folder on a suite that shows how two variants differ; else the newest on it at all; None where there is none.

    Args:
        recipe: runs of this recipe only; empty: of any.
    """
    found = []
    for folder in (path.parent for path in reports.glob(f"*/{STATISTICS_FILE}")):  # without it there is a report and nothing to measure
        result, before = (_result_on(place, suite) for place in (folder, folder / BASELINE_FOLDER))
        if result and recipe in ("", result.name):
            found.append((before is not None and before.digest != result.digest, result.provenance.created, folder.name, folder))
    return max(found)[-1] if found else None


def open_pilot(folder: Path, suite: str = "") -> PilotRun:
    """Read a pilot's result, and what it was held against unless that is itself.

    Args:
        folder: a run folder, a result folder or a baseline.
        suite: that to take where the pilot has it, such as its guard suite; else the pilot's first.

    Raises:
        StoreError: it is no result folder, or a damaged one.
        BaselineError: its sides were drawn in different ways and are no pairs.
    """
    bundle, baseline = load_bundle(folder), folder / BASELINE_FOLDER
    after = _on(bundle, suite) or bundle
    before = _on(load_bundle(baseline), after.result.suite) if baseline.is_dir() else None
    if before and before.result.digest == after.result.digest:
        before = None
    if before and (obstacle := sampling_obstacle(before.result, after.result)):
        raise BaselineError(f"the two sides of the pilot {folder} are no pairs: {obstacle}. Name another one (--pilot RUN_DIR)")
    judged = sum(not result.not_judged for side in (bundle, bundle.guard) if side for result in side.result.results)
    return PilotRun(folder, after, before, judged)


def pilot_of(run: PilotRun, metric: str, correlation: float, *, num_resamples: int, seed: int) -> Pilot:
    """What the pilot tells of one metric.

    Args:
        correlation: of both sides' values of a prompt, which is asked for where one side alone is known.

    Raises:
        MetricError: it tells nothing, and why.
    """
    before, after = (side and next((each for each in side.result.results if each.metric == metric), None) for side in (run.before or run.after, run.after))
    obstacle = why_missing(before, after) or metric_obstacle(before, after, (run.before or run.after).result, run.after.result)
    if obstacle:
        raise MetricError(obstacle)
    pairs = make_pairs(after, run.before or run.after, run.after)
    if pairs.values is None:
        values_N = pseudo_values(lambda at: pairs.value(1, at) - (pairs.value(0, at) if run.before else 0.0), pairs.prompt_ids)
    else:
        values_N = pairs.means()[1] - (pairs.means()[0] if run.before else 0.0)
    scale = 1.0 if run.before else math.sqrt(2 * (1 - correlation))  # Var(A - B) = 2 (1 - rho) Var(A)
    means = [pairs.seed_values(side) for side in range(2)] if len(pairs.sample_ids) else []
    return read_pilot(values_N * scale, pairs.prompt_ids, run.num_prompts, run.num_images_per_prompt, by_image=pairs.values is not None,
                      shares=pairs.values is not None and share_bounds(*pairs.means()) is not None,
                      counted=pairs.values is not None and are_counts(*pairs.means()),
                      seeds=tuple((each.var(ddof=1) / len(each), len(each) - 1) for each in means if len(each) > 1), num_resamples=num_resamples, seed=seed)


def pseudo_values(evaluate: Callable[[np.ndarray], float], prompt_ids: Sequence[str]) -> np.ndarray:
    """(N,) jackknife pseudo-values of a set metric, leaving out a prompt at a time: the same for all N samples of a prompt.

    Raises:
        InsufficientSamplesError: the metric has no value with a prompt less.

    Source: J. W. Tukey, "Bias and Confidence in Not Quite Large Samples", Annals of Mathematical Statistics 29 (1958).
    """
    prompts, membership_N = np.unique(np.asarray(prompt_ids), return_inverse=True)
    if not len(prompts):
        return np.zeros(0)
    value = evaluate(np.arange(len(membership_N)))
    left_out_P = np.array([evaluate(np.flatnonzero(membership_N != prompt)) for prompt in range(len(prompts))])
    return (len(prompts) * value - (len(prompts) - 1) * left_out_P)[membership_N]


def _on(bundle: ResultBundle, suite: str) -> ResultBundle | None:
    return next((side for side in (bundle, bundle.guard) if side and side.result.suite == suite), None)


def _result_on(folder: Path, suite: str) -> BenchmarkResult | None:
    """The record of a run folder's result on a suite; None where it has none that can be read."""
    return next((result for result in _results_in(folder) if result.suite == suite), None)


def _results_in(folder: Path) -> Iterator[BenchmarkResult]:
    for place in (folder, folder / GUARD_FOLDER):
        if (place / RESULT_FILE).is_file():
            try:
                yield read_record(place / RESULT_FILE, BenchmarkResult)
            except StoreError:
                continue  # of another version, or half copied: no pilot
