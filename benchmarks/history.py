"""What a history of many runs costs, how often it cries wolf, and what it finds.

    python benchmarks/history.py [--runs 500] [--histories 500]

Cost: run folders with the records of the example report (27 metrics, 24 prompts), each with values of its own; time and memory of reading them, of
the change points, of the page, the picture and the table, and of one question over the values of all images. Calibration: histories of 20 runs and 27
metrics in which nothing changes (shared prompts of unlike difficulty, luck of a fine-tune that all metrics share in part, rates, skew, heavy tails), and
the same with a step in one metric, in units of the spread between runs.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from sana_bench.history.changes import Line, find_changes
from sana_bench.history.collect import collect
from sana_bench.history.html import render_history
from sana_bench.history.plot import write_plot
from sana_bench.history.query import ask
from sana_bench.history.rows import HistoryRow, write_rows
from sana_bench.history.series import make_history

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"
NUM_PROMPTS, NUM_METRICS, NUM_RUNS = 24, 27, 20
QUESTION = "SELECT metric, prompt_id, avg(value) FROM scores GROUP BY ALL ORDER BY 3 LIMIT 5"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--histories", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cost(Path(folder), arguments.runs)
    calibration(arguments.histories)


def cost(folder: Path, num_runs: int) -> None:
    make_runs(folder / "reports", num_runs)
    step("imports", lambda: None)
    found = step("read", lambda: collect([folder / "reports"]))
    history = step("lines and changes", lambda: make_history(found.rows))
    page = step("page", lambda: render_history(history))
    step("picture", lambda: write_plot(folder / "h.png", history))
    step("table", lambda: write_rows(folder / "h.parquet", found.rows))
    step("question over all images", lambda: ask(QUESTION, found.rows, found.scores))
    changes = [f"{series.metric} at {change.after.commit[:7]}" for series in history.series for segment in series.segments for change in segment.changes]
    print(f"{len(found.rows)} rows; page {len(page) / 1e6:.1f} MB, picture {(folder / 'h.png').stat().st_size / 1e6:.1f} MB, "
          f"table {(folder / 'h.parquet').stat().st_size / 1e6:.2f} MB; changes: {', '.join(changes) or 'none'} (planted: hand_rate at {num_runs // 2:07x})")


def make_runs(place: Path, num_runs: int) -> None:
    """Copies of the example's records with noise on every value, and hands worse in the second half."""
    rng, result = np.random.default_rng(0), json.loads((EXAMPLE / "result.json").read_text())
    verdict = (EXAMPLE / "regression.json").read_text()
    for at in range(num_runs):
        run = json.loads(json.dumps(result))
        run["digest"], run["provenance"]["commit"] = f"result{at}", f"{at:07x}{'0' * 33}"
        run["provenance"]["created"] = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=at)).isoformat()
        run["provenance"]["digests"]["samples"] = f"images{at}"
        for each in run["results"]:
            if each["value"] is not None and each["ci_low"] is not None:
                moved = 0.3 * (each["ci_high"] - each["ci_low"]) / 4 * rng.standard_normal() - 0.06 * (each["metric"] == "hand_rate" and at >= num_runs // 2)
                each.update(value=each["value"] + moved, ci_low=each["ci_low"] + moved, ci_high=each["ci_high"] + moved)
        folder = place / f"tiny-{at:04d}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(run))
        (folder / "regression.json").write_text(verdict)
        shutil.copy(EXAMPLE / "scores.parquet", folder)


def step(name: str, call):
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"{name}: {time.perf_counter() - wall:.2f} s ({time.process_time() - processor:.2f} s of processors), at most {peak:.0f} MiB so far", flush=True)
    return result


def calibration(num_histories: int) -> None:
    alarms = sum(any(found.changes for found in find_changes(flat(np.random.default_rng(at)), num_orders=999, seed=at)) for at in range(num_histories))
    print(f"flat histories of {NUM_RUNS} runs and {NUM_METRICS} metrics with any change: {alarms} of {num_histories}, {alarms / num_histories:.1%}")
    for size in (1, 1.5, 2, 2.5, 3, 4):
        found = sum(finds_step(at, size) for at in range(num_histories // 5))
        print(f"a step of {size} standard deviations of the runs, half way, in one of {NUM_METRICS} metrics: found in {found / (num_histories // 5):.0%}")


def finds_step(seed: int, size: float) -> bool:
    """Whether the step is found, and at the right run or next to it."""
    rng = np.random.default_rng(10_000 + seed)
    lines = flat(rng)[:-1]
    values_N = 0.5 + 0.01 * (rng.standard_normal(NUM_RUNS) - size * (np.arange(NUM_RUNS) >= NUM_RUNS // 2))
    (*_, last) = find_changes([*lines, line(values_N, np.full(NUM_RUNS, 0.03))], num_orders=999, seed=seed)
    return any(abs(int(change.after.run) - NUM_RUNS // 2) <= 1 for change in last.changes)


def flat(rng: np.random.Generator) -> list[Line]:
    luck_N, lines = rng.standard_normal(NUM_RUNS), []
    for metric in range(NUM_METRICS):
        difficulty_P, shared_N = rng.uniform(0.2, 1.1, NUM_PROMPTS), 0.03 * rng.random() * luck_N
        draws_NP = [rng.standard_normal, rng.standard_exponential, lambda size: rng.standard_t(3, size)][metric % 3]((NUM_RUNS, NUM_PROMPTS))
        scores_NP = difficulty_P + shared_N[:, None] + 0.2 * draws_NP
        scores_NP = (scores_NP > 0.35).astype(float) if metric % 2 else scores_NP
        lines.append(line(scores_NP.mean(axis=1), scores_NP.std(axis=1) / math.sqrt(NUM_PROMPTS)))
    return lines


def line(values_N: np.ndarray, errors_N: np.ndarray) -> Line:
    rows = tuple(row(at, value) for at, value in enumerate(values_N))
    return Line(tuple(each.run for each in rows), values_N, errors_N, tuple((each,) for each in rows))


def row(at: int, value: float) -> HistoryRow:
    text = dict.fromkeys(("commit", "name", "source", "result_digest", "checkpoint_digest", "base_digest", "training_digest", "samples_digest", "suite",
                          "suite_digest", "design_digest", "sampling_digest", "reference_digest", "compared_base_digest", "metric", "kind", "extractor",
                          "extractor_digest", "unit", "not_judged", "baseline_name", "outcome", "run_digest"), "")
    return HistoryRow(**text, run=str(at), created=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=at), dirty=False, training_seed=0, suite_version=1, version=1,
                      higher_is_better=True, value=float(value), ci_low=None, ci_high=None, confidence=0.95, num_scored=NUM_PROMPTS, num_unscored=0, budget=0.1,
                      baseline_value=None, difference=None)


if __name__ == "__main__":
    main()
