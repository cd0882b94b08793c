"""Error rates of runs that stop early, and the images that they save, over simulated runs; through the code that judges real ones.

    python benchmarks/sequential.py [--runs 500] [--prompts 240] [--looks 1 2 3 5] [--gates "all three"] [--workers 2]

The noise is that of real scores: differences between the shipped example and its baseline, one a prompt, drawn again and again with a random
sign (without a true change either side may be the other), and Student's t with three degrees of freedom for tails that are heavier still. One gate at a
time, and three at once, whose differences are drawn prompt by prompt and so keep their correlation. A/A: no true change. A/B: a true loss of so
many budgets, on all gates; of a rate, a share of prompts that lose all.

alarms: A/A runs in which any gate regressed, and how many do with budgets of zero, where chance alone decides. passed: runs with a loss of
just the budget in which every gate came out unchanged or improved. found: runs in which a gate regressed, of a quarter as many. saved: mean
share of the images of the whole suite that were not drawn. One look is the run that never stops early.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from sana_bench.compare import compare
from sana_bench.config import BudgetOverride, CompareSection, RunConfig
from sana_bench.guard import Part
from sana_bench.looks import everything_decided, look_of, planned_looks, settings_at
from sana_bench.prompts import Prompt, PromptSuite
from sana_bench.records import Score
from sana_bench.results import ResultBundle, load_bundle

TOGETHER = ("clip_score_tiny_clip", "face_shape_deviation", "face_rate")
HEAVY = "clip_score_tiny_clip, tails of t(3)"
CASES = {**{name: (name,) for name in TOGETHER}, HEAVY: TOGETHER[:1], "all three": TOGETHER}
SCENARIOS = {"A/A, budget 0": (0, 1.0), "A/A": (0, 1.0), "1x": (1, 1.0), "2x": (2, 0.25), "4x": (4, 0.25)}
"""True loss in budgets, and share of the runs."""
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=240)
    parser.add_argument("--looks", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--gates", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{arguments.runs} runs each, suite of {arguments.prompts} prompts; standard error of a rate of 5 %: {100 * (0.05 * 0.95 / arguments.runs) ** 0.5:.1f} points\n")
    columns = ["alarms without budgets", "A/A alarms", "A/A saved", "1x passed", "1x saved", "2x found", "2x saved", "4x found", "4x saved"]
    print(f"| gate | budget / spread | looks | {' | '.join(columns)} |")
    print(f"|---|---:|---:|{'---:|' * len(columns)}")
    with ProcessPoolExecutor(arguments.workers) as pool:
        for case in arguments.gates:
            for number in arguments.looks:
                found = {name: pool.map(one_run, [(case, number, arguments.prompts, name, seed) for seed in range(int(share * arguments.runs))], chunksize=25)
                         for name, (_, share) in SCENARIOS.items()}
                strict, same, once, twice, four_times = (np.mean(list(each), axis=0) for each in found.values())
                rates = [strict[0], same[0], same[2], once[1], once[2], twice[0], twice[2], four_times[0], four_times[2]]
                print(f"| {case} | {budget_in_spreads(case)} | {number} | {' | '.join(f'{100 * rate:.1f} %' for rate in rates)} |", flush=True)


def one_run(job: tuple[str, int, int, str, int]) -> tuple[bool, bool, float]:
    """Whether any gate regressed, whether all passed, and the share of images saved."""
    case, number, num_prompts, scenario, seed = job
    loss = SCENARIOS[scenario][0]
    differences = simulated(case, num_prompts, loss, np.random.default_rng([seed, loss]))
    budgets = tuple(BudgetOverride(metric=name, budget=0) for name in differences) if "budget 0" in scenario else ()
    candidate, baseline = bundle_of(differences, "candidate"), bundle_of({name: 0 * values for name, values in differences.items()}, "baseline")
    for seen, settings in plan(number, num_prompts):
        drawn = beginning_of(candidate, seen)
        report = compare(drawn, baseline, settings.model_copy(update={"budgets": budgets}), "simulated")
        if everything_decided(report, drawn, baseline):
            break
    outcomes = {verdict.outcome for verdict in report.deciding}
    return "regressed" in outcomes, outcomes <= {"unchanged", "improved"}, 1 - seen / num_prompts


def simulated(case: str, num_prompts: int, loss: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Candidate minus baseline of each prompt, by metric."""
    real, entries = real_differences(), template()[1]
    rows, signs = draw.integers(len(next(iter(real.values()))), size=num_prompts), draw.choice([-1, 1], size=num_prompts)
    found = {}
    for name in CASES[case]:
        values, worse = real[name][rows] * signs, -1 if entries[name].higher_is_better else 1
        if case == HEAVY:
            values = draw.standard_t(3, size=num_prompts) / 3**0.5 * real[name].std(ddof=1)
        effect = loss * entries[name].budget
        found[name] = np.clip(values - (draw.random(num_prompts) < effect), -1, 1) if entries[name].unit == "share" else values + worse * effect
    return found


