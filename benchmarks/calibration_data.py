"""What calibration.py draws comparisons from: populations of prompts, of which each has the baseline's and the candidate's value on every metric.

Legend: M metrics, R rows of a population, P prompts, N images, D feature dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from sana_bench.metrics import METRICS
from sana_bench.metrics.kernel import kernel_statistics
from sana_bench.records import BenchmarkResult, MetricResult, Provenance, Sample, Score
from sana_bench.results import RESULT_FILE, SCORES_FILE, STATISTICS_FILE, ResultBundle, SetStatistics
from sana_bench.statistics import are_counts
from sana_bench.store import read_record

CHECKOUT = Path(__file__).resolve().parents[1]
BASELINE, CANDIDATE = CHECKOUT / "baselines" / "tiny", CHECKOUT / "reports" / "example"
KERNEL, DIRECTIONS, SHARES = "kid_efficientnet_lite0", "mind_efficientnet_lite0", "gender_diversity"
SAME_ROW = 0.5
"""Chance that a further image of a prompt is of the prompt's own row, so that images of one prompt are alike."""
JITTER = 0.1
"""Noise on continuous values, over the standard deviation of their differences: rows that are drawn twice are no ties."""
IMAGE_SPREAD = 0.5
"""Spread of an image's features around its prompt's, over that between prompts."""
NUM_DIMENSIONS, NUM_REAL = 200, 84


@dataclass(frozen=True)
class Population:
    """Prompts, to be drawn with replacement: what is true of them is true of the comparison."""

    name: str
    metrics: tuple[MetricResult, ...]
    values_2MR: np.ndarray
    """Of baseline and candidate, NaN where there is none."""
    sets: tuple[MetricResult, ...] = ()
    """Set metrics on the shipped features, on which nothing ever changes."""

    def differences(self, metric: int) -> np.ndarray:
        """Of the rows with a value on both sides."""
        difference_R = self.values_2MR[1, metric] - self.values_2MR[0, metric]
        return difference_R[~np.isnan(difference_R)]

    def counts(self, metric: int) -> bool:
        """Whether it says of every image whether something is there."""
        values_2R = self.values_2MR[:, metric]
        return are_counts(values_2R[~np.isnan(values_2R)])

    def without_change(self) -> Population:
        """Every row once more with its sides exchanged: then which side is which means nothing."""
        return replace(self, values_2MR=np.concatenate([self.values_2MR, self.values_2MR[::-1]], axis=2))

    def with_budgets(self, budgets_M: np.ndarray) -> Population:
        return replace(self, metrics=tuple(metric.model_copy(update={"budget": float(budget)}) for metric, budget in zip(self.metrics, budgets_M, strict=True)),
                       sets=tuple(metric.model_copy(update={"budget": metric.budget if budgets_M.any() else 0.0}) for metric in self.sets))

    def harmed(self, metric: int, effect: float) -> Population:
        """With a true loss of so much on one metric: added to every candidate's value; of one that counts, as so many more failures."""
        values_2MR = self.values_2MR.copy()
        if self.counts(metric):
            values_2MR = np.repeat(values_2MR, 400, axis=2)
            succeed = np.flatnonzero(values_2MR[1, metric] == 1)
            scored = np.count_nonzero(~np.isnan(values_2MR[1, metric]))
            values_2MR[1, metric, np.random.default_rng(0).permutation(succeed)[:round(effect * scored)]] = 0
        else:
            values_2MR[1, metric] += -effect if self.metrics[metric].higher_is_better else effect
        return replace(self, values_2MR=values_2MR)


