"""Samples that baseline and candidate both scored on one metric: what a difference is measured on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sana_bench.metrics import METRICS
from sana_bench.records import MetricResult
from sana_bench.results import ResultBundle, SetStatistics, is_trained
from sana_bench.statistics import finite


@dataclass(frozen=True)
class SetSide:
    """A set metric on one side."""

    statistics: tuple[Mapping[str, np.ndarray], ...]
    """Of each training seed."""
    places_KN: np.ndarray
    """(K, N) integers, where each pair's sample is in them."""
    num_samples: int
    """That the first seed's statistics are of."""


@dataclass(frozen=True)
class Pairs:
    """Sorted by sample id, so that no order on disk matters. K training seeds a side, N pairs."""

    sample_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    values: tuple[np.ndarray, np.ndarray] | None
    """(K, N) values of baseline and candidate, NaN where a seed has none; None for a set metric."""
    sets: tuple[SetSide, SetSide] | None
    """None for a sample metric."""
    metric: str
    same_images: bool
    """Whether every pair is the same picture twice: then nothing can have changed, by whatever metric."""
    lost: str
    """How many samples one side alone has scored, in words; empty where none."""
    lost_share: float = 0.0
    """Of the samples that the baseline has scored and that were drawn: how many more it has than the candidate."""
    trained: tuple[bool, bool] = (False, False)
    """Whether baseline and candidate are fine-tunes, of which there could be others."""

    @property
    def num_seeds(self) -> tuple[int, int]:
        """Of baseline and candidate."""
        sides = self.values if self.values is not None else [side.places_KN for side in self.sets]
        return len(sides[0]), len(sides[1])

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) values of baseline and candidate, over the seeds."""
        return tuple(np.nanmean(side, axis=0) for side in self.values)

    def value_of(self, side: int, seed: int, indices: np.ndarray) -> float:
        """Of one side and training seed, on (M,) positions among the pairs.

        Raises:
            InsufficientSamplesError: too few pairs for a set metric.
        """
        if self.values is not None:
            return float(np.nanmean(self.values[side][seed, indices]))
        held = self.sets[side]
        return METRICS.get(self.metric).make.evaluate(held.statistics[seed], held.places_KN[seed, indices])

    def seed_values(self, side: int) -> np.ndarray:
        """(K,) values of one side, one of each training seed that has one."""
        everything = np.arange(len(self.sample_ids))
        scored = [seed for seed in range(self.num_seeds[side]) if self.values is None or not np.isnan(self.values[side][seed]).all()]
        return np.array([self.value_of(side, seed, everything) for seed in scored])

    def value(self, side: int, indices: np.ndarray) -> float:
        """The same over all its seeds."""
        if self.values is not None:
            return float(self.means()[side][indices].mean())
        return float(np.mean([self.value_of(side, seed, indices) for seed in range(self.num_seeds[side])]))

    def exchangeable(self) -> Callable[[np.ndarray, np.ndarray], float] | None:
        """Candidate minus baseline for any division of the 2 N samples of a set metric, as `label_permutation_test` takes it; None where a side
        has several seeds, or what is kept of the samples does not allow it."""
        if max(self.num_seeds) > 1:
            return None
        make, (before, after) = METRICS.get(self.metric).make, self.sets
        both = make.join(before.statistics[0], after.statistics[0])
        if both is None:
            return None
        places = np.concatenate([before.places_KN[0], after.places_KN[0] + before.num_samples])
        return lambda old, new: make.evaluate(both, places[new]) - make.evaluate(both, places[old])

    def of_prompts(self, chosen: Collection[str]) -> Pairs:
        """Only those of these prompts."""
        at = np.array([place for place, prompt in enumerate(self.prompt_ids) if prompt in chosen], dtype=np.int64)
        return replace(self, sample_ids=tuple(self.sample_ids[place] for place in at), prompt_ids=tuple(self.prompt_ids[place] for place in at),
                       values=self.values and tuple(side[:, at] for side in self.values),
                       sets=self.sets and tuple(replace(side, places_KN=side.places_KN[:, at]) for side in self.sets))


def make_pairs(result: MetricResult, baseline: ResultBundle, candidate: ResultBundle) -> Pairs:
    """Of a metric that both sides were measured on."""
    sides = [(side, *side.replicates) for side in (baseline, candidate)]
    places = [[_places(result, seed) for seed in side] for side in sides]
    known = [_scored(result, side) for side in places]
    shared = sorted(known[0] & known[1])
    prompts, images = ({sample.sample_id: getattr(sample, name) for sample in candidate.result.samples} for name in ("prompt_id", "pixels_sha256"))
    before = {sample.sample_id: sample.pixels_sha256 for sample in baseline.result.samples}
    drawn = set(prompts.values())
    left = {sample.sample_id for sample in baseline.result.samples if sample.prompt_id not in drawn} if candidate.result.num_prompts_left else set()
    alone = (("baseline", known[0] - known[1] - left), ("candidate", known[1] - known[0]))
    num_scored = len(known[0] - left)
    tables = [np.array([[seed.get(name, np.nan) for name in shared] for seed in side]).reshape(len(side), len(shared)) for side in places]
    values = sets = None
    if result.kind == "sample":
        values = tuple(tables)
    else:
        sets = tuple(SetSide(tuple(seed.statistics[result.metric].arrays for seed in side), table.astype(np.int64), len(places_of[0]))
                     for side, table, places_of in zip(sides, tables, places, strict=True))
    return Pairs(tuple(shared), tuple(prompts[name] for name in shared), values, sets, result.metric,
                 max(map(len, sides)) == 1 and all(before[name] == images[name] for name in shared),
                 "; ".join(f"{len(names)} sample(s) scored only on the {side}" for side, names in alone if names),
                 (len(alone[0][1]) - len(alone[1][1])) / num_scored if num_scored else 0.0, tuple(is_trained(side[0].result) for side in sides))


def _scored(result: MetricResult, seeds: list[Mapping[str, float]]) -> set[str]:
    """Samples that a side has scored: by some of its seeds, whose mean is taken; of a set metric by all, whose sets must be the same samples."""
    names = [set(seed) for seed in seeds]
    return set.union(*names) if result.kind == "sample" else set.intersection(*names)


def _places(result: MetricResult, side: ResultBundle) -> dict[str, float] | dict[str, int]:
    """By sample id: its value on a sample metric, or its position in the statistics of a set metric."""
    if result.kind == "set":
        held = side.statistics.get(result.metric, SetStatistics((), {}))
        return {name: position for position, name in enumerate(held.sample_ids)}
    scored = {score.sample_id: score.value for score in side.scores if score.metric == result.metric and score.value is not None}
    finite(list(scored.values()))  # NaN stands for a sample that a seed has not scored
    return scored