def budget_in_spreads(case: str) -> str:
    return ", ".join(f"{template()[1][name].budget / real_differences()[name].std():.2g}" for name in CASES[case])


@cache
def plan(number: int, num_prompts: int) -> list[tuple[int, CompareSection]]:
    """(prompts seen, settings) of each look that a run takes."""
    config = RunConfig.model_validate({"name": "simulated", "compare": {"num_looks": number}})
    suite = PromptSuite(name="simulated", version=1, description="simulated", source="sana-bench", license="CC0-1.0",
                        prompt=tuple(Prompt(id=f"p{each:04}", text="a person") for each in range(num_prompts)))
    looks = planned_looks(config, [Part(config, suite, "score.suite", "")])
    return [(part.num_prompts or num_prompts, settings_at(config.compare, look_of(looks, at, config))) for at, (part,) in enumerate(looks, 1)]


@cache
def template() -> tuple[ResultBundle, dict]:
    """A real result, and its metrics by name."""
    bundle = load_bundle(ROOT / "baselines" / "tiny")
    return bundle, {result.metric: result for result in bundle.result.results}


@cache
def real_differences() -> dict[str, np.ndarray]:
    """(24,) differences of the example to its baseline, by metric, prompts in the same order."""
    import pyarrow.parquet as pq

    before, after = ({(row["metric"], row["sample_id"]): row["value"] for row in pq.read_table(ROOT / folder / "scores.parquet").to_pylist()}
                     for folder in ("baselines/tiny", "reports/example"))
    samples = sorted({sample for _, sample in before})
    return {name: np.array([after[name, sample] - before[name, sample] for sample in samples]) for name in TOGETHER}


@cache
def samples_of(num_prompts: int, side: str) -> tuple:
    sample = template()[0].result.samples[0]
    return tuple(sample.model_copy(update={"sample_id": f"p{number:04}_000", "prompt_id": f"p{number:04}", "pixels_sha256": side}) for number in range(num_prompts))


def bundle_of(values: dict[str, np.ndarray], side: str) -> ResultBundle:
    """A result with these values, one image a prompt."""
    bundle, entries = template()
    samples = samples_of(len(next(iter(values.values()))), side)
    results = tuple(entries[name].model_copy(update={"value": float(each.mean()), "num_scored": len(each), "num_unscored": 0}) for name, each in values.items())
    rows = tuple(Score.model_construct(sample_id=sample.sample_id, metric=name, value=value, reason="")
                 for name, each in values.items() for sample, value in zip(samples, each.tolist(), strict=True))
    return ResultBundle(bundle.folder, bundle.result.model_copy(update={"samples": samples, "results": results, "prompt_tags": {}, "groups": ()}), rows, {})


def beginning_of(whole: ResultBundle, num_prompts: int) -> ResultBundle:
    samples = whole.result.samples[:num_prompts]
    names = {sample.sample_id for sample in samples}
    result = whole.result.model_copy(update={"samples": samples, "num_prompts_left": len(whole.result.samples) - num_prompts})
    return ResultBundle(whole.folder, result, tuple(row for row in whole.scores if row.sample_id in names), {})


if __name__ == "__main__":
    main()
