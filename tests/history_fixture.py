"""Run folders of a made-up history, for the tests of the history and its benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from sana_bench.records import Provenance, RegressionReport, Verdict
from sana_bench.results import ResultBundle, write_bundle
from sana_bench.store import write_record
from tests.bundles import make_bundle

START = datetime(2026, 1, 1, tzinfo=UTC)
NUM_PROMPTS = 24


def commit(at: int) -> str:
    """Of the run number `at`."""
    return f"{at:04x}".ljust(40, "0")


def made(at: int, of: str | None = None, **digests: str) -> Provenance:
    """Of the run number `at`, an hour after the one before.

    Args:
        of: commit, where it is not the run's own.
    """
    return Provenance(created=(START + timedelta(hours=at)).isoformat(), sana_bench="0.1.0", commit=commit(at) if of is None else of, dirty=False,
                      python="3.11", platform="Linux", device="cpu", packages={},
                      digests={"reference data": "r1", "samples": f"images{at}", "checkpoint": f"c{at}", "base": "b1", **digests})


def run_bundle(at: int, scores: Mapping[str, Sequence[float | None]], changes: Mapping[str, dict] | None = None, **fields) -> ResultBundle:
    """Result number `at`; intervals of means of the values, a prompt each, as a normal distribution has them."""
    half = {name: 1.96 * float(np.std(known) / np.sqrt(len(known))) for name, values in scores.items() if (known := [each for each in values if each is not None])}
    mean = {name: float(np.mean([each for each in scores[name] if each is not None])) for name in half}
    limits = {name: {"ci_low": mean[name] - half[name], "ci_high": mean[name] + half[name], **(changes or {}).get(name, {})} for name in half}
    return make_bundle(scores, changes={**(changes or {}), **limits}, digest=f"result{at}", **{"provenance": made(at), **fields})


def write_run(folder: Path, bundle: ResultBundle, outcome: str = "") -> Path:
    """Its folder, with a verdict on every metric where an outcome is given."""
    write_bundle(folder, bundle.result, bundle.scores, bundle.statistics)
    if bundle.guard:
        write_bundle(folder / "guard", bundle.guard.result, bundle.guard.scores, bundle.guard.statistics)
    if outcome:
        verdicts = tuple(Verdict(metric=each.metric, suite=part.result.suite, outcome=outcome, baseline=0.75, candidate=each.value, difference=-0.125,
                                 ci_low=-0.2, ci_high=-0.05, budget=0.1, num_pairs=24, smallest_detectable_effect=None, num_prompts_needed=None,
                                 unit=each.unit, higher_is_better=True, reason="r") for part in (bundle, bundle.guard) if part for each in part.result.results)
        write_record(folder / "regression.json", RegressionReport(
            outcome="regressed", headline="h", verdicts=verdicts, worst_samples=(), baseline_name="old", baseline_digest="b", candidate_digest=bundle.result.digest,
            baseline_provenance=None, candidate_provenance=bundle.result.provenance, confidence=0.95, num_resamples=2000, seed=0))
    return folder


def prompt_scores(rng: np.random.Generator, difficulty_P: np.ndarray, spread: float, step: float = 0.0) -> list[float]:
    """Values of one run: the prompts' own difficulty, which all runs share, and what one fine-tune makes of each."""
    return [float(each) for each in difficulty_P + step + spread * rng.standard_normal(len(difficulty_P))]