@cache
def shipped() -> Population:
    """The shipped baseline and example: every sample metric that may decide and has a value on a prompt that both sides share."""
    result, tables = read_record(BASELINE / RESULT_FILE, BenchmarkResult), []
    for folder in (BASELINE, CANDIDATE):
        rows = pq.read_table(folder / SCORES_FILE, columns=["sample_id", "metric", "value"]).to_pylist()
        tables.append({(row["sample_id"], row["metric"]): row["value"] for row in rows})
    judged = [each for each in result.results if not each.not_judged]
    names = [sample.sample_id for sample in result.samples]
    values_2MR = np.array([[[table.get((name, each.metric)) for name in names] for each in judged] for table in tables], dtype=float)
    known_M = ~np.isnan(values_2MR).any(axis=0).all(axis=1)
    metrics = tuple(each for each, known in zip(judged, known_M, strict=True) if known and each.kind == "sample")
    return Population("shipped scores", metrics, values_2MR[:, known_M], tuple(each for each in judged if each.metric in (KERNEL, DIRECTIONS, SHARES)))


def made_up(name: str, family: str, num_metrics: int = 12, *, correlation: float = 0.5, num_rows: int = 20_000) -> Population:
    """Differences of a family, with mean 0 and standard deviation 1, correlated between metrics as their common part makes them.

    Args:
        family: normal, student (4 degrees of freedom), skewed (exponential) or spiked (15 % normal, else none).
    """
    random = np.random.default_rng(1)
    draw = {"normal": random.standard_normal, "student": lambda size: random.standard_t(4, size) / 2**0.5,
            "skewed": lambda size: random.exponential(size=size) - 1,
            "spiked": lambda size: random.standard_normal(size) * (random.random(size) < 0.15) / 0.15**0.5}[family]
    own_MR, common_R = draw((num_metrics, num_rows)), draw((num_rows,))
    shares = np.random.default_rng(2).random((num_metrics, num_rows)) < correlation  # taken over whole: a sum of two would be of another family
    difference_MR = np.where(shares, common_R, own_MR)
    difference_MR -= difference_MR.mean(axis=1, keepdims=True)
    difficulty_MR = random.standard_normal((num_metrics, num_rows))
    metrics = tuple(_made_up_metric(f"{family}_{index:02}") for index in range(num_metrics))
    return Population(name, metrics, np.stack([difficulty_MR, difficulty_MR + difference_MR]))


def _made_up_metric(name: str) -> MetricResult:
    return MetricResult(metric=name, version=1, value=0.0, ci_low=None, ci_high=None, num_scored=0, num_unscored=0, unit="", higher_is_better=True,
                        budget=0.0, extractor="none", extractor_digest="", kind="sample", explanation="Made up.")


def comparison(population: Population, num_prompts: int, num_images: int, random: np.random.Generator, *, jitter: bool = True,
               by_image: bool = False) -> tuple[ResultBundle, ResultBundle]:
    """Candidate and baseline of so many drawn prompts.

    Args:
        jitter: see JITTER; without it the mean over the population is exactly what is estimated.
        by_image: takes every image for a prompt of its own, which is false: a control.
    """
    rows_P = random.integers(population.values_2MR.shape[2], size=num_prompts)
    rows_PI = np.repeat(rows_P[:, None], num_images, axis=1)
    others_PI = (np.arange(num_images) > 0) & (random.random(rows_PI.shape) >= SAME_ROW)
    rows_N = np.where(others_PI, random.integers(population.values_2MR.shape[2], size=rows_PI.shape), rows_PI).ravel()
    values_2MN = population.values_2MR[:, :, rows_N]
    if jitter:
        values_2MN = values_2MN + _jitter_M(population)[:, None] * random.standard_normal(values_2MN.shape)
    prompts = [f"p{index:04}" for index in (range(len(rows_N)) if by_image else np.repeat(np.arange(num_prompts), num_images))]
    sides = _statistics(population, np.repeat(random.integers(len(_features()), size=num_prompts), num_images), random) if population.sets else ({}, {})
    return tuple(_bundle(population, side, values_2MN[side], prompts, sides[side]) for side in (1, 0))


def _jitter_M(population: Population) -> np.ndarray:
    """(M,) 0 where half of the differences or more are the same as another: what is counted has no noise."""
    sizes = []
    for metric in range(len(population.metrics)):
        difference_r = population.differences(metric)
        sizes.append(JITTER * difference_r.std() * (len(np.unique(np.abs(difference_r).round(9))) > len(difference_r) / 4))
    return np.array(sizes)


