"""The pilot of a power analysis: a run folder with the baseline that it was held against, or one result alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sana_bench.comparability import metric_obstacle, sampling_obstacle
from sana_bench.errors import BaselineError, MetricError, StoreError
from sana_bench.metrics import METRICS
from sana_bench.power import Pilot, read_pilot
from sana_bench.records import BenchmarkResult
from sana_bench.results import GUARD_FOLDER, RESULT_FILE, STATISTICS_FILE, ResultBundle, load_bundle
from sana_bench.store import read_record

BASELINE_FOLDER = "baseline"


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
    result = next(each for each in run.after.result.results if each.metric == metric)
    before = next((each for each in run.before.result.results if each.metric == metric), None) if run.before else None
    if run.before and before is None:
        raise MetricError("the baseline was not measured on it")
    obstacle = metric_obstacle(before or result, result, (run.before or run.after).result, run.after.result)
    if obstacle:
        raise MetricError(obstacle)
    sides = [side for side in (run.after, run.before) if side]
    values_N, prompt_ids = _sample_values(metric, sides) if result.kind == "sample" else _set_values(metric, sides)
    scale = 1.0 if run.before else math.sqrt(2 * (1 - correlation))  # Var(A - B) = 2 (1 - rho) Var(A)
    return read_pilot(values_N * scale, prompt_ids, run.num_prompts, run.num_images_per_prompt, by_image=result.kind == "sample",
                      num_resamples=num_resamples, seed=seed)


def _sample_values(metric: str, sides: list[ResultBundle]) -> tuple[np.ndarray, list[str]]:
    """(N,) values, candidate minus baseline where there are two sides, and their N prompts."""
    scores = [{score.sample_id: score.value for score in side.scores if score.metric == metric and score.value is not None} for side in sides]
    shared = sorted(set.intersection(*(set(each) for each in scores)))
    values = [scores[0][name] - (scores[1][name] if len(scores) > 1 else 0.0) for name in shared]
    return np.array(values), _prompts_of(sides[0], shared)


def _set_values(metric: str, sides: list[ResultBundle]) -> tuple[np.ndarray, list[str]]:
    """(N,) jackknife pseudo-values of each sample's prompt: their mean is the value but for bias, their spread that of the jackknife.

    Raises:
        InsufficientSamplesError: the metric has no value with a prompt less.
    """
    places = [{name: at for at, name in enumerate(side.statistics[metric].sample_ids)} if metric in side.statistics else {} for side in sides]
    shared = sorted(set.intersection(*(set(each) for each in places)))
    evaluate = METRICS.get(metric).make.evaluate
    arrays = [side.statistics[metric].arrays if shared else {} for side in sides]
    at_N = [np.array([place[name] for name in shared], dtype=np.int64) for place in places]

    def difference(chosen_N: np.ndarray) -> float:
        after, *before = (evaluate(array, at[chosen_N]) for array, at in zip(arrays, at_N, strict=True))
        return after - (before[0] if before else 0.0)

    return pseudo_values(difference, _prompts_of(sides[0], shared))


def pseudo_values(evaluate: Callable[[np.ndarray], float], prompt_ids: list[str]) -> tuple[np.ndarray, list[str]]:
    """(N,) jackknife pseudo-values, leaving out a prompt at a time, and the N prompts.

    Source: J. W. Tukey, "Bias and Confidence in Not Quite Large Samples", Annals of Mathematical Statistics 29 (1958).
    """
    prompts, membership_N = np.unique(np.asarray(prompt_ids), return_inverse=True)
    if not len(prompts):
        return np.zeros(0), []
    value = evaluate(np.arange(len(membership_N)))
    left_out_P = np.array([evaluate(np.flatnonzero(membership_N != prompt)) for prompt in range(len(prompts))])
    return (len(prompts) * value - (len(prompts) - 1) * left_out_P)[membership_N], prompt_ids


def _prompts_of(side: ResultBundle, sample_ids: list[str]) -> list[str]:
    prompts = {sample.sample_id: sample.prompt_id for sample in side.result.samples}
    return [prompts[name] for name in sample_ids]


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