def _bundle(population: Population, side: int, values_MN: np.ndarray, prompts: list[str], sets: dict[str, dict[str, np.ndarray]]) -> ResultBundle:
    ids = [f"{prompt}_{index:03}" for index, prompt in enumerate(prompts)]
    samples = tuple(Sample(sample_id=name, prompt_id=prompt, sample_index=0, seed=0, width=32, height=32, file_name="", pixels_sha256=f"{side}")
                    for name, prompt in zip(ids, prompts, strict=True))
    scores = tuple(Score(sample_id=name, metric=metric.metric, value=None if value != value else value, reason="not found" if value != value else "")
                   for metric, values_N in zip(population.metrics, values_MN.tolist(), strict=True) for name, value in zip(ids, values_N, strict=True))
    results = [metric.model_copy(update={"value": None if np.isnan(values_N).all() else float(np.nanmean(values_N)), "num_scored": int((~np.isnan(values_N)).sum())})
               for metric, values_N in zip(population.metrics, values_MN, strict=True)]
    results += [metric.model_copy(update={"value": 0.0, "num_scored": len(ids), "version": METRICS.get(metric.metric).version}) for metric in population.sets]
    provenance = Provenance(created="", sana_bench="", commit="", dirty=False, python="", platform="", device="cpu", packages={}, digests={})
    return ResultBundle(Path(), BenchmarkResult(
        digest=f"{side}", name="simulated", config={}, suite="simulated", suite_version=1, suite_digest="", sampling={}, samples=samples,
        results=tuple(results), provenance=provenance, stages={}), scores, {name: SetStatistics(tuple(ids), arrays) for name, arrays in sets.items()})


@cache
def _features() -> np.ndarray:
    """(R, D) of the shipped baseline's images: their projections along fixed random directions, which keep inner products but for a rotation."""
    return _held()[f"{DIRECTIONS}/projections"][:, :NUM_DIMENSIONS].astype(np.float64)


@cache
def _held() -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(BASELINE / STATISTICS_FILE)


@cache
def _real_features() -> np.ndarray:
    """(S, D) of made-up real people: the generated ones, moved and spread."""
    features_RD, random = _features(), np.random.default_rng(3)
    spread_D = features_RD.std(axis=0)
    return features_RD[random.integers(len(features_RD), size=NUM_REAL)] + spread_D * (0.5 * random.standard_normal(NUM_DIMENSIONS) + random.standard_normal((NUM_REAL, NUM_DIMENSIONS)))


def _statistics(population: Population, rows_N: np.ndarray, random: np.random.Generator) -> tuple[dict[str, dict[str, np.ndarray]], ...]:
    """Of baseline and candidate: the same prompts, and noise of each image's own."""
    features_RD, held = _features(), _held()
    sides = []
    for _ in range(2):
        generated_ND = features_RD[rows_N] + IMAGE_SPREAD * (features_RD[random.integers(len(features_RD), size=len(rows_N))] - features_RD.mean(axis=0))
        labels_N = np.where(random.random(len(rows_N)) < 0.5, rows_N, random.integers(len(features_RD), size=len(rows_N))) % 2
        sides.append({KERNEL: kernel_statistics(generated_ND, _real_features()) | {"features": generated_ND, "image": np.arange(len(generated_ND))},
                      DIRECTIONS: {"projections": generated_ND.astype(np.float32), "real": held[f"{DIRECTIONS}/real"][:, :NUM_DIMENSIONS],
                                   "dimensions": held[f"{DIRECTIONS}/dimensions"]},
                      SHARES: {"labels": labels_N, "target": np.array([0.5, 0.5])}})
    wanted = {metric.metric for metric in population.sets}
    return tuple({name: arrays for name, arrays in side.items() if name in wanted} for side in sides)
